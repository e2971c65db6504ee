// SPDX-License-Identifier: Apache-2.0
#include "search/search_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "io/test_files.h"

namespace qx {
namespace {
using testing_files::error_of;

SearchRecord small_record() {
  SearchRecord r;
  r.recipe = "mine.json";
  r.model_path = "base";
  r.weights = {{"model.safetensors", "abc"}};
  r.calibration_sha256 = "def";
  r.fit = "gptq";
  r.damping = 0.01;
  r.budget = "like:q4-hi";
  r.budget_bytes = 1000;
  r.rules = {{"min_bits", 2}};
  r.chosen = "embedding x 2";
  r.plan_hash = "123";
  r.bytes = 990;
  r.bits_per_weight = 4.5;
  r.predicted = 0.05;
  r.curve = {{800, 4.0, 0.09}, {990, 4.5, 0.05}};
  SearchMeasurement m;
  m.name = "embedding x 2";
  m.kind = "candidate";
  m.codes = "gptq";
  m.plan_hash = "123";
  m.bytes = 990;
  m.bits_per_weight = 4.5;
  m.predicted = 0.05;
  m.kl = 0.06;
  m.kl_windows = {0.05, 0.07};
  m.top1 = 0.9;
  m.perplexity = 20;
  r.measured = {m};
  r.text = {{"file", "t"}};
  return r;
}

TEST(SearchFile, ReadsWhatItWrites) {
  const Json json = search_json(small_record());
  const SearchRecord r = parse_search(json, "f");
  EXPECT_EQ(search_json(r).dump(), json.dump());
  EXPECT_FALSE(r.measured[0].kl_stderr.has_value());
  EXPECT_EQ(r.measured[0].predicted, 0.05);
}

TEST(SearchFile, BrokenOnesAreNamed) {
  const auto broken = [](const std::function<void(Json&)>& change) {
    Json json = search_json(small_record());
    change(json);
    return error_of([&] { parse_search(json, "f"); });
  };
  EXPECT_NE(broken([](Json& j) { j["format"] = "x"; }).find("qx-search-1"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["curve"][1]["bytes"] = 0; }).find("curve[1]"),
            std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["curve"] = 3; }).find("'curve'"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["measured"][0]["kind"] = "?"; }).find("measured[0]"),
            std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["measured"][0].erase("kl"); }).find("'kl'"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["measured"] = {1}; }).find("'measured'"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j.erase("chosen"); }).find("chosen"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["model"]["weights"]["a"] = 1; }).find("SHA-256"),
            std::string::npos);
}

}  // namespace
}  // namespace qx
