// The answer log: RUNS/NAME/answers-TASK.jsonl, one line an item. What comparisons and reports
// read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

struct ChoiceAnswer {
  double ll = 0;  // sum of log-probabilities in nats; -inf when the context was cut away entirely
  std::int64_t tokens = 0;  // scored; 0: not known (an imported run)
  std::int64_t chars = 0;   // Unicode code points of the scored text without delimiter
  std::int64_t bytes = 0;   // the same in UTF-8 bytes
  bool greedy = false;      // every scored token is the most likely one
};

struct Answer {
  std::string task;
  std::int64_t index = 0;  // 0-based row in the data file
  std::string doc_hash;
  int gold = 0;
  std::vector<ChoiceAnswer> choices;
  int acc = 0;
  std::optional<int> acc_norm;  // absent for boolq and winogrande
};

// Index of the largest value; the first of equal ones; the first NaN before any number (as
// numpy.argmax).
std::size_t first_argmax(const std::vector<double>& values);

// The choice that a metric picks: "acc" by ll, "acc_norm" by ll / chars, "acc_bytes" by ll / bytes,
// "acc_token" by ll / tokens. Where there is one choice only (a cloze question): 0 when greedy decoding
// gives it, else 1, which stands for any other text. Fails: InternalError for another name.
std::size_t picked_choice(const std::vector<ChoiceAnswer>& choices, std::string_view metric);
bool is_right(const Answer& answer, std::string_view metric);

std::size_t picked_by_ll(const std::vector<ChoiceAnswer>& choices);
std::size_t picked_by_ll_per_char(const std::vector<ChoiceAnswer>& choices);
std::size_t picked_by_ll_per_byte(const std::vector<ChoiceAnswer>& choices);
std::size_t picked_by_ll_per_token(const std::vector<ChoiceAnswer>& choices);

// One line without its line feed. ll is written so that it reads back as the same double; -inf as
// null.
std::string answer_line(const Answer& answer);
// Fails: Error at `place`.
Answer parse_answer(std::string_view line, std::string_view place);

// All answers of a file, in the order they lie in. A last line that a killed run left torn is
// dropped (without a line feed, or not JSON); anything else that is wrong is an error naming file
// and line.
std::vector<Answer> read_answers(const std::filesystem::path& file);

// Appends answers to a file. Threads: one caller at a time.
class AnswerLog {
 public:
  // Keeps what the file holds already (see answers()); cuts a torn last line off. Fails: Error.
  explicit AnswerLog(std::filesystem::path file);
  ~AnswerLog();
  AnswerLog(const AnswerLog&) = delete;
  AnswerLog& operator=(const AnswerLog&) = delete;

  const std::vector<Answer>& answers() const { return answers_; }
  // Written at once, synced to the disk at most once a second.
  void append(Answer answer);
  // Syncs, and rewrites the file in order of index unless it is already.
  void finish();

 private:
  void write(std::string_view text);
  void sync();
  std::filesystem::path file_;
  std::vector<Answer> answers_;
  int fd_ = -1;
  std::chrono::steady_clock::time_point last_sync_;
};

}  // namespace qx
