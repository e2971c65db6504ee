// What qx perplexity and qx divergence share: the text, its windows, and what the output says about a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "distance/measured_text.h"
#include "io/json.h"
#include "options.h"

namespace qx::cli {

struct DistanceOptions {
  std::string text, format = "auto", convention = "llama.cpp", template_config, precision;
  std::int64_t ctx = 512, stride = 0, chunks = 0;
  std::uint32_t seed = 123;
  int kv_bits = 32;
  bool chat = false, allow_swap = false;
  OutputOptions out;
  ComputeOptions compute;
};
void add_distance_options(CLI::App& verb, DistanceOptions& options);

// Of --format: "text", "jsonl", or "auto" by the file's name.
TextFormat parse_text_format(const std::string& name);

// --text-format, --chat, --skip and --share of verbs that read a part of a text.
void add_text_part_options(CLI::App& verb, std::string& format, bool& chat, double& skip,
                           double& share);
// Fails: UsageError for a part that is empty or reaches beyond the text.
void require_text_part(double skip, double share);

// Fails: UsageError.
TextRequest make_text_request(const DistanceOptions& options);

// Fails: Error when a window is longer than the model's positions.
void require_positions(const TextRequest& request, const std::filesystem::path& directory);

// The models that are loaded together, and the base whose head alone is used (may be empty). states_bytes:
// kept of the base in memory. Warns or fails as require_memory.
void require_distance_memory(const char* verb, std::span<const std::filesystem::path> models,
                             const std::filesystem::path& head_of, const MeasuredText& text,
                             std::int64_t states_bytes, const DistanceOptions& options);

// "precision", "kv_bits", "kernels", "threads", "version", "commit".
void put_run_facts(Json& json, const DistanceOptions& options, const ThreadPool& pool);
// The same, and text and windows, as lines of a table.
std::string run_facts_text(const DistanceOptions& options, const ThreadPool& pool,
                           const MeasuredText& text);

// With so many decimals; "n/a" for NaN.
std::string number_text(double value, int decimals);

constexpr Precision kDistancePrecision = Precision::kReference;

}  // namespace qx::cli
