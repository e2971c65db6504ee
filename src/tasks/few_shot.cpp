// SPDX-License-Identifier: Apache-2.0
#include "tasks/few_shot.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "tasks/dataset.h"
#include "tasks/python_random.h"
#include "tasks/text_template.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// Two rows are equal to Python when these are: keys in any order, absent members as null (a data set has
// the same columns in every row), true as 1, 1.0 as 1.
Json normal_form(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_number_float()) {
    const double number = value.get<double>();
    const bool whole = std::nearbyint(number) == number && std::abs(number) < 9e15;
    return whole ? Json(static_cast<std::int64_t>(number)) : value;
  }
  if (value.is_array()) {
    Json array = Json::array();
    for (const Json& element : value) array.push_back(normal_form(element));
    return array;
  }
  if (!value.is_object()) return value;
  std::map<std::string, Json> members;
  for (const auto& [key, member] : value.items()) {
    if (!member.is_null()) members[key] = normal_form(member);
  }
  Json object = Json::object();
  for (auto& [key, member] : members) append_member(object, key, std::move(member));
  return object;
}

std::string group_of(const Task& task, const Json& row, const std::string& place) {
  return FieldPath(task.few_shot.same, place).value(row, place).dump();
}

// The rows of the pool, read when they are drawn.
class Pool {
 public:
  Pool(const Task& task, std::string_view text, std::string file)
      : task_(task), lines_(split_rows(text)), file_(std::move(file)), hashes_(lines_.size()) {}

  std::int64_t rows() const { return static_cast<std::int64_t>(lines_.size()); }
  const std::string& file() const { return file_; }

  // question: normal_form() as text.
  bool is_equal(std::int64_t row, const std::string& question) {
    std::optional<std::size_t>& hash = hashes_[static_cast<std::size_t>(row)];
    if (!hash) hash = std::hash<std::string>{}(normal_text(row));
    return *hash == std::hash<std::string>{}(question) && normal_text(row) == question;
  }

  // The value of the rule's field `same`, as text.
  const std::string& group(std::int64_t row) {
    std::optional<std::string>& group = groups_[row];
    if (!group) group = group_of(task_, parse(row), place(row));
    return *group;
  }

  std::shared_ptr<const TaskItem> example(std::int64_t row) {
    std::shared_ptr<const TaskItem>& item = items_[row];
    if (!item) item = std::make_shared<const TaskItem>(task_.read_item(parse(row), place(row)));
    return item;
  }

 private:
  std::string place(std::int64_t row) const { return fmt::format("{}:{}", file_, row + 1); }
  Json parse(std::int64_t row) const {
    return parse_json(lines_[static_cast<std::size_t>(row)], place(row));
  }
  std::string normal_text(std::int64_t row) const { return normal_form(parse(row)).dump(); }

  const Task& task_;
  std::vector<std::string_view> lines_;
  std::string file_;
  std::vector<std::optional<std::size_t>> hashes_;
  std::map<std::int64_t, std::shared_ptr<const TaskItem>> items_;
  std::map<std::int64_t, std::optional<std::string>> groups_;
};

void require_rows(const Pool& pool, std::int64_t have, std::int64_t need, int shots) {
  if (have >= need) return;
  fail(pool.file(), "got {} rows to draw from, expected at least {} for --shots {}", have, need,
       shots);
}

// Draws as lm-eval's ContextSampler, question by question.
class Drawer {
 public:
  Drawer(Pool& pool, const FewShot& few_shot, bool without_question)
      : pool_(pool), random_(few_shot.seed), shots_(few_shot.shots) {
    require_rows(pool, pool.rows(), shots_ + (without_question ? 1 : 0), shots_);
  }

  std::vector<std::int64_t> draw() { return random_.sample(pool_.rows(), shots_); }

  std::vector<std::int64_t> draw_without(const std::string& question) {
    std::vector<std::int64_t> rows = random_.sample(pool_.rows(), shots_ + 1);
    std::erase_if(rows, [&](std::int64_t row) { return pool_.is_equal(row, question); });
    const auto shots = static_cast<std::size_t>(shots_);
    if (rows.size() >= shots) {
      rows.resize(shots);
      return rows;
    }
    // The question stands in the pool more than once, and was drawn more than once.
    std::vector<std::int64_t> others;
    for (std::int64_t row = 0; row < pool_.rows(); ++row) {
      if (!pool_.is_equal(row, question)) others.push_back(row);
    }
    const auto count = static_cast<std::int64_t>(others.size());
    require_rows(pool_, count, shots_, shots_);
    rows = random_.sample(count, shots_);
    for (std::int64_t& row : rows) row = others[static_cast<std::size_t>(row)];
    return rows;
  }

 private:
  Pool& pool_;
  PythonRandom random_;
  int shots_;
};

// The first rows, of the question's group when the rule has groups, without those equal to the question
// when the rule says so.
std::vector<std::int64_t> first_rows(const Task& task, Pool& pool, int shots, const Json& question,
                                     const std::string& place) {
  const FewShotRule& rule = task.few_shot;
  const std::string group = rule.same.empty() ? "" : group_of(task, question, place);
  const std::string normal = rule.without_question ? normal_form(question).dump() : "";
  std::vector<std::int64_t> rows;
  for (std::int64_t row = 0; row < pool.rows() && std::ssize(rows) < shots; ++row) {
    if (!rule.same.empty() && pool.group(row) != group) continue;
    if (!rule.without_question || !pool.is_equal(row, normal)) rows.push_back(row);
  }
  require_rows(pool, std::ssize(rows), shots, shots);
  return rows;
}

}  // namespace

void draw_examples_from(TaskData& data, const FewShot& few_shot, std::string_view text,
                        std::string_view pool_text, std::string pool_file) {
  const FewShotRule& rule = data.task->few_shot;
  Pool pool(*data.task, pool_text, std::move(pool_file));
  std::map<std::int64_t, DataItem*> wanted;
  for (DataItem& item : data.items) wanted[item.index] = &item;
  const std::int64_t end = wanted.empty() ? 0 : wanted.rbegin()->first + 1;
  const std::vector<std::string_view> lines = split_rows(text);
  QX_CHECK(end <= std::ssize(lines));

  const bool random = rule.sampler == FewShotRule::Sampler::kRandom;
  std::optional<Drawer> drawer;
  if (random) drawer.emplace(pool, few_shot, rule.without_question);
  for (std::int64_t row = 0; row < end; ++row) {
    const auto item = wanted.find(row);
    if (!random && item == wanted.end()) continue;
    Json question;
    const std::string place = fmt::format("{}:{}", data.file, row + 1);
    if (rule.without_question || !rule.same.empty()) {
      question = parse_json(lines[static_cast<std::size_t>(row)], place);
    }
    const std::vector<std::int64_t> rows =
        !random                 ? first_rows(*data.task, pool, few_shot.shots, question, place)
        : rule.without_question ? drawer->draw_without(normal_form(question).dump())
                                : drawer->draw();
    if (item == wanted.end()) continue;
    for (const std::int64_t example : rows) item->second->examples.push_back(pool.example(example));
  }
  data.few_shot = few_shot;
  data.pool = {pool.file(), sha256_hex(pool_text), pool.rows()};
}

void draw_examples(TaskData& data, const FewShot& few_shot) {
  if (few_shot.shots == 0) return;
  const std::string name = data.task->name + ".train.jsonl";
  if (data.origin == "shipped") {
    fail(name,
         "the set that ships with qx has no rows for few-shot examples; name a folder that "
         "holds {}.jsonl and {} with --data DIR",
         data.task->name, name);
  }
  const fs::path file = fs::path(data.file).parent_path() / name;
  if (!fs::exists(file)) {
    fail(file.string(), "is missing, expected the rows for the examples of --shots beside {}.jsonl",
         data.task->name);
  }
  const MappedFile questions(data.file);
  const MappedFile pool(file);
  if (sha256_hex(questions.text()) != data.hash) {
    fail(data.file, "changed while it was read; start again");
  }
  draw_examples_from(data, few_shot, questions.text(), pool.text(), file.string());
}

}  // namespace qx
