// SPDX-License-Identifier: Apache-2.0
#include "eval/recorded_run.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "runs/model_facts.h"
#include "runs/run_record.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::vector<TokenId> ids_of(const Json& choice, std::string_view place) {
  std::vector<TokenId> ids;
  const Json& list = json_member(choice, "ids");
  if (list.is_null()) return ids;
  if (!list.is_array()) fail(place, "key 'ids': got {}, expected an array", list.type_name());
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      fail(place, "key 'ids': got {}, expected token ids", id.dump());
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

KeptChoice kept_choice(const Json& json, std::string_view place) {
  if (!json.is_object()) fail(place, "got {}, expected a choice", json.type_name());
  KeptChoice choice;
  choice.context = json_string(json, "context", place);
  choice.continuation = json_string(json, "continuation", place);
  choice.ids = ids_of(json, place);
  if (choice.ids.empty()) return choice;
  const Json& scored = json_member(json, "scored");
  const auto size = static_cast<std::int64_t>(choice.ids.size());
  const bool is_span = scored.is_array() && scored.size() == 2 && scored[0].is_number_integer() &&
                       scored[1].is_number_integer() && scored[0] >= 0 && scored[0] <= scored[1] &&
                       scored[1] <= size;
  if (!is_span) fail(place, "key 'scored': got {}, expected a span of the ids", scored.dump());
  choice.scored_begin = scored[0].get<std::int64_t>();
  choice.scored_end = scored[1].get<std::int64_t>();
  return choice;
}

}  // namespace

RecordedRun::RecordedRun(fs::path folder) : folder_(std::move(folder)) {
  std::error_code ignored;
  if (!fs::is_directory(folder_, ignored)) {
    fail(folder_.string(), "no such folder, expected a run RUNS/NAME of qx eval");
  }
  if (!fs::exists(folder_ / "run.json", ignored)) {
    fail(folder_.string(), "holds no run.json, expected a run RUNS/NAME of qx eval");
  }
  run_ = read_json_file(folder_ / "run.json");
  if (!run_.is_object()) {
    fail((folder_ / "run.json").string(), "got {}, expected an object", run_.type_name());
  }
  name_ = run_name(folder_);
}

const Json& RecordedRun::setting(const char* key) const {
  return json_member(run_, key);
}

std::vector<std::string> RecordedRun::tasks() const {
  constexpr std::string_view kPrefix = "answers-", kSuffix = ".jsonl";
  std::vector<std::string> tasks;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with(kPrefix) && file.ends_with(kSuffix)) {
      tasks.push_back(file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size()));
    }
  }
  std::sort(tasks.begin(), tasks.end());
  return tasks;
}

std::vector<Answer> RecordedRun::answers(const std::string& task) const {
  const std::vector<std::string> known = tasks();
  if (std::find(known.begin(), known.end(), task) == known.end()) {
    if (known.empty()) fail(folder_.string(), "holds no answers per item (answers-TASK.jsonl)");
    fail(folder_.string(), "holds no answers to '{}', expected one of {}", task,
         fmt::join(known, ", "));
  }
  std::vector<Answer> answers = read_answers(folder_ / fmt::format("answers-{}.jsonl", task));
  std::sort(answers.begin(), answers.end(),
            [](const Answer& a, const Answer& b) { return a.index < b.index; });
  return answers;
}

fs::path RecordedRun::model_directory() const {
  return text_of(json_member(setting("model"), "path"));
}

RecordedData::RecordedData(const RecordedRun& run, const std::string& task,
                           const std::optional<fs::path>& directory) {
  const Json& facts = json_member(run.setting("tasks"), task);
  find_task_of(run, task, facts);
  file_ = text_of(json_member(facts, "data"));
  std::string origin = text_of(json_member(facts, "origin"));
  if (directory) {
    file_ = (*directory / (task + ".jsonl")).string();
    origin = "--data";
  }
  if (file_.empty()) fail(run.folder().string(), "does not say which data file {} had", task);
  text_ = recorded_data_text(origin, file_);
  lines_ = split_rows(text_);
  same_file_ = sha256_hex(text_) == text_of(json_member(facts, "data_hash"));
  read_examples(run, facts, directory);
}

void RecordedData::find_task_of(const RecordedRun& run, const std::string& task,
                                const Json& facts) {
  const std::string description = text_of(json_member(facts, "description"));
  if (description.empty() || description == "shipped") {
    task_ = find_task(task);
    if (task_ == nullptr) fail(task, "is no task that this program knows");
    return;
  }
  own_task_ = std::make_unique<const Task>(load_task(description));
  task_ = own_task_.get();
  if (json_member(facts, "description_hash") != Json(own_task_->description_hash)) {
    fail(description, "the task's description changed since the run {}", run.folder().string());
  }
}

void RecordedData::read_examples(const RecordedRun& run, const Json& facts,
                                 const std::optional<fs::path>& directory) {
  const std::string place = (run.folder() / "run.json").string();
  const std::int64_t shots = json_int_or(run.run(), "few_shot", 0, place);
  if (shots == 0) return;
  const std::int64_t seed = json_int_or(run.run(), "few_shot_seed", 0, place);
  if (shots < 0 || shots > INT32_MAX || seed < 0) {
    fail(place, "got {} few-shot examples with seed {}, expected at least 0", shots, seed);
  }
  few_shot_ = {static_cast<int>(shots), static_cast<std::uint64_t>(seed)};
  pool_file_ = directory ? (*directory / (task_->name + ".train.jsonl")).string()
                         : text_of(json_member(facts, "examples"));
  pool_text_ = recorded_data_text("", pool_file_);
  // The examples are drawn by row number, and a row of the questions may decide which are left out.
  if (Json(sha256_hex(pool_text_)) != json_member(facts, "examples_hash") || !same_file_) {
    fail(same_file_ ? pool_file_ : file_,
         "the data file changed since the run, and few-shot examples depend on all of it");
  }
}

Json RecordedData::row(const Answer& answer) const {
  const std::string place = fmt::format("{}:{}", file_, answer.index + 1);
  if (answer.index >= static_cast<std::int64_t>(lines_.size())) {
    fail(
        place,
        "the data file changed since the run: it has {} rows, expected one with index {}; name the "
        "folder of the file that the run read with --data",
        lines_.size(), answer.index);
  }
  Json row = parse_json(lines_[static_cast<std::size_t>(answer.index)], place);
  const std::string hash = document_hash(row);
  if (hash != answer.doc_hash) {
    fail(
        place,
        "the data file changed since the run: got doc_hash {}, expected {}; name the folder of the "
        "file that the run read with --data",
        hash, answer.doc_hash);
  }
  return row;
}

std::vector<DataItem> RecordedData::items(std::span<const Answer> answers) const {
  Selection selection;
  IndexList::Entry entry;
  std::vector<IndexList::Entry>& rows = selection.indices.emplace().by_task[""];
  for (const Answer& answer : answers) {
    row(answer);
    entry.row = answer.index;
    rows.push_back(entry);
  }
  TaskData data = parse_task_data(*task_, text_, file_, selection);
  if (few_shot_.shots > 0) draw_examples_from(data, few_shot_, text_, pool_text_, pool_file_);
  QX_CHECK(data.items.size() == answers.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const DataItem& item = data.items[i];
    const Answer& answer = answers[i];
    if (item.item.continuations.size() != answer.choices.size() || item.item.gold != answer.gold) {
      fail(item.place,
           "got {} choices and gold {}, expected {} and {} as answered: the task is read by other "
           "rules now",
           item.item.continuations.size(), item.item.gold, answer.choices.size(), answer.gold);
    }
  }
  return std::move(data.items);
}

RecordedPrompter::RecordedPrompter(const RecordedRun& run, const fs::path& model_directory)
    : tokenizer_(std::make_unique<Tokenizer>(Tokenizer::load(model_directory))),
      chat_template_(ChatTemplate::load(model_directory)) {
  const std::string place = (run.folder() / "run.json").string();
  PromptRules rules;
  rules.pair.chat = json_string(run.run(), "mode", place) == "chat";
  chat_ = rules.pair.chat;
  rules.pair.convention = parse_convention(json_string(run.run(), "convention", place), place);
  rules.pair.max_length = json_int(run.run(), "max_length", place);
  rules.template_variables = run.setting("template_variables");
  rules.multiturn = json_bool_or(run.run(), "few_shot_multiturn", false, place);
  if (rules.pair.chat && !chat_template_) {
    fail(model_directory.string(), "has no chat template, expected one as the run used it");
  }
  if (rules.pair.chat && run.setting("template_hash") != Json(chat_template_->hash())) {
    fail(model_directory.string(), "has another chat template than the run used");
  }
  prompter_ = std::make_unique<Prompter>(*tokenizer_, chat_template_ ? &*chat_template_ : nullptr,
                                         std::move(rules));
}

Json RecordedPrompter::template_source() const {
  return chat_ ? Json(chat_template_->source()) : Json();
}

std::string model_difference(const RecordedRun& run, const fs::path& directory) {
  const Json now = model_facts_json(measure_model(directory));
  const Json &recorded = json_member(run.setting("model"), "files"),
             &found = json_member(now, "files");
  if (!recorded.is_object()) return "the run does not say which files its model had";
  for (const auto& [file, hash] : recorded.items()) {
    const Json& here = json_member(found, file);
    if (here.is_null()) return fmt::format("{} is gone", file);
    if (here != hash) {
      return fmt::format("{} changed: got SHA-256 {}, expected {}", file, text_of(here),
                         text_of(hash));
    }
  }
  for (const auto& [file, hash] : found.items()) {
    if (json_member(recorded, file).is_null()) return fmt::format("{} is new", file);
  }
  return "";
}

std::map<std::int64_t, std::vector<KeptChoice>> kept_prompts(const RecordedRun& run,
                                                             const std::string& task) {
  std::map<std::int64_t, std::vector<KeptChoice>> kept;
  const fs::path file = run.folder() / fmt::format("prompts-{}.jsonl", task);
  if (!fs::exists(file)) return kept;
  const MappedFile map(file);
  std::int64_t line = 0;
  for (const std::string_view text : split_rows(map.text())) {
    const std::string place = fmt::format("{}:{}", file.string(), ++line);
    const Json json = parse_json(text, place);
    if (!json.is_object()) fail(place, "got {}, expected an object", json.type_name());
    const Json& choices = json_member(json, "choices");
    if (!choices.is_array()) fail(place, "key 'choices': expected an array");
    std::vector<KeptChoice>& item = kept[json_int(json, "index", place)];
    for (const Json& choice : choices) item.push_back(kept_choice(choice, place));
  }
  return kept;
}

}  // namespace qx
