// How often the first guess of a draft model is right, by the rule of acceptance: exact chances
// from both models' probabilities p and q, averaged over the places of texts that the model
// sampled.
//   draft_rules DIR DRAFT_DIR [temperature] [tokens] < a prompt on each line
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "generate/generate.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace qx {
namespace {

struct Chances {
  double together = 0;   // both choose by one random number, as qx does
  double best = 0;       // the guess is the draft's most probable token
  double apart = 0;      // each chooses by a number of its own
  double rejection = 0;  // min(1, p / q), the rule of the paper
};

// softmax(logits / temperature) at the places behind tokens [first, text.size()).
std::vector<std::vector<double>> probabilities(Model& model, const std::vector<TokenId>& text,
                                               std::size_t first, double temperature) {
  std::vector<std::int32_t> outputs(text.size() - first);
  std::iota(outputs.begin(), outputs.end(), static_cast<std::int32_t>(first));
  const auto segment = model.new_segment(nullptr, static_cast<std::int64_t>(text.size()));
  const Chunk chunk{segment.get(), text, outputs};
  const Hidden hidden = model.forward({&chunk, 1});
  std::vector<std::vector<double>> out;
  std::vector<float> logits(static_cast<std::size_t>(model.config().vocab_size));
  for (std::int64_t row = 0; row < hidden.rows; ++row) {
    model.logits(hidden.row(row), logits);
    const auto most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    std::vector<double>& p = out.emplace_back();
    for (const float v : logits) {
      p.push_back(std::exp((static_cast<double>(v) - most) / temperature));
    }
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& v : p) v /= total;
  }
  return out;
}

void add(const std::vector<double>& p, const std::vector<double>& q, Chances& sum) {
  const std::size_t count = std::min(p.size(), q.size());
  double p_end = 0, q_end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    // A token is chosen where the number falls into its stretch of the cumulative sum.
    const double both = std::min(p_end + p[i], q_end + q[i]) - std::max(p_end, q_end);
    sum.together += std::max(0.0, both);
    sum.apart += p[i] * q[i];
    sum.rejection += std::min(p[i], q[i]);
    p_end += p[i];
    q_end += q[i];
  }
  sum.best += p[static_cast<std::size_t>(std::max_element(q.begin(), q.end()) - q.begin())];
}

void run(const std::string& directory, const std::string& draft_directory, double temperature,
         std::int64_t tokens) {
  ThreadPool pool(2);
  const auto model = load_model(directory, pool, Precision::kExact);
  const auto draft = load_model(draft_directory, pool, Precision::kFast);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const auto chat = ChatTemplate::load(directory);
  if (!chat) fail(directory, "has no chat template");
  Chances sum;
  std::size_t places = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const Json messages = Json::array({{{"role", "user"}, {"content", line}}});
    std::vector<TokenId> text = tokenizer.encode(chat->render(messages, {}), SpecialTokens::kNone);
    const std::size_t first = text.size() - 1;
    GenerateOptions options{.max_tokens = tokens};
    options.sampling = {.temperature = temperature, .seed = 1};
    const Generation made = generate(*model, text, options, [](TokenId) {});
    text.insert(text.end(), made.tokens.begin(), made.tokens.end() - 1);
    const auto p = probabilities(*model, text, first, temperature);
    const auto q = probabilities(*draft, text, first, temperature);
    for (std::size_t i = 0; i < p.size(); ++i) add(p[i], q[i], sum);
    places += p.size();
  }
  const auto n = static_cast<double>(places);
  fmt::print(
      "temperature {}, {} places: one number for both {:.3f}, the best token {:.3f}, numbers "
      "of their own {:.3f}, rejection {:.3f}\n",
      temperature, places, sum.together / n, sum.best / n, sum.apart / n, sum.rejection / n);
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: draft_rules DIR DRAFT_DIR [temperature] [tokens] < prompts\n");
    return 2;
  }
  try {
    qx::run(argv[1], argv[2], argc > 3 ? std::atof(argv[3]) : 1.0,
            argc > 4 ? std::atoll(argv[4]) : 128);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "draft_rules: {}\n", e.what());
    return 1;
  }
}
