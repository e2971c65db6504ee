// A finished or unfinished run read back: what it was asked under which conditions, and what it answered.
// Nothing is written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/prompt.h"
#include "io/json.h"
#include "model/model.h"
#include "runs/answer_log.h"
#include "tasks/dataset.h"

namespace qx {

class RecordedRun {
 public:
  // Reads run.json. Fails: Error when the folder holds no run.
  explicit RecordedRun(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& name() const { return name_; }  // of the folder
  const Json& run() const { return run_; }
  // A member of run.json, null when it is not there.
  const Json& setting(const char* key) const;
  bool imported() const { return !setting("imported_from").is_null(); }
  std::vector<std::string> tasks() const;  // those with answers, sorted
  // By index. Fails: Error when there are none.
  std::vector<Answer> answers(const std::string& task) const;
  // The directory as recorded; empty when the run does not say (an imported one).
  std::filesystem::path model_directory() const;

 private:
  std::filesystem::path folder_;
  std::string name_;
  Json run_;
};

// The data file of one task of a run, with what has changed since.
class RecordedData {
 public:
  // directory: instead of the recorded file's. Fails: Error when the file, the task's description or the
  // file of few-shot examples cannot be read, or is another one now.
  RecordedData(const RecordedRun& run, const std::string& task,
               const std::optional<std::filesystem::path>& directory);
  RecordedData(const RecordedData&) = delete;
  RecordedData& operator=(const RecordedData&) = delete;

  const std::string& file() const { return file_; }
  bool same_file() const { return same_file_; }  // byte for byte the one that the run read
  const Task& task() const { return *task_; }
  // The rows that answers (rising by index) belong to, with their examples, checked by their doc_hash. One pass
  // over the file, however many. Fails: Error when a row is another one now.
  std::vector<DataItem> items(std::span<const Answer> answers) const;
  DataItem item(const Answer& answer) const { return std::move(items({&answer, 1}).front()); }
  Json row(const Answer& answer) const;

 private:
  void find_task_of(const RecordedRun& run, const std::string& task, const Json& facts);
  void read_examples(const RecordedRun& run, const Json& facts,
                     const std::optional<std::filesystem::path>& directory);

  std::string file_, text_;
  std::vector<std::string_view> lines_;   // of text_
  std::unique_ptr<const Task> own_task_;  // from a description of the user's
  const Task* task_ = nullptr;
  FewShot few_shot_;
  std::string pool_file_, pool_text_;
  bool same_file_ = false;
};

// Tokenizer, template and rules of a run, from the model's directory.
class RecordedPrompter {
 public:
  RecordedPrompter(const RecordedRun& run, const std::filesystem::path& model_directory);
  const Prompter& prompter() const { return *prompter_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::vector<Prompt> prompts(const Task& task, const DataItem& item) const {
    return prompter_->prompts(task, item);
  }
  // The chat template's text; null in plain mode.
  Json template_source() const;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  bool chat_ = false;
  std::unique_ptr<Prompter> prompter_;
};

// "" when the directory holds the files that the run recorded, else the first difference in words.
std::string model_difference(const RecordedRun& run, const std::filesystem::path& directory);

// The prompts of prompts-TASK.jsonl by index; empty when the run kept none. ids are absent in an imported run.
struct KeptChoice {
  std::string context, continuation;
  std::vector<TokenId> ids;
  std::int64_t scored_begin = 0, scored_end = 0;
};
std::map<std::int64_t, std::vector<KeptChoice>> kept_prompts(const RecordedRun& run,
                                                             const std::string& task);

}  // namespace qx
