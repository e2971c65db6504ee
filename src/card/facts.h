// Everything a card says, gathered from runs and the model's own files, before any word of it is
// written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "io/json.h"
#include "recipe/summary.h"
#include "runs/measurements.h"

namespace qx {

struct CardRequest {
  std::filesystem::path run;                // RUNS/A
  std::vector<std::filesystem::path> with;  // other runs of the same items
  std::string
      base;  // name of the base among `with`; "": found by the hashes of the source's weights
  std::string metric = "default";
  double margin = 0.01;  // of equivalence, in accuracy
  // What the model's own files may not say. Empty: taken from them.
  std::string title, repository;  // "owner/name" on the Hub
  std::string license;
  std::vector<std::string> languages, base_models;
};

// Of the front matter; empty: not known.
struct CardMetadata {
  std::string license, license_name, license_link;
  std::vector<std::string> languages, base_models, tags;
};

struct CardRun {
  std::string name;
  std::filesystem::path folder;
  Json run;  // run.json
  std::optional<SpeedFacts> speed;
  std::optional<DistanceFacts> distance;
  Json distance_record;  // divergence.json, for the windows; null where there is none
};

// The model directory, measured again.
struct CardModel {
  std::string plan_hash;
  std::int64_t layers = 0, parameters = 0, tensor_bytes = 0;
  double bits_per_weight = 0;
  bool quantized = false;
  std::vector<SummaryLine> lines;  // the per-role table
  std::vector<std::string> problems;
  Json provenance;  // qx_plan.json where it fits the weights, else null
  std::optional<std::string> template_hash;
  bool template_thinks = false;  // it mentions thinking
};

struct TaskMetric {
  std::string metric;  // "acc", "acc_norm"
  std::int64_t right = 0, n = 0;
  double accuracy() const { return static_cast<double>(right) / static_cast<double>(n); }
};

struct CardFacts {
  std::string title, repository;
  CardMetadata metadata;
  std::vector<CardRun> runs;        // those of --with, then the card's own
  std::optional<std::size_t> base;  // position in runs
  bool base_is_proven = false;      // by hashes, not by the user's word
  std::string metric;
  double margin = 0.01;
  // Of `runs`, in their order; baseline: the base, else the card's own run. A lone run stands
  // beside a copy of itself.
  Comparison comparison;
  std::map<std::string, std::vector<TaskMetric>> results;  // of the card's own run, by task
  std::optional<CardModel> model;                          // nothing: the directory is not there
  std::vector<std::string> unknown;  // what is left out because nothing says it, in words

  std::size_t self() const { return runs.size() - 1; }  // the card's own run
  const CardRun& own() const { return runs.back(); }
};

// Fails: Error as load_runs() and compare_runs() do; when the model directory holds another model
// than the run was made with; when a run.json or front matter is broken. UsageError for a `base`
// that is none of `with`.
CardFacts gather_facts(const CardRequest& request);

// What a README.md's front matter says about the model. Missing or without front matter: all empty.
// Fails: Error.
CardMetadata read_metadata(const std::filesystem::path& readme);

// Of a run's directory (run.json's model.path); nothing when that is not there.
// Fails: Error when it holds another model than the run was made with.
std::optional<CardModel> measure_card_model(const Json& run, const std::string& place);

}  // namespace qx
