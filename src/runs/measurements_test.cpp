// Measurements beside a run are read only when they are whole and of the run's own model.
// SPDX-License-Identifier: Apache-2.0
#include "runs/measurements.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {

const char kModel[] = R"({"path":"/m","plan_hash":"p1","parameters":10,"tensor_bytes":20,
  "bits_per_weight":16.0,"files":{"config.json":"c1","model.safetensors":"w1"}})";

Json run() {
  return {{"name", "q4"}, {"model", parse_json(kModel, "x")}, {"tasks", Json::object()}};
}

Json speed() {
  Json json = parse_json(
      R"({"model":"models/q4","weights":"files","tensor_bytes":20,"isa":"avx2","threads":2,
          "precision":"exact","repeats":5,
          "pp":{"tokens":512,"median_tps":900.5,"min_tps":1,"max_tps":2},
          "tg":{"tokens":128,"median_tps":250.25,"bytes_per_token":75000000,"share_of_read":0.5},
          "machine":{"cpu":"AMD EPYC","read_gbs":70.0},"load_s":0.1,"peak_rss_bytes":150000000})",
      "x");
  json["model_facts"] = parse_json(kModel, "x");
  return json;
}

Json distance() {
  Json json = parse_json(
      R"({"tokens":4080,"kl_mean":0.37,"kl_stderr":0.006,"kl_stderr_windows":0.011,"kl_median":0.29,
          "kl_p95":0.92,"kl_p99":2.1,"kl_max":8.5,"top1_agreement":0.66,"ppl":41.1,"ppl_stderr":2.1,
          "ppl_stderr_windows":3.9,"ppl_base":31.7,"base":{"name":"bf16","ppl":31.7},
          "text":{"file":"t.txt","sha256":"abc"}})",
      "x");
  json["model"] = parse_json(kModel, "x");
  return json;
}

template <typename Load>
std::string error_of(Load load) {
  try {
    load();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << text << "' lacks '" << part << "'";
}

TEST(Measurements, AreReadBesideTheRun) {
  const TestFolder temp;
  write_text(temp / "run.json", run().dump());
  EXPECT_FALSE(load_speed(temp / ""));
  EXPECT_FALSE(load_distance(temp / ""));

  write_text(temp / "bench.json", speed().dump());
  const std::optional<SpeedFacts> s = load_speed(temp / "");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->prefill_tps, 900.5);
  EXPECT_EQ(s->decode_tps, 250.25);
  EXPECT_EQ(s->prompt_tokens, 512);
  EXPECT_EQ(s->generated_tokens, 128);
  EXPECT_EQ(s->peak_rss_bytes, 150000000);
  EXPECT_EQ(s->bytes_per_token, 75000000);
  EXPECT_EQ(s->read_share, 0.5);
  EXPECT_EQ(s->isa + " " + s->precision + " " + s->cpu, "avx2 exact AMD EPYC");
  EXPECT_EQ(s->threads, 2);

  write_text(temp / "divergence.json", distance().dump());
  const std::optional<DistanceFacts> d = load_distance(temp / "");
  ASSERT_TRUE(d);
  EXPECT_EQ(d->kl_mean, 0.37);
  EXPECT_EQ(d->kl_stderr, 0.011);  // of windows
  EXPECT_EQ(d->kl_p99, 2.1);
  EXPECT_EQ(d->top1_agreement, 0.66);
  EXPECT_EQ(d->ppl_stderr, 3.9);
  EXPECT_EQ(d->ppl_base, 31.7);
  EXPECT_EQ(d->tokens, 4080);
  EXPECT_EQ(d->base, "bf16");
  EXPECT_EQ(d->text_sha256, "abc");
}

TEST(Measurements, WhatWasNotMeasuredIsNotInvented) {
  Json json = speed();
  json["pp"] = {{"tokens", 0}, {"median_tps", nullptr}};
  json["tg"]["share_of_read"] = nullptr;
  json["machine"] = nullptr;
  SpeedFacts s = parse_speed(json, "x");
  EXPECT_EQ(s.prefill_tps, 0);
  EXPECT_EQ(s.prompt_tokens, 0);
  EXPECT_FALSE(s.read_share);
  EXPECT_EQ(s.cpu, "");
  json["tg"] = {{"tokens", 0}, {"median_tps", nullptr}, {"bytes_per_token", 5}};
  s = parse_speed(json, "x");
  EXPECT_EQ(s.decode_tps, 0);
  EXPECT_EQ(s.bytes_per_token, 0);

  Json one_window = distance();
  one_window["kl_stderr_windows"] = nullptr;
  one_window["ppl_stderr_windows"] = nullptr;
  EXPECT_EQ(parse_distance(one_window, "x").kl_stderr, 0.006);
  EXPECT_EQ(parse_distance(one_window, "x").ppl_stderr, 2.1);
}

TEST(Measurements, OfAnotherModelAreRefused) {
  const TestFolder temp;
  write_text(temp / "run.json", run().dump());
  const auto speed_error = [&](const Json& json) {
    write_text(temp / "bench.json", json.dump());
    return error_of([&] { load_speed(temp / ""); });
  };
  Json other = speed();
  other["model_facts"]["plan_hash"] = "p2";
  expect_contains(speed_error(other),
                  "bench.json] was not measured with the model of this run: "
                  "plan_hash: run.json has \"p1\", the measurement has \"p2\"");
  other = speed();
  other["model_facts"]["files"]["model.safetensors"] = "w2";
  expect_contains(speed_error(other), "SHA-256 of the model's model.safetensors");
  other = speed();
  other["model_facts"]["files"]["added_tokens.json"] = "a";
  expect_contains(speed_error(other), "added_tokens.json: run.json has none");
  other = speed();
  other["model_facts"]["path"] = "/elsewhere";
  EXPECT_EQ(speed_error(other), "");
  other = speed();
  other.erase("model_facts");  // as versions before wrote it
  expect_contains(speed_error(other), "does not say which model was measured");
  expect_contains(speed_error(other), "qx bench -m DIR -o RUNS/NAME --force");
  other = speed();
  other["weights"] = "random";
  expect_contains(speed_error(other), "random");

  Json distant = distance();
  distant["model"]["files"].erase("config.json");
  write_text(temp / "divergence.json", distant.dump());
  expect_contains(error_of([&] { load_distance(temp / ""); }), "config.json");

  write_text(temp / "run.json", R"({"model":null,"imported_from":["x"],"tasks":{}})");
  expect_contains(speed_error(speed()), "run.json does not say which model answered");
  std::filesystem::remove(temp / "run.json");
  expect_contains(speed_error(speed()), "run.json");
}

TEST(Measurements, OddDocumentsAreErrorsWithAPlace) {
  const auto speed_error = [](const char* pointer, Json value) {
    Json json = speed();
    json[Json::json_pointer(pointer)] = std::move(value);
    return error_of([&] { parse_speed(json, "bench.json"); });
  };
  expect_contains(speed_error("/pp", 3), "[bench.json] key 'pp': got number, expected an object");
  expect_contains(speed_error("/pp/median_tps", "fast"), "[bench.json: pp] key 'median_tps'");
  expect_contains(speed_error("/pp/median_tps", 0), "got 0");
  expect_contains(speed_error("/tg/median_tps", -1), "got -1");
  expect_contains(speed_error("/tg/median_tps", Json{{"__float__", "Infinity"}}), "got inf");
  expect_contains(speed_error("/tg/median_tps", Json{{"__float__", "NaN"}}), "nan");
  expect_contains(speed_error("/tg/tokens", 0), "expected at least 1");
  expect_contains(speed_error("/tg/bytes_per_token", 1.5), "bytes_per_token");
  expect_contains(speed_error("/threads", std::int64_t{1} << 40), "threads");
  expect_contains(speed_error("/threads", 0), "threads");
  expect_contains(speed_error("/peak_rss_bytes", std::uint64_t{1} << 63), "peak_rss_bytes");
  expect_contains(speed_error("/isa", nullptr), "isa");
  EXPECT_NE(error_of([] { parse_speed(Json::array(), "x"); }), "");

  const auto distance_error = [](const char* pointer, Json value) {
    Json json = distance();
    json[Json::json_pointer(pointer)] = std::move(value);
    return error_of([&] { parse_distance(json, "divergence.json"); });
  };
  expect_contains(distance_error("/tokens", 1), "expected at least 2");
  expect_contains(distance_error("/kl_mean", -1), "kl_mean");
  EXPECT_EQ(distance_error("/kl_median", -1e-9), "");
  expect_contains(distance_error("/top1_agreement", 1.01), "expected 0 to 1");
  expect_contains(distance_error("/ppl", nullptr), "ppl");
  expect_contains(distance_error("/kl_stderr_windows", -0.1), "kl_stderr_windows");
  expect_contains(distance_error("/base", "bf16"), "expected an object");
  expect_contains(distance_error("/text/sha256", 5), "[divergence.json: text] key 'sha256'");
  // The output of several variants is not the file of one.
  EXPECT_NE(error_of([] { parse_distance(Json{{"variants", Json::object()}}, "x"); }), "");
}

TEST(Measurements, BrokenFilesAreErrors) {
  const TestFolder temp;
  write_text(temp / "run.json", run().dump());
  for (const char* text : {"", "{", "[]", "null", "\xff", "{\"pp\":1}", "{\"pp\":1,\"pp\":2}",
                           "{\"model_facts\":[]}", "{\"model_facts\":{\"plan_hash\":\"p1\"}}"}) {
    write_text(temp / "bench.json", text);
    write_text(temp / "divergence.json", text);
    EXPECT_NE(error_of([&] { load_speed(temp / ""); }), "") << text;
    EXPECT_NE(error_of([&] { load_distance(temp / ""); }), "") << text;
  }
  write_text(temp / "bench.json", speed().dump());
  for (const char* text :
       {"[]", "{\"model\":[]}", "{\"model\":{\"plan_hash\":\"p1\",\"files\":1}}"}) {
    write_text(temp / "run.json", text);
    EXPECT_NE(error_of([&] { load_speed(temp / ""); }), "") << text;
  }
  std::filesystem::remove(temp / "bench.json");
  std::filesystem::create_directory(temp / "bench.json");
  EXPECT_NE(error_of([&] { load_speed(temp / ""); }), "");
}

TEST(Measurements, AreOnlyMadeForARunOfTheModel) {
  const TestFolder temp;
  write_text(temp / "run.json", run().dump());
  EXPECT_NO_THROW(require_run_of_model(temp / "", parse_json(kModel, "x")));
  Json other = parse_json(kModel, "x");
  other["files"]["config.json"] = "c2";
  expect_contains(error_of([&] { require_run_of_model(temp / "", other); }),
                  "is a run of another model: SHA-256 of the model's config.json");
}

}  // namespace
}  // namespace qx
