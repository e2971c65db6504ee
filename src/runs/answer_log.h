// The answer log: RUNS/NAME/answers-TASK.jsonl, one line an item. What comparisons and reports
// read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/append_file.h"

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
  // Items with the same one share a passage (docs/tasks.md, "cluster"), so that their errors are not
  // independent: the first 16 hex digits of its SHA-256. Empty: the task has none, or an older log.
  std::string cluster;
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

// The answers of a log's text, in the order they lie in. A killed run leaves a torn last line (without a
// line feed, or not JSON), and a machine that stopped can leave zeros where lines were: these are dropped.
// Anything else that is wrong is an error naming file and line.
struct ParsedLog {
  std::vector<Answer> answers;
  std::size_t whole_bytes = 0;  // up to the torn line
  std::size_t lost_lines = 0;   // of zeros, among these bytes
};
ParsedLog parse_answers(std::string_view text, const std::string& file);
std::vector<Answer> read_answers(const std::filesystem::path& file);

// Appends answers to a file. A thread of its own syncs the file, so that an answer is on the disk within a
// second even when the next one takes minutes. Threads: one caller at a time.
class AnswerLog {
 public:
  // Keeps what the file holds already (see answers()); cuts off what is torn. Fails: Error.
  explicit AnswerLog(std::filesystem::path file);
  ~AnswerLog();
  AnswerLog(const AnswerLog&) = delete;
  AnswerLog& operator=(const AnswerLog&) = delete;

  const std::vector<Answer>& answers() const { return answers_; }
  // Written at once. A line is whole in the file or absent. Fails: Error, also for an earlier answer that
  // could not be synced, and when the file was deleted meanwhile.
  void append(Answer answer);
  // Syncs, and rewrites the file in order of index unless it is already. Fails as append().
  void finish();
  std::size_t durable() const;  // how many answers, from the first, are on the disk for certain

 private:
  void flush_until_stopped();  // the flusher's work
  void stop_flusher();

  std::filesystem::path path_;
  std::vector<Answer> answers_;
  std::unique_ptr<AppendFile> file_;  // replaced only while no flusher runs

  std::thread flusher_;
  std::condition_variable wake_;
  mutable std::mutex mutex_;  // guards what follows
  std::size_t written_ = 0, durable_ = 0;
  bool stop_ = false;
  std::exception_ptr failure_;  // of the flusher
};

}  // namespace qx
