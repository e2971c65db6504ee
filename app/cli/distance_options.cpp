// SPDX-License-Identifier: Apache-2.0
#include "distance_options.h"

#include <cmath>
#include <cstdio>

#include "base/build_info.h"
#include "base/error.h"
#include "distance/passes.h"
#include "distance/row_blocks.h"
#include "kernels/api.h"
#include "model/memory_need.h"
#include "recipe/directory_map.h"

namespace qx::cli {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMaxCtx = 1 << 24;

// The output matrix as stored; a tied model's is its embedding.
std::int64_t head_bytes(const fs::path& directory) {
  const MeasuredDirectory measured = measure_directory(directory);
  std::int64_t embedding = 0, head = 0;
  for (const MeasuredRow& row : measured.rows) {
    if (row.tensor.role == Role::kEmbedding) embedding += row.bytes;
    if (row.tensor.role == Role::kHead) head += row.bytes;
  }
  return head > 0 ? head : embedding;
}

}  // namespace

void add_distance_options(CLI::App& verb, DistanceOptions& o) {
  verb.add_option(
          "--text", o.text,
          "the text: a file, or JSON lines of {\"messages\"}, {\"prompt\",\"completion\"} or "
          "{\"text\"}")
      ->required();
  verb.add_option("--text-format", o.format, "auto: by the name, .jsonl is JSON lines")
      ->check(CLI::IsMember({"auto", "text", "jsonl"}))
      ->capture_default_str();
  verb.add_option("--ctx", o.ctx, "tokens of a window")
      ->check(CLI::Range(std::int64_t{2}, kMaxCtx))
      ->capture_default_str();
  verb.add_option("--stride", o.stride,
                  "tokens from window to window (default: side by side; sliding: half of --ctx)")
      ->check(CLI::Range(std::int64_t{1}, kMaxCtx));
  verb.add_option("--convention", o.convention,
                  "which windows, and which of their tokens count: llama.cpp (the second half), "
                  "mlx-lm (all but the first), sliding (each token of the text once)")
      ->check(CLI::IsMember({"llama.cpp", "mlx-lm", "sliding"}))
      ->capture_default_str();
  verb.add_option("--chunks,--limit", o.chunks, "only the first N windows")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  verb.add_flag(
      "--chat", o.chat,
      "put plain text through the chat template: paragraphs in pairs, a user's message and "
      "its answer");
  verb.add_option("--chat-template-config", o.template_config,
                  "further variables of the template: '{\"enable_thinking\": false}'");
  verb.add_option("--seed", o.seed, "of the order of documents, with --convention mlx-lm")
      ->capture_default_str();
  add_precision_option(verb, o.precision, kDistancePrecision);
  add_kv_bits_option(verb, o.kv_bits);
  add_compute_options(verb, o.compute);
  add_memory_option(verb, o.allow_swap);
  add_output_options(verb, o.out);
}

TextFormat parse_text_format(const std::string& name) {
  if (name == "text") return TextFormat::kText;
  return name == "jsonl" ? TextFormat::kJsonl : TextFormat::kByName;
}

void add_text_part_options(CLI::App& verb, std::string& format, bool& chat, double& skip,
                           double& share) {
  verb.add_option("--text-format", format, "auto: by the name, .jsonl is JSON lines")
      ->check(CLI::IsMember({"auto", "text", "jsonl"}))
      ->capture_default_str();
  verb.add_flag("--chat", chat, "put plain text through the chat template");
  verb.add_option("--skip", skip, "pass over this part of the text's tokens, 0 to 1")
      ->check(number_in(0, 1))
      ->capture_default_str();
  verb.add_option("--share", share, "then use this part: 0.4 leaves 60 % unseen")
      ->check(number_in(0, 1))
      ->capture_default_str();
}

void require_text_part(double skip, double share) {
  if (share > 0 && skip + share <= 1 + 1e-9) return;
  throw UsageError(fmt::format(
      "--skip {} and --share {}: expected a share above 0 and a sum of at most 1", skip, share));
}

TextRequest make_text_request(const DistanceOptions& o) {
  TextRequest request;
  request.file = o.text;
  request.format = parse_text_format(o.format);
  request.chat = o.chat;
  request.seed = o.seed;
  for (const WindowConvention c :
       {WindowConvention::kLlamaCpp, WindowConvention::kMlxLm, WindowConvention::kSliding}) {
    if (o.convention == convention_name(c)) request.rules.convention = c;
  }
  request.rules.ctx = o.ctx;
  request.rules.stride = o.stride;
  request.rules.limit = o.chunks;
  window_length(request.rules);  // rules that make no sense: exit 2
  if (!o.template_config.empty()) {
    try {
      request.template_variables = parse_json(o.template_config, "--chat-template-config");
    } catch (const Error& e) {
      throw UsageError(e.what());
    }
    if (!request.template_variables.is_object()) {
      throw UsageError("--chat-template-config: expected a JSON object");
    }
  }
  return request;
}

void require_positions(const TextRequest& request, const fs::path& directory) {
  const std::int64_t reads = window_length(request.rules) - 1;
  const std::int64_t positions = load_model_config(directory).max_position_embeddings;
  if (reads > positions) {
    fail(
        directory.string(),
        "got windows of {} tokens, expected at most {}: the model has {} positions; take a smaller "
        "--ctx",
        reads + 1, positions + 1, positions);
  }
}

void require_distance_memory(const char* verb, std::span<const fs::path> models,
                             const fs::path& head_of, const MeasuredText& text,
                             std::int64_t states_bytes, const DistanceOptions& options) {
  // A pass may end one window and begin others.
  const std::int64_t context = text.longest_read() + kPassTokens;
  MemoryNeeds needs;
  for (const fs::path& directory : models) {
    const MemoryNeeds own = memory_needs(load_model_config(directory), weight_file_bytes(directory),
                                         context, options.kv_bits);
    needs.weights += own.weights;
    needs.cache += own.cache;
    needs.activations += own.activations * (kPassTokens / kActivationRows);
  }
  if (!head_of.empty()) needs.weights += head_bytes(head_of);
  needs.activations += 2 * kBlockBytes + states_bytes;
  const std::string warning =
      check_memory(models.back().string(), needs, context, limited_memory(), options.allow_swap);
  if (!warning.empty()) fmt::print(stderr, "qx {}: warning: {}\n", verb, warning);
}

void put_run_facts(Json& json, const DistanceOptions& o, const ThreadPool& pool) {
  json["precision"] = precision_name(parse_precision(o.precision, kDistancePrecision));
  json["kv_bits"] = o.kv_bits;
  json["kernels"] = kernels().name;
  json["threads"] = pool.threads();
  json["version"] = build_info().version;
  json["commit"] = build_info().commit + (build_info().dirty ? "-dirty" : "");
}

std::string run_facts_text(const DistanceOptions& o, const ThreadPool& pool,
                           const MeasuredText& text) {
  return fmt::format(
      "counted    {} tokens of {} windows, {} convention: {}\n"
      "text       {} ({} tokens of {} document{}{}; SHA-256 {})\n"
      "computed   precision {}, {}-bit keys and values, kernels {}, {} threads, qx {}\n",
      text.targets(), text.windows.size(), convention_name(text.request.rules.convention),
      describe_windows(text.request.rules, text.adds_bos), text.request.file.string(),
      text.tokens.size(), text.documents.size(), text.documents.size() == 1 ? "" : "s",
      text.conversations ? ", through the chat template" : "", text.sha256.substr(0, 12),
      precision_name(parse_precision(o.precision, kDistancePrecision)), o.kv_bits, kernels().name,
      pool.threads(), build_info().version);
}

std::string number_text(double value, int decimals) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "n/a";
}

}  // namespace qx::cli
