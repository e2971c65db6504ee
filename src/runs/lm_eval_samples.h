// lm-eval's sample files (`lm_eval --log_samples`: samples_TASK_TIME.jsonl), read and written. The format is
// documented in docs/interchange.md; it was read from lm_eval/evaluator.py and loggers/evaluation_tracker.py
// of version 0.4.13 and, for the older forms, of 0.4.0 to 0.4.2.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "runs/answer_log.h"

namespace qx {

struct SampleChoice {
  std::string context, continuation;  // as given to the model's tokenizer
};

struct ImportedSample {
  Answer answer;  // tokens are 0: the format does not say how many were scored
  std::vector<SampleChoice> asked;
  std::string filter;
  bool changed = false;  // its doc_hash is not that of its doc
};

// One sample of a multiple-choice or cloze task. Numbers may be strings, arguments a list or an object, and
// with acc_mutual_info only the first half of the requests counts. The gold answer comes from the document
// where `task` is one that is known here, else from "target". doc_hash is that of the raw row, so that it
// equals the answer log's (hellaswag's added fields do not count).
// Fails: Error at `place`: a generated text, a missing choice, no gold answer, or an acc that the
// log-likelihoods do not give.
ImportedSample parse_lm_eval_sample(const Json& sample, std::string_view task,
                                    std::string_view place);

struct ImportedSamples {
  std::vector<ImportedSample> items;  // rising by index
  std::int64_t of_other_filters = 0;  // lines left out: the same items under another filter
  std::int64_t changed = 0;
};

// A whole file: JSON lines, or one array as 0.4.0 wrote it. Fails: Error; an item twice under one filter.
ImportedSamples parse_lm_eval_samples(std::string_view text, std::string_view task,
                                      std::string_view file);

// "arc_easy" of "samples_arc_easy_2026-01-31T12-00-00.123456.jsonl"; "" for another name.
std::string task_of_sample_file(std::string_view name);
// "2026-01-31T12-00-00.123456" of that name, or of "results_..json"; "" without a time.
std::string time_of_lm_eval_file(std::string_view name);

// The line that lm-eval writes for an item, without its line feed. row: of the data file. target: what
// lm-eval's definition of the task gives as target. asked: one for each choice.
std::string lm_eval_sample_line(const Answer& answer, const Json& row, const std::string& target,
                                const std::vector<SampleChoice>& asked);

}  // namespace qx
