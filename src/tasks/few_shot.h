// Few-shot examples: which rows of the pool a question is asked with. The draws are lm-eval's
// (lm_eval/api/samplers.py, task.py): one Python generator per task, used question by question from row 0 of
// the data file on, so the examples of a row are the same whatever rows are asked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qx {

struct TaskData;

// lm-eval's default of its few-shot seed, and mlx_lm.evaluate's of its only seed.
constexpr std::uint64_t kLmEvalFewShotSeed = 1234, kMlxLmFewShotSeed = 123;

struct FewShot {
  int shots = 0;
  std::uint64_t seed = kLmEvalFewShotSeed;
};

struct FewShotPool {
  std::string file, hash;  // SHA-256
  std::int64_t rows = 0;
};

// Gives every item of `data` its examples, from TASK.train.jsonl beside the data file. Does nothing for 0
// shots. Fails: Error for a missing pool, one with too few rows, and broken rows where they are needed.
void draw_examples(TaskData& data, const FewShot& few_shot);

// The same from texts: all of the data file, and the pool. pool_file: for places.
void draw_examples_from(TaskData& data, const FewShot& few_shot, std::string_view text,
                        std::string_view pool_text, std::string pool_file);

}  // namespace qx
