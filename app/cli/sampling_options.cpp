// SPDX-License-Identifier: Apache-2.0
#include "sampling_options.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/error.h"
#include "generate/end_tokens.h"
#include "options.h"
#include "text/chat_template.h"

namespace qx::cli {
namespace {

// As in mlx-lm: a number is an id, anything else a token.
TokenId token_of(const std::string& text, const char* option, const ModelConfig& config,
                 const Tokenizer& tokenizer) {
  TokenId id = 0;
  if (!CLI::detail::lexical_cast(text, id)) {
    const std::optional<TokenId> found = tokenizer.id_of(text);
    if (!found) throw UsageError(fmt::format("{}: no token '{}' in this model", option, text));
    id = *found;
  }
  if (id < 0 || id >= config.vocab_size) {
    throw UsageError(fmt::format("{}: got token {}, expected one of the model's, 0 to {}", option,
                                 id, config.vocab_size - 1));
  }
  return id;
}

std::string no_empty_text(const std::string& text) {
  return text.empty() ? "got an empty text, expected one that ends the answer" : "";
}

void add_penalties(CLI::App& verb, SamplerOptions& s) {
  verb.add_option(
          "--repetition-penalty", s.repetition_penalty,
          "divide the logits of recent tokens by this (multiply negative ones); 0 or 1: off")
      ->check(number_in(0, 1e6));
  verb.add_option("--repetition-context-size", s.repetition_context_size,
                  "so many recent tokens, of prompt and text; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--presence-penalty", s.presence_penalty,
                  "subtract this from the logits of recent tokens")
      ->check(number_in(-1e6, 1e6));
  verb.add_option("--presence-context-size", s.presence_context_size, "the same for this penalty")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--frequency-penalty", s.frequency_penalty,
                  "subtract this for each time that a token occurred recently")
      ->check(number_in(-1e6, 1e6));
  verb.add_option("--frequency-context-size", s.frequency_context_size, "the same for this penalty")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

}  // namespace

void add_sampling_options(CLI::App& verb, SamplingOptions& options) {
  SamplerOptions& s = options.sampler;
  verb.add_option("--temp", s.temperature, "sampling temperature; 0 takes the best token")
      ->capture_default_str()
      ->check(number_in(0, 1e6));
  verb.add_option("--top-p", s.top_p, "keep the best tokens that together have this probability")
      ->capture_default_str()
      ->check(number_in(0, 1));
  verb.add_option("--min-p", s.min_p, "keep tokens of at least this share of the best one's")
      ->capture_default_str()
      ->check(number_in(0, 1));
  verb.add_option("--top-k", s.top_k, "keep this many of the best tokens; 0 keeps all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--xtc-probability", s.xtc_probability,
                  "how often to drop all but the least of the tokens above --xtc-threshold")
      ->capture_default_str()
      ->check(number_in(0, 1));
  verb.add_option("--xtc-threshold", s.xtc_threshold, "probability that makes a token a top choice")
      ->capture_default_str()
      ->check(number_in(0, 0.5));
  add_penalties(verb, s);
  verb.add_option("--logit-bias", options.logit_bias,
                  "TOKEN=NUMBER adds to a token's (or id's) logit; repeatable")
      ->take_all();
  verb.add_option("--seed", s.seed, "of the random numbers")->capture_default_str();
  verb.add_option("--extra-eos-token", options.extra_eos,
                  "a token (or its id) that ends the text too; repeatable")
      ->take_all();
  verb.add_option("--stop", options.stop_texts, "a text that ends the answer; repeatable")
      ->take_all()
      ->check(CLI::Validator(no_empty_text, "TEXT"));
}

SamplerOptions resolve_sampling(const SamplingOptions& options, const ModelConfig& config,
                                const Tokenizer& tokenizer) {
  SamplerOptions s = options.sampler;
  if (s.top_k >= config.vocab_size) {
    throw UsageError(fmt::format("--top-k: got {}, expected less than the model's {} tokens",
                                 s.top_k, config.vocab_size));
  }
  for (const std::string& entry : options.logit_bias) {
    const std::size_t equals = entry.rfind('=');
    double bias = 0;
    if (equals == std::string::npos || equals == 0 ||
        !CLI::detail::lexical_cast(entry.substr(equals + 1), bias) || !(std::abs(bias) <= 1e6)) {
      throw UsageError(
          fmt::format("--logit-bias: got '{}', expected TOKEN=NUMBER, as 42=-5", entry));
    }
    const TokenId id = token_of(entry.substr(0, equals), "--logit-bias", config, tokenizer);
    const bool twice = std::any_of(s.logit_bias.begin(), s.logit_bias.end(),
                                   [&](const auto& known) { return known.first == id; });
    if (twice) throw UsageError(fmt::format("--logit-bias: got token {} twice", id));
    s.logit_bias.emplace_back(id, bias);
  }
  if (s.xtc_probability > 0) s.xtc_special_tokens = xtc_kept_tokens(config, tokenizer);
  return s;
}

std::vector<TokenId> stop_tokens(const SamplingOptions& options, const ModelConfig& config,
                                 const Tokenizer& tokenizer) {
  std::vector<TokenId> stop = end_tokens(config, tokenizer);
  for (const std::string& text : options.extra_eos) {
    stop.push_back(token_of(text, "--extra-eos-token", config, tokenizer));
  }
  return stop;
}

Json template_variables(const std::string& config, const Tokenizer& tokenizer) {
  Json variables = Json::object();
  if (!config.empty()) {
    try {
      variables = parse_json(config, "--chat-template-config");
    } catch (const Error& e) {
      throw UsageError(e.what());
    }
    if (!variables.is_object()) {
      throw UsageError("--chat-template-config: expected a JSON object, as {\"name\": value}");
    }
  }
  if (!variables.contains("enable_thinking")) {
    variables["enable_thinking"] = has_thinking_tokens(tokenizer);
  }
  return variables;
}

}  // namespace qx::cli
