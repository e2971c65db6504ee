// Reading task descriptions (docs/tasks.md). Every message names file, line and field.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "io/json_lines.h"
#include "tasks/task.h"
#include "tasks/task_rules.h"

namespace qx {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

// A value of the description with its path.
class Node {
 public:
  Node(const LocatedJson& whole, std::string_view file)
      : whole_(&whole), file_(file), value_(&whole.value) {}

  const Json& json() const { return *value_; }

  // "file:line] field 'x'" is put together as place() and a message that begins with the field.
  std::string place() const {
    const auto found = whole_->lines.find(path_);
    return fmt::format("{}:{}", file_, found == whole_->lines.end() ? 1 : found->second);
  }
  [[noreturn]] void wrong(std::string_view expected) const {
    std::string shown = value_->is_structured()
                            ? value_->type_name()
                            : value_->dump(-1, ' ', true, Json::error_handler_t::replace);
    if (shown.size() > 60) shown = shown.substr(0, 60) + "..";
    fail(place(), "{}got {}, expected {}", field(), shown, expected);
  }
  // Runs what may throw Error("[place] message") about this value's text; adds the field's name.
  template <typename Parse>
  auto parsed(Parse parse) const {
    try {
      return parse(json().get_ref<const std::string&>());
    } catch (const Error& e) {
      const std::string text = e.what();  // "[x] got .."
      throw Error(place(), field() + text.substr(std::min(text.find("] ") + 2, text.size())));
    }
  }

  bool has(std::string_view key) const { return value_->contains(std::string(key)); }
  Node at(std::string_view key) const {
    const auto found = value_->find(std::string(key));
    const std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
    if (found == value_->end()) fail(place(), "field '{}' is missing", path);
    return Node(*this, &*found, path);
  }
  std::vector<Node> elements() const {
    std::vector<Node> nodes;
    for (const Json& element : *value_) {
      nodes.push_back(Node(*this, &element, fmt::format("{}[{}]", path_, nodes.size())));
    }
    return nodes;
  }

  void require_object(std::initializer_list<std::string_view> known) const {
    if (!value_->is_object()) wrong("an object");
    for (const auto& [key, value] : value_->items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      fail(at(key).place(), "field '{}' is not known here, expected some of {}", at(key).path_,
           fmt::join(known, ", "));
    }
  }
  std::string string() const {
    if (!value_->is_string()) wrong("a string");
    return value_->get<std::string>();
  }
  bool boolean() const {
    if (!value_->is_boolean()) wrong("true or false");
    return value_->get<bool>();
  }
  std::int64_t integer(std::int64_t least, std::int64_t most, std::string_view expected) const {
    const bool fits = value_->is_number_integer() &&
                      (!value_->is_number_unsigned() || value_->get<std::uint64_t>() <= INT64_MAX);
    if (!fits || value_->get<std::int64_t>() < least || value_->get<std::int64_t>() > most) {
      wrong(expected);
    }
    return value_->get<std::int64_t>();
  }

 private:
  Node(const Node& parent, const Json* value, std::string path)
      : whole_(parent.whole_), file_(parent.file_), value_(value), path_(std::move(path)) {}
  std::string field() const { return path_.empty() ? "" : fmt::format("field '{}': ", path_); }

  const LocatedJson* whole_;
  std::string_view file_;
  const Json* value_;
  std::string path_;
};

FieldPath read_path(const Node& node) {
  if (!node.json().is_string()) node.wrong("the name of a field");
  return node.parsed([](const std::string& text) { return FieldPath(text, "x"); });
}

std::vector<TextFilter> read_filters(const Node& node) {
  if (!node.json().is_array()) node.wrong("an array of filters");
  std::vector<TextFilter> filters;
  for (const Node& element : node.elements()) {
    element.string();
    filters.push_back(
        element.parsed([](const std::string& text) { return parse_text_filter(text, "x"); }));
  }
  return filters;
}

// "text", or {"text": .., "filters": [..]}.
TextTemplate read_text(const Node& node) {
  const bool has_filters = node.json().is_object();
  if (!has_filters && !node.json().is_string()) {
    node.wrong("a text, or {\"text\": .., \"filters\": [..]}");
  }
  if (!has_filters) {
    return node.parsed([](const std::string& text) { return TextTemplate(text, "x"); });
  }
  node.require_object({"text", "filters"});
  node.at("text").string();
  TextTemplate text =
      node.at("text").parsed([](const std::string& source) { return TextTemplate(source, "x"); });
  if (node.has("filters")) text.set_filters(read_filters(node.at("filters")));
  return text;
}

std::vector<TextTemplate> read_texts(const Node& node) {
  std::vector<TextTemplate> texts;
  for (const Node& element : node.elements()) texts.push_back(read_text(element));
  if (texts.size() < 2) node.wrong("at least 2 texts");
  return texts;
}

// At most one byte of a file name per character: the name becomes part of file names.
std::string read_name(const Node& node) {
  const std::string name = node.string();
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  if (name.empty() || name.size() > 100 || !std::all_of(name.begin(), name.end(), fits) ||
      name == "all") {
    node.wrong("a name of letters, digits, '_' and '-'");
  }
  return name;
}

DataSource read_data(const Node& node) {
  node.require_object({"hub", "config", "split", "rows"});
  DataSource data;
  data.hub = node.at("hub").string();
  if (data.hub.find('/') == std::string::npos) node.at("hub").wrong("owner/name");
  data.config = node.has("config") ? node.at("config").string() : "default";
  data.split = node.at("split").string();
  if (node.has("rows")) {
    data.rows = node.at("rows").integer(1, std::int64_t{1} << 40, "a number of rows");
  }
  return data;
}

FewShotRule read_few_shot(const Node& node) {
  node.require_object({"split", "rows", "sampler", "same", "without_question"});
  FewShotRule rule;
  if (node.has("split")) rule.split = node.at("split").string();
  if (node.has("rows")) {
    rule.rows = node.at("rows").integer(1, std::int64_t{1} << 40, "a number of rows");
  }
  if (node.has("sampler")) {
    const std::string name = node.at("sampler").string();
    if (name != "random" && name != "first") node.at("sampler").wrong("\"random\" or \"first\"");
    if (name == "first") rule.sampler = FewShotRule::Sampler::kFirst;
  }
  if (node.has("same")) {
    rule.same = read_path(node.at("same")).name();
    if (rule.sampler != FewShotRule::Sampler::kFirst) {
      node.at("same").wrong("none without \"sampler\": \"first\"");
    }
  }
  if (node.has("without_question")) rule.without_question = node.at("without_question").boolean();
  return rule;
}

void read_metrics(const Node& node, Task& task) {
  if (!node.json().is_array() || node.json().empty())
    node.wrong("[\"acc\"], or [\"acc\", \"acc_norm\"]");
  bool has_acc = false;
  for (const Node& element : node.elements()) {
    const std::string name = element.string();
    if (name == "acc") {
      has_acc = true;
    } else if (name == "acc_norm" && !task.cloze) {
      task.has_acc_norm = true;
    } else {
      element.wrong(task.cloze ? "\"acc\", the metric of a task with one continuation"
                               : "\"acc\" or \"acc_norm\" (acc_bytes and acc_token come with it)");
    }
  }
  if (!has_acc) node.wrong("\"acc\" among the metrics");
}

std::vector<std::string> read_labels(const Node& node) {
  std::vector<std::string> labels;
  for (const Node& element : node.elements()) {
    labels.push_back(element.string());
    if (std::count(labels.begin(), labels.end(), labels.back()) > 1) {
      element.wrong("each label once");
    }
  }
  return labels;
}

// choices: how many there are when that is fixed, else 0.
GoldRule read_gold_rule(const Node& node, std::size_t choices) {
  constexpr const char* kForms =
      "an index, {\"index\": FIELD}, {\"label\": TEXT, \"labels\": ..} or {\"text\": TEXT}";
  GoldRule rule;
  const auto last = static_cast<std::int64_t>(choices) - 1;
  if (node.json().is_number_integer()) {
    rule.kind = GoldRule::Kind::kFixed;
    rule.fixed = node.integer(0, choices == 0 ? INT32_MAX : last,
                              choices == 0 ? "an index from 0" : fmt::format("0 to {}", last));
    return rule;
  }
  if (!node.json().is_object()) node.wrong(kForms);
  if (node.has("index")) {
    node.require_object({"index", "first"});
    rule.kind = GoldRule::Kind::kIndex;
    rule.index = read_path(node.at("index"));
    if (node.has("first")) {
      rule.first = node.at("first").integer(-1000000, 1000000, "the number of the first choice");
    }
  } else if (node.has("label")) {
    node.require_object({"label", "labels"});
    rule.kind = GoldRule::Kind::kLabel;
    rule.text = read_text(node.at("label"));
    const Node labels = node.at("labels");
    if (labels.json().is_array()) {
      rule.labels = read_labels(labels);
      if (choices > 0 && rule.labels.size() != choices) {
        labels.wrong(fmt::format("{} labels, one for each choice", choices));
      }
    } else {
      rule.labels_field = read_path(labels);
    }
  } else if (node.has("text")) {
    node.require_object({"text"});
    rule.kind = GoldRule::Kind::kText;
    rule.text = read_text(node.at("text"));
  } else {
    node.wrong(kForms);
  }
  return rule;
}

// Returns how many choices there are when that is fixed, else 0.
std::size_t read_choices(const Node& node, TaskRules& rules) {
  if (node.json().is_array()) {
    rules.choices = read_texts(node);
    return rules.choices.size();
  }
  if (!node.json().is_object()) node.wrong("an array of texts, or {\"list\": FIELD}");
  node.require_object({"list", "filters"});
  rules.choices_field = read_path(node.at("list"));
  if (node.has("filters")) rules.choices_filters = read_filters(node.at("filters"));
  return 0;
}

void read_question(const Node& root, Task& task, TaskRules& rules) {
  if (root.has("header")) rules.header = read_text(root.at("header"));
  const Node context = root.at("context");
  std::size_t choices = 0;
  if (context.json().is_array()) {
    rules.contexts = read_texts(context);
    choices = rules.contexts.size();
  } else {
    rules.contexts.push_back(read_text(context));
  }
  if (root.has("continuation")) {
    if (root.has("choices")) {
      root.at("choices").wrong("none beside \"continuation\": what is scored is one or the other");
    }
    rules.continuation = read_text(root.at("continuation"));
    task.cloze = choices == 0;
  } else {
    if (choices > 0) context.wrong("one text with \"choices\"; several go with \"continuation\"");
    choices = read_choices(root.at("choices"), rules);
  }
  if (!task.cloze) {
    rules.gold = read_gold_rule(root.at("gold"), choices);
  } else if (root.has("gold")) {
    root.at("gold").wrong("none: the only continuation of a context is the right one");
  }
}

void collect_fields(Task& task, const TaskRules& rules) {
  std::vector<std::string>& fields = task.fields;
  if (rules.header) rules.header->add_fields(fields);
  if (!task.few_shot.same.empty()) {
    fields.push_back(FieldPath(task.few_shot.same, "").first_part());
  }
  for (const TextTemplate& text : rules.contexts) text.add_fields(fields);
  for (const TextTemplate& text : rules.choices) text.add_fields(fields);
  if (rules.continuation) rules.continuation->add_fields(fields);
  if (rules.choices_field) fields.push_back(rules.choices_field->first_part());
  if (!task.cloze) {
    if (rules.gold.kind == GoldRule::Kind::kIndex) fields.push_back(rules.gold.index.first_part());
    rules.gold.text.add_fields(fields);
    if (rules.gold.labels_field) fields.push_back(rules.gold.labels_field->first_part());
  }
  if (rules.cluster) fields.push_back(rules.cluster->first_part());
  std::sort(fields.begin(), fields.end());
  fields.erase(std::unique(fields.begin(), fields.end()), fields.end());
}

}  // namespace

Task parse_task(std::string_view text, std::string_view file) {
  if (text.size() > kMaxBytes) {
    fail(file, "got {} bytes, expected at most {}", text.size(), kMaxBytes);
  }
  const LocatedJson json = parse_located_json(text, file);
  const Node root(json, file);
  root.require_object({"name", "description", "version", "data", "header", "context", "choices",
                       "continuation", "gold", "metrics", "delimiter", "example_delimiter",
                       "few_shot", "cluster"});
  Task task;
  task.name = read_name(root.at("name"));
  if (root.has("description")) root.at("description").string();
  if (root.has("version")) {
    if (!root.at("version").json().is_number()) root.at("version").wrong("a number");
    task.version = root.at("version").json().get<double>();
  }
  if (root.has("data")) task.data = read_data(root.at("data"));
  if (root.has("few_shot")) task.few_shot = read_few_shot(root.at("few_shot"));
  if (root.has("delimiter")) task.delimiter = root.at("delimiter").string();
  if (root.has("example_delimiter")) {
    task.example_delimiter = root.at("example_delimiter").string();
  }
  auto rules = std::make_shared<TaskRules>();
  read_question(root, task, *rules);
  read_metrics(root.at("metrics"), task);
  if (root.has("cluster")) rules->cluster = read_path(root.at("cluster"));
  collect_fields(task, *rules);
  task.rules = std::move(rules);
  task.file = file;
  task.description_hash = sha256_hex(text);
  return task;
}

Task load_task(const std::filesystem::path& file) {
  const MappedFile map(file);
  return parse_task(map.text(), file.string());
}

}  // namespace qx
