// Logits processors and filters for the parity test: reads one JSON object a line on stdin,
//   {"logits": [..], "history": [..], "options": {"top_p": 0.9, .., "logit_bias": [[id, bias], ..]}}
// and writes {"logprobs": [..], "filtered": [..]} a line: after the processors and log-softmax, and after
// the filters; null stands for -infinity. A test tool: not part of the program.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "generate/sampler.h"
#include "io/json.h"

namespace {

qx::SamplerOptions read_options(const qx::Json& json) {
  qx::SamplerOptions o;
  o.temperature = 1;
  o.top_p = json.value("top_p", o.top_p);
  o.min_p = json.value("min_p", o.min_p);
  o.top_k = json.value("top_k", o.top_k);
  o.xtc_probability = json.value("xtc_probability", o.xtc_probability);
  o.xtc_threshold = json.value("xtc_threshold", o.xtc_threshold);
  o.xtc_special_tokens = json.value("xtc_special_tokens", o.xtc_special_tokens);
  o.logit_bias = json.value("logit_bias", o.logit_bias);
  o.repetition_penalty = json.value("repetition_penalty", o.repetition_penalty);
  o.presence_penalty = json.value("presence_penalty", o.presence_penalty);
  o.frequency_penalty = json.value("frequency_penalty", o.frequency_penalty);
  o.repetition_context_size = json.value("repetition_context_size", o.repetition_context_size);
  o.presence_context_size = json.value("presence_context_size", o.presence_context_size);
  o.frequency_context_size = json.value("frequency_context_size", o.frequency_context_size);
  return o;
}

qx::Json values_json(const std::vector<float>& values) {
  qx::Json out = qx::Json::array();
  for (const float v : values) out.push_back(std::isinf(v) ? qx::Json() : qx::Json(v));
  return out;
}

std::string answer(const std::string& line) {
  const qx::Json request = qx::parse_json(line, "request");
  auto logits = request.at("logits").get<std::vector<float>>();
  const auto history = request.at("history").get<std::vector<qx::TokenId>>();
  const qx::SamplerOptions options = read_options(request.at("options"));
  qx::check_sampler_options(options, static_cast<std::int64_t>(logits.size()));
  qx::Sampler sampler(options);
  sampler.choose(logits, history);
  qx::Json out = {{"logprobs", values_json(logits)}};
  sampler.filter(logits);
  out["filtered"] = values_json(logits);
  return out.dump();
}

}  // namespace

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(line) << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
