// What a search found, as the file beside its recipe: the curve of size against predicted
// divergence, and every plan that was measured. One JSON file; docs/search.md describes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace qx {

constexpr const char* kSearchFormat = "qx-search-1";

// The plan of least predicted divergence within some bytes.
struct SearchCurvePoint {
  std::int64_t bytes = 0;  // of all stored tensors
  double bits_per_weight = 0;
  double predicted = 0;  // KL, nats a token
};

struct SearchMeasurement {
  std::string name;  // "costs as they are", "embedding x 2", "q4-hi"
  // "candidate": for the budget; "curve": at the bytes of a recipe; "recipe": a recipe as MLX codes
  // it.
  std::string kind;
  std::string codes;  // "minmax", "mse", "gptq"
  std::string plan_hash;
  std::int64_t bytes = 0;
  double bits_per_weight = 0;
  std::optional<double> predicted;  // nothing for min-max codes
  double kl = 0;                    // nats a token
  std::optional<double> kl_stderr;  // over windows; nothing with one window
  std::vector<double> kl_windows;   // means of the windows
  double top1 = 0, perplexity = 0;
  // KL above that of the first candidate, paired over windows; candidates alone.
  std::optional<double> difference, difference_stderr;
};

struct SearchRecord {
  std::string recipe;                          // the recipe file's name
  std::string model_path;                      // as it was given
  std::map<std::string, std::string> weights;  // file name to SHA-256
  std::string calibration_sha256;              // of the file; "" without fitted codes
  std::string fit;
  double damping = 0;
  std::string budget;  // as it was given
  std::int64_t budget_bytes = 0;
  Json rules;  // what the search was allowed to choose
  bool exact = true;
  // The plan that was written.
  std::string chosen, plan_hash;
  std::int64_t bytes = 0;
  double bits_per_weight = 0, predicted = 0;
  std::vector<SearchCurvePoint> curve;      // rising in bytes
  std::vector<SearchMeasurement> measured;  // empty without a text
  // Null without a text: {"file","sha256","windows","ctx","first_token","last_token","chat",
  // "overlaps_calibration","precision","base_perplexity"}
  Json text;
  std::string created, version;
};

Json search_json(const SearchRecord& record);
// Fails: Error at `origin`, naming the key.
SearchRecord parse_search(const Json& json, std::string_view origin);
SearchRecord read_search(const std::filesystem::path& file);

}  // namespace qx
