// SPDX-License-Identifier: Apache-2.0
#include "draft_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "model/memory_need.h"
#include "options.h"

namespace qx::cli {
namespace fs = std::filesystem;

namespace {

// Both models at once; what the other alone needs was judged before.
void require_memory_for_both(const DraftTarget& target, const fs::path& draft) {
  const auto needs = [&](const fs::path& directory) {
    const ModelConfig config = load_model_config(directory);
    const std::int64_t context = std::min(target.context, config.max_position_embeddings);
    return memory_needs(config, weight_file_bytes(directory), context * target.texts,
                        static_cast<int>(target.kv_bits));
  };
  MemoryNeeds both = needs(target.directory);
  const MemoryNeeds second = needs(draft);
  both.weights += second.weights;
  both.cache += second.cache;
  both.activations += second.activations;
  const std::string warning = check_memory(
      fmt::format("{} with the draft model {}", target.directory.string(), draft.string()), both,
      target.context * target.texts, limited_memory(), target.allow_swap);
  if (!warning.empty()) fmt::print(stderr, "qx {}: warning: {}\n", target.verb, warning);
}

}  // namespace

void add_draft_options(CLI::App& verb, DraftOptions& options) {
  verb.add_option(
      "--draft-model", options.model,
      "a smaller model with the same tokenizer, which guesses tokens that the model then "
      "checks several at a time; the text stays the same");
  verb.add_option("--num-draft-tokens", options.model_tokens,
                  "guesses of the draft model for a pass, at most")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, kMostDrafts))
      ->needs(verb.get_option("--draft-model"));
  verb.add_option(
          "--prompt-lookup", options.lookup_tokens,
          "guess up to so many tokens that followed where the text's last ones came before; "
          "0: no; the text stays the same")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, kMostDrafts));
}

void check_draft_model(const DraftOptions& options, const DraftTarget& target,
                       const Tokenizer& tokenizer) {
  if (options.model.empty()) return;
  const fs::path directory = resolve_model(options.model);
  check_draft_tokenizer(tokenizer, target.directory.string(), Tokenizer::load(directory),
                        directory.string());
  require_memory_for_both(target, directory);
}

std::unique_ptr<Model> load_draft_model(const DraftOptions& options, const DraftTarget& target,
                                        const Tokenizer& tokenizer, ThreadPool& pool) {
  if (options.model.empty()) return nullptr;
  check_draft_model(options, target, tokenizer);
  std::unique_ptr<Model> model =
      load_model(resolve_model(options.model), pool, Precision::kFast, target.kv_bits);
  for (const std::string& warning : model->warnings()) {
    fmt::print(stderr, "qx {}: warning: {}\n", target.verb, warning);
  }
  return model;
}

DrafterOptions drafter_options(const DraftOptions& options, Model* model, std::int64_t context) {
  // On a thread of the server, where nothing may be thrown.
  const auto warn = [](const std::string& why) {
    std::fputs(("qx: warning: no more guesses of the draft model: " + why + "\n").c_str(), stderr);
  };
  return {.model = model,
          .model_tokens = options.model_tokens,
          .lookup_tokens = options.lookup_tokens,
          .context = context,
          .warn = warn};
}

std::string drafts_text(const Generation& generation) {
  const DraftCounts& d = generation.drafts;
  const double a_pass = d.passes > 0 ? static_cast<double>(generation.generation_steps) /
                                           static_cast<double>(d.passes)
                                     : 0.0;
  return fmt::format("{} of {} guesses accepted ({:.1f} %), {:.2f} tokens a pass", d.accepted,
                     d.drafted, 100 * d.acceptance(), a_pass);
}

Json drafts_json(const DraftOptions& options, const DraftCounts& counts) {
  return {{"model", options.model.empty() ? Json() : Json(options.model)},
          {"num_draft_tokens", options.model.empty() ? 0 : options.model_tokens},
          {"prompt_lookup", options.lookup_tokens},
          {"drafted", counts.drafted},
          {"accepted", counts.accepted},
          {"acceptance", counts.acceptance()},
          {"passes", counts.passes}};
}

}  // namespace qx::cli
