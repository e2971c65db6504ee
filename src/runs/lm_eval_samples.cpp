// SPDX-License-Identifier: Apache-2.0
#include "runs/lm_eval_samples.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"
#include "base/parse_double.h"
#include "tasks/dataset.h"
#include "tasks/python_text.h"
#include "tasks/task.h"

namespace qx {
namespace {

constexpr std::string_view kPrefix = "samples_", kSuffix = ".jsonl";
// What lm-eval's hellaswag adds to each row before it hashes it.
constexpr const char* kHellaswagFields[] = {"query", "choices", "gold"};

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// A number, or a string that holds one as Python's str() writes it.
double read_double(const Json& value, std::string_view place, std::string_view what) {
  double number = 0;
  if (value.is_number()) {
    number = value.get<double>();
  } else if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    const std::optional<double> parsed = text == "-inf" ? -HUGE_VAL : parse_double(text);
    if (!parsed) fail(place, "{}: got '{}', expected a log-likelihood", what, text);
    number = *parsed;
  } else {
    fail(place, "{}: got {}, expected a log-likelihood", what, value.type_name());
  }
  if (std::isnan(number) || number == HUGE_VAL) {
    fail(place, "{}: got {}, expected a finite number or -inf", what, number);
  }
  return number;
}

bool read_bool(const Json& value, std::string_view place, std::string_view what) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    if (text == "True" || text == "true" || text == "1" || text == "1.0") return true;
    if (text == "False" || text == "false" || text == "0" || text == "0.0") return false;
  }
  if (value.is_number() && (value == 0 || value == 1)) return value == 1;
  fail(place, "{}: got {}, expected True or False", what, value.dump());
}

// [ll, greedy], wherever it lies in a list of repeats.
ChoiceAnswer read_response(const Json& response, std::string_view place, std::size_t number) {
  const std::string what = fmt::format("response {}", number);
  const Json* pair = &response;
  while (pair->is_array() && pair->size() == 1 && (*pair)[0].is_array()) pair = &(*pair)[0];
  if (!pair->is_array() || pair->size() != 2) {
    fail(
        place,
        "{}: got {}, expected [log-likelihood, greedy]; only tasks that score given answers can be "
        "imported, not generated texts",
        what, pair->is_array() ? fmt::format("{} values", pair->size()) : pair->type_name());
  }
  ChoiceAnswer choice;
  choice.ll = read_double((*pair)[0], place, what);
  choice.greedy = read_bool((*pair)[1], place, what);
  return choice;
}

SampleChoice read_argument(const Json& argument, std::string_view place, std::size_t number) {
  const Json *context = nullptr, *continuation = nullptr;
  if (argument.is_object()) {
    context = find(argument, "arg_0");
    continuation = find(argument, "arg_1");
  } else if (argument.is_array() && argument.size() >= 2) {
    context = &argument[0];
    continuation = &argument[1];
  }
  if (context == nullptr || continuation == nullptr || !context->is_string() ||
      !continuation->is_string()) {
    fail(place, "argument {}: expected a context and a continuation", number);
  }
  return {context->get<std::string>(), continuation->get<std::string>()};
}

std::vector<SampleChoice> read_arguments(const Json& sample, std::string_view place) {
  std::vector<SampleChoice> asked;
  const Json* arguments = find(sample, "arguments");
  if (arguments == nullptr) fail(place, "key 'arguments' is missing");
  if (arguments->is_object()) {
    for (std::size_t i = 0; i < arguments->size(); ++i) {
      const auto found = arguments->find(fmt::format("gen_args_{}", i));
      if (found == arguments->end()) {
        fail(place, "key 'arguments': got {} entries, expected 'gen_args_{}' among them",
             arguments->size(), i);
      }
      asked.push_back(read_argument(*found, place, i));
    }
  } else if (arguments->is_array()) {
    for (const Json& argument : *arguments) {
      asked.push_back(read_argument(argument, place, asked.size()));
    }
  } else {
    fail(place, "key 'arguments': got {}, expected an object or a list", arguments->type_name());
  }
  return asked;
}

bool lists_metric(const Json& sample, std::string_view name) {
  const Json* metrics = find(sample, "metrics");
  if (metrics != nullptr && metrics->is_array()) {
    return std::any_of(metrics->begin(), metrics->end(),
                       [&](const Json& m) { return m.is_string() && m == std::string(name); });
  }
  return sample.contains(std::string(name));
}

// The row as it stands in the data file.
Json raw_row(const Json& doc, std::string_view task) {
  if (task != "hellaswag" || !doc.contains("endings")) return doc;
  Json row = doc;
  for (const char* key : kHellaswagFields) row.erase(key);
  return row;
}

std::optional<TaskItem> known_item(const Json& row, std::string_view task, std::size_t choices,
                                   std::string_view place) {
  const Task* known = find_task(task);
  if (known == nullptr) return std::nullopt;
  try {
    TaskItem item = known->read_item(row, place);
    if (item.continuations.size() == choices) return item;
  } catch (const Error&) {  // a task of the same name over other data
    return std::nullopt;
  }
  fail(place, "got {} responses, but its doc has another number of choices", choices);
}

// The index that "target" names: a number, or one of the continuations.
int gold_of_target(const Json& sample, const std::vector<SampleChoice>& asked,
                   std::string_view place) {
  if (asked.size() == 1) return 0;
  const Json* target = find(sample, "target");
  if (target == nullptr) fail(place, "key 'target' is missing");
  const std::string text = target->is_string() ? target->get<std::string>() : target->dump();
  std::int64_t index = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error == std::errc() && at == text.data() + text.size()) {
    if (index >= 0 && index < static_cast<std::int64_t>(asked.size())) {
      return static_cast<int>(index);
    }
    fail(place, "key 'target': got {}, expected 0 to {}", index, asked.size() - 1);
  }
  std::optional<int> gold;
  for (std::size_t c = 0; c < asked.size(); ++c) {
    if (python_strip(asked[c].continuation) != python_strip(text)) continue;
    if (gold) fail(place, "key 'target': got '{}', which more than one choice has", text);
    gold = static_cast<int>(c);
  }
  if (!gold) {
    fail(place, "key 'target': got '{}', expected the index or the text of one choice", text);
  }
  return *gold;
}

void set_lengths(Answer& answer, const std::vector<std::string>& texts) {
  for (std::size_t c = 0; c < texts.size(); ++c) {
    answer.choices[c].chars = python_len(texts[c]);
    answer.choices[c].bytes = static_cast<std::int64_t>(texts[c].size());
  }
}

// What the file says under a metric's name; nothing when it does not.
std::optional<int> logged_metric(const Json& sample, const char* name, std::string_view place) {
  const Json* value = find(sample, name);
  if (value == nullptr) return std::nullopt;
  return read_bool(*value, place, name) ? 1 : 0;
}

// The lengths that normalize acc_norm are those of the choices without the delimiter before them, which is
// one space in plain mode and nothing in chat mode.
void find_lengths(Answer& answer, const std::vector<SampleChoice>& asked,
                  const std::optional<TaskItem>& known, const std::optional<int>& acc_norm) {
  if (known) return set_lengths(answer, known->continuations);
  std::vector<std::string> whole, cut;
  for (const SampleChoice& choice : asked) {
    whole.push_back(choice.continuation);
    if (choice.continuation.starts_with(' ')) cut.push_back(choice.continuation.substr(1));
  }
  const bool has_delimiter = cut.size() == whole.size();
  set_lengths(answer, has_delimiter ? cut : whole);
  const auto agrees = [&] { return !acc_norm || is_right(answer, "acc_norm") == (*acc_norm == 1); };
  if (has_delimiter && !agrees()) set_lengths(answer, whole);
}

std::int64_t doc_id(const Json& sample, std::string_view place) {
  const std::int64_t index = json_int(sample, "doc_id", place);
  if (index < 0) fail(place, "key 'doc_id': got {}, expected at least 0", index);
  return index;
}

std::vector<Json> split_samples(std::string_view text, std::string_view file,
                                std::vector<std::string>& places) {
  std::vector<Json> samples;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '[') {
    Json all = parse_json(text, file);
    for (Json& sample : all) {
      places.push_back(fmt::format("{}: element {}", file, samples.size()));
      samples.push_back(std::move(sample));
    }
    return samples;
  }
  for (const std::string_view line : split_rows(text)) {
    places.push_back(fmt::format("{}:{}", file, samples.size() + 1));
    samples.push_back(parse_json(line, places.back()));
  }
  return samples;
}

std::string python_float(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return dump_json(Json(value), -1, false, false);
}

bool is_time(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd-dd-dd";
  if (text.size() < kForm.size()) return false;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return false;
  }
  return text.substr(kForm.size()).find_first_not_of(".0123456789") == std::string_view::npos;
}

}  // namespace

ImportedSample parse_lm_eval_sample(const Json& sample, std::string_view task,
                                    std::string_view place) {
  if (!sample.is_object()) fail(place, "got {}, expected a sample object", sample.type_name());
  ImportedSample imported;
  Answer& answer = imported.answer;
  answer.task = task;
  answer.index = doc_id(sample, place);
  const Json* filter = find(sample, "filter");
  imported.filter = filter != nullptr && filter->is_string() ? filter->get<std::string>() : "none";

  const Json* responses = find(sample, "filtered_resps");
  if (responses == nullptr) responses = find(sample, "resps");
  if (responses == nullptr || !responses->is_array() || responses->empty()) {
    fail(place, "key 'filtered_resps' or 'resps': expected a list of responses");
  }
  imported.asked = read_arguments(sample, place);
  if (imported.asked.size() != responses->size()) {
    fail(place, "got {} responses to {} requests, expected one for each", responses->size(),
         imported.asked.size());
  }
  if (lists_metric(sample, "acc_mutual_info")) {
    if (imported.asked.size() % 2 != 0) {
      fail(place, "got {} requests, expected an even number with acc_mutual_info",
           imported.asked.size());
    }
    imported.asked.resize(imported.asked.size() / 2);
  }
  for (std::size_t c = 0; c < imported.asked.size(); ++c) {
    answer.choices.push_back(read_response((*responses)[c], place, c));
  }

  const Json* doc = find(sample, "doc");
  std::optional<TaskItem> known;
  const Json* hash = find(sample, "doc_hash");
  if (doc != nullptr && doc->is_object()) {
    const Json row = raw_row(*doc, task);
    known = known_item(row, task, answer.choices.size(), place);
    answer.doc_hash = document_hash(row);
    imported.changed = hash != nullptr && *hash != document_hash(*doc);
  } else if (hash != nullptr && hash->is_string()) {
    answer.doc_hash = hash->get<std::string>();
  } else {
    fail(place, "has neither 'doc' nor 'doc_hash', expected one that tells which question it was");
  }
  if (known) answer.cluster = known->cluster;
  answer.gold = known ? known->gold : gold_of_target(sample, imported.asked, place);

  const std::optional<int> acc = logged_metric(sample, "acc", place),
                           acc_norm = logged_metric(sample, "acc_norm", place);
  find_lengths(answer, imported.asked, known, acc_norm);
  answer.acc = is_right(answer, "acc") ? 1 : 0;
  if (acc_norm) answer.acc_norm = is_right(answer, "acc_norm") ? 1 : 0;
  if (acc && *acc != answer.acc) {
    fail(place, "key 'acc': got {}, but its responses and gold answer {} give {}", *acc,
         answer.gold, answer.acc);
  }
  if (acc_norm && *acc_norm != *answer.acc_norm) {
    fail(place, "key 'acc_norm': got {}, but its responses and gold answer {} give {}", *acc_norm,
         answer.gold, *answer.acc_norm);
  }
  return imported;
}

ImportedSamples parse_lm_eval_samples(std::string_view text, std::string_view task,
                                      std::string_view file) {
  std::vector<std::string> places;
  const std::vector<Json> samples = split_samples(text, file, places);
  if (samples.empty()) fail(file, "holds no samples, expected at least one");
  ImportedSamples imported;
  std::map<std::int64_t, std::string> filters;  // by index: the filter that is taken
  for (std::size_t i = 0; i < samples.size(); ++i) {
    ImportedSample sample = parse_lm_eval_sample(samples[i], task, places[i]);
    const auto [at, is_new] = filters.emplace(sample.answer.index, sample.filter);
    if (!is_new) {
      if (at->second == sample.filter) {
        fail(places[i], "doc_id {} occurs twice, expected once", sample.answer.index);
      }
      ++imported.of_other_filters;
      continue;
    }
    imported.changed += sample.changed ? 1 : 0;
    imported.items.push_back(std::move(sample));
  }
  std::sort(imported.items.begin(), imported.items.end(),
            [](const ImportedSample& a, const ImportedSample& b) {
              return a.answer.index < b.answer.index;
            });
  return imported;
}

std::string time_of_lm_eval_file(std::string_view name) {
  name = name.substr(0, name.rfind(".json"));
  const std::size_t at = name.rfind('_');
  if (at == std::string_view::npos || !is_time(name.substr(at + 1))) return "";
  return std::string(name.substr(at + 1));
}

std::string task_of_sample_file(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return "";
  const std::string time = time_of_lm_eval_file(name);
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  if (!time.empty()) name.remove_suffix(std::min(name.size(), time.size() + 1));
  return std::string(name);
}

std::string lm_eval_sample_line(const Answer& answer, const Json& row, const std::string& target,
                                const std::vector<SampleChoice>& asked) {
  QX_CHECK(asked.size() == answer.choices.size());
  Json json;
  json["doc_id"] = answer.index;
  json["doc"] = row;
  json["target"] = target;
  json["arguments"] = Json::object();
  json["resps"] = Json::array();
  json["filtered_resps"] = Json::array();
  for (std::size_t c = 0; c < asked.size(); ++c) {
    Json& argument = json["arguments"][fmt::format("gen_args_{}", c)];
    argument["arg_0"] = asked[c].context;
    argument["arg_1"] = asked[c].continuation;
    const Json pair = Json::array(
        {python_float(answer.choices[c].ll), answer.choices[c].greedy ? "True" : "False"});
    json["resps"].push_back(Json::array({pair}));
    json["filtered_resps"].push_back(pair);
  }
  json["filter"] = "none";
  json["metrics"] = answer.acc_norm ? Json::array({"acc", "acc_norm"}) : Json::array({"acc"});
  json["doc_hash"] = document_hash(row);
  json["prompt_hash"] = sha256_hex(asked.front().context);
  json["target_hash"] = sha256_hex(target);
  json["acc"] = static_cast<double>(answer.acc);
  if (answer.acc_norm) json["acc_norm"] = static_cast<double>(*answer.acc_norm);
  return dump_json(json, -1, false, false);
}

}  // namespace qx
