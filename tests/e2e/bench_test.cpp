// qx bench: what it prints and refuses. How fast anything is, is no matter of a test.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "run_qx.h"

namespace qx::e2e {
namespace {

const std::vector<std::string> kSmall = {
    "bench", "--random", "smollm2-135m:q4", "-p", "24", "-n", "3", "-r", "2", "--no-peaks"};

std::vector<std::string> with(std::vector<std::string> command,
                              const std::vector<std::string>& more) {
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

TEST(Bench, PrintsTheDocumentedJsonAndRecordsIt) {
  const auto folder = fresh_directory("bench") / "runs/one";
  const Json d = run_json(with(kSmall, {"--threads", "2", "-o", folder.string()}));
  EXPECT_EQ(d["model"], "smollm2-135m:q4");
  EXPECT_EQ(d["threads"], 2);
  EXPECT_TRUE(d["isa"].is_string());
  EXPECT_TRUE(d["precision"].is_string());
  for (const char* half : {"pp", "tg"}) {
    EXPECT_GT(d[half]["min_tps"].get<double>(), 0) << half;
    EXPECT_GE(d[half]["median_tps"].get<double>(), d[half]["min_tps"].get<double>()) << half;
    EXPECT_GE(d[half]["max_tps"].get<double>(), d[half]["median_tps"].get<double>()) << half;
  }
  EXPECT_EQ(d["pp"]["tokens"], 24);
  EXPECT_EQ(d["tg"]["tokens"], 3);
  // All 211 matrices at 4 bits in groups of 64: 106,168,320 weights of the layers and 28,311,552 of
  // the tied head at 4.5 bits, and one row of the embedding.
  EXPECT_EQ(d["tg"]["bytes_per_token"], (106'168'320 + 28'311'552 + 576) / 16 * 9);
  EXPECT_GT(d["tg"]["gbs"].get<double>(), 0);
  EXPECT_TRUE(d["tg"]["share_of_read"].is_null());
  EXPECT_TRUE(d["machine"]["read_gbs"].is_null());
  EXPECT_TRUE(d["machine"]["int8_gmacs"].is_null());
  EXPECT_GE(d["load_s"].get<double>(), 0);
  EXPECT_GT(d["peak_rss_bytes"].get<std::int64_t>(), d["tensor_bytes"].get<std::int64_t>());

  std::ifstream file(folder / "bench.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(parse_json(text, "bench.json"), d);
  const Outcome again = run_qx(with(kSmall, {"-o", folder.string()}));
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_NE(again.err.find("bench.json"), std::string::npos) << again.err;
}

// The widths differ only in bytes: q8 reads nearly twice what q4 reads.
TEST(Bench, OneHalfAlone) {
  const Json tg = run_json(
      {"bench", "--random", "smollm2-135m:q8", "-p", "0", "-n", "1", "-r", "1", "--no-peaks"});
  EXPECT_TRUE(tg["pp"]["median_tps"].is_null());
  EXPECT_EQ(tg["tg"]["bytes_per_token"], (106'168'320 + 28'311'552 + 576) / 16 * 17);
  const Json pp = run_json(
      {"bench", "--random", "smollm2-135m:q8", "-p", "2", "-n", "0", "-r", "1", "--no-peaks"});
  EXPECT_TRUE(pp["tg"]["median_tps"].is_null());
  EXPECT_GT(pp["pp"]["gmacs"].get<double>(), 0);
}

TEST(Bench, TextNamesModelAndRates) {
  const Outcome o = run_qx(with(kSmall, {"--quiet"}));
  EXPECT_EQ(o.exit_code, 0) << o.err;
  for (const char* part : {"smollm2-135m:q4", "prompt, 24 tokens", "generation, 3 tokens"}) {
    EXPECT_NE(o.out.find(part), std::string::npos) << o.out;
  }
}

TEST(Bench, RefusesWhatItCannotMeasure) {
  const std::vector<std::vector<std::string>> commands = {
      {"bench"},
      {"bench", "--random", "smollm2-135m"},
      {"bench", "--random", "smollm2-135m:"},
      {"bench", "--random", "qwen9-1t:q4"},
      {"bench", "--random", "smollm2-135m:q99"},
      {"bench", "--random", "smollm2-135m:q4", "-m", "somewhere"},
      {"bench", "--random", "smollm2-135m:q4", "-p", "0", "-n", "0"},
      {"bench", "--random", "smollm2-135m:q4", "-p", "9000"},
      {"bench", "--random", "smollm2-135m:q4", "-r", "0"},
      {"bench", "--random", "smollm2-135m:q4", "--precision", "sloppy"},
  };
  for (const auto& command : commands) {
    const Outcome o = run_qx(command);
    EXPECT_EQ(o.exit_code, 2) << command.back() << ": " << o.err;
    EXPECT_TRUE(o.out.empty()) << o.out;
  }
  EXPECT_EQ(run_qx({"bench", "-m", "/nonexistent"}).exit_code, 1);
}

}  // namespace
}  // namespace qx::e2e
