// What a forward pass of several tokens of one text costs over that of one, with the logits of
// every token: what guesses (generate/draft.h) have to earn. Medians of rounds that take turns.
//   pass_bench DIR|SHAPE:RECIPE [exact|fast|reference] [positions before] [rounds] [threads]
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "arch/shapes.h"
#include "base/error.h"
#include "base/random.h"
#include "model/cpu_model.h"
#include "model/model.h"
#include "model/random_weights.h"
#include "recipe/plan.h"

namespace qx {
namespace {

std::unique_ptr<Model> load(const std::string& name, ThreadPool& pool, Precision precision) {
  if (std::filesystem::is_directory(name)) return load_model(name, pool, precision);
  const std::size_t colon = name.find(':');
  if (colon == std::string::npos) fail(name, "expected a directory, or SHAPE:RECIPE");
  const ModelConfig config = shape_config(name.substr(0, colon));
  PlanRequest request;
  request.recipe = name.substr(colon + 1);
  const Plan plan = make_plan(config, request);
  return make_cpu_model(random_weights(config, plan, {}, pool), pool, precision);
}

void run(const std::string& name, Precision precision, std::int64_t before, int rounds,
         int threads) {
  ThreadPool pool(threads);
  const auto model = load(name, pool, precision);
  const std::int64_t vocab = model->config().vocab_size;
  Random random(1);
  std::vector<TokenId> text(static_cast<std::size_t>(before));
  for (TokenId& id : text) {
    id = static_cast<TokenId>(random.below(static_cast<std::uint64_t>(vocab)));
  }
  const std::int64_t counts[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 32};
  const auto segment = model->new_segment(nullptr, before + 32);
  const Chunk prompt{segment.get(), text, {}};
  if (before > 0) model->forward({&prompt, 1});
  std::vector<float> logits(static_cast<std::size_t>(32 * vocab));
  std::map<std::int64_t, std::vector<double>> seconds;
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    for (const std::int64_t count : counts) {
      std::vector<TokenId> tokens(static_cast<std::size_t>(count));
      for (TokenId& id : tokens) {
        id = static_cast<TokenId>(random.below(static_cast<std::uint64_t>(vocab)));
      }
      std::vector<std::int32_t> outputs(tokens.size());
      std::iota(outputs.begin(), outputs.end(), 0);
      const Chunk chunk{segment.get(), tokens, outputs};
      const auto start = std::chrono::steady_clock::now();
      const Hidden hidden = model->forward({&chunk, 1});
      model->logits_rows(hidden, 0, count,
                         std::span(logits).first(static_cast<std::size_t>(count * vocab)));
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
      if (round >= 0) seconds[count].push_back(passed.count());
      segment->truncate(before);
    }
  }
  const auto median = [&](std::int64_t count) {
    std::vector<double>& all = seconds[count];
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
  };
  for (const std::int64_t count : counts) {
    fmt::print("{} {}: {:>2} rows {:8.2f} ms, {:.2f} of one\n", name, precision_name(precision),
               count, 1e3 * median(count), median(count) / median(1));
  }
}

}  // namespace
}  // namespace qx

int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  try {
    const std::string precision = argument(2, "exact");
    qx::run(argument(1, ""),
            precision == "fast"        ? qx::Precision::kFast
            : precision == "reference" ? qx::Precision::kReference
                                       : qx::Precision::kExact,
            std::atoll(argument(3, "256").c_str()), std::atoi(argument(4, "15").c_str()),
            std::atoi(argument(5, "2").c_str()));
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "pass_bench: {}\n", e.what());
    return 1;
  }
}
