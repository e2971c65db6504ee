// Reading and appending answer logs.
// SPDX-License-Identifier: Apache-2.0
#include "runs/answer_log.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/json.h"

namespace qx {
namespace {

template <typename Value>
std::size_t picked_by(const std::vector<ChoiceAnswer>& choices, Value value) {
  std::vector<double> values;
  for (const ChoiceAnswer& choice : choices) values.push_back(value(choice));
  return first_argmax(values);
}

Json choice_json(const ChoiceAnswer& choice) {
  Json json;
  json["ll"] = std::isfinite(choice.ll) ? Json(choice.ll) : Json();
  json["tokens"] = choice.tokens;
  json["chars"] = choice.chars;
  json["bytes"] = choice.bytes;
  json["greedy"] = choice.greedy;
  return json;
}

int read_flag(const Json& json, std::string_view key, std::string_view place) {
  const std::int64_t value = json_int(json, key, place);
  if (value != 0 && value != 1) fail(place, "key '{}': got {}, expected 0 or 1", key, value);
  return static_cast<int>(value);
}

std::string read_cluster(const Json& json, std::string_view place) {
  std::string cluster = json_string(json, "cluster", place);
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (cluster.size() != 16 || !std::all_of(cluster.begin(), cluster.end(), is_hex)) {
    fail(place, "key 'cluster': got '{}', expected 16 hexadecimal digits", cluster.substr(0, 40));
  }
  return cluster;
}

}  // namespace

std::size_t first_argmax(const std::vector<double>& values) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) return i;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

std::size_t picked_by_ll(const std::vector<ChoiceAnswer>& choices) {
  return picked_by(choices, [](const ChoiceAnswer& c) { return c.ll; });
}

std::size_t picked_by_ll_per_char(const std::vector<ChoiceAnswer>& choices) {
  return picked_by(choices,
                   [](const ChoiceAnswer& c) { return c.ll / static_cast<double>(c.chars); });
}

std::size_t picked_by_ll_per_byte(const std::vector<ChoiceAnswer>& choices) {
  return picked_by(choices,
                   [](const ChoiceAnswer& c) { return c.ll / static_cast<double>(c.bytes); });
}

std::size_t picked_by_ll_per_token(const std::vector<ChoiceAnswer>& choices) {
  return picked_by(choices,
                   [](const ChoiceAnswer& c) { return c.ll / static_cast<double>(c.tokens); });
}

std::size_t picked_choice(const std::vector<ChoiceAnswer>& choices, std::string_view metric) {
  if (choices.size() == 1) return choices.front().greedy ? 0 : 1;
  if (metric == "acc") return picked_by_ll(choices);
  if (metric == "acc_norm") return picked_by_ll_per_char(choices);
  if (metric == "acc_bytes") return picked_by_ll_per_byte(choices);
  QX_CHECK(metric == "acc_token");
  return picked_by_ll_per_token(choices);
}

bool is_right(const Answer& answer, std::string_view metric) {
  return picked_choice(answer.choices, metric) == static_cast<std::size_t>(answer.gold);
}

std::string answer_line(const Answer& answer) {
  Json json;
  json["task"] = answer.task;
  json["index"] = answer.index;
  json["doc_hash"] = answer.doc_hash;
  json["gold"] = answer.gold;
  json["choices"] = Json::array();
  for (const ChoiceAnswer& choice : answer.choices) json["choices"].push_back(choice_json(choice));
  json["acc"] = answer.acc;
  if (answer.acc_norm) json["acc_norm"] = *answer.acc_norm;
  if (!answer.cluster.empty()) json["cluster"] = answer.cluster;
  return json.dump();
}

Answer parse_answer(std::string_view line, std::string_view place) {
  const Json json = parse_json(line, place);
  if (!json.is_object()) fail(place, "got {}, expected an answer object", json.type_name());
  Answer answer;
  answer.task = json_string(json, "task", place);
  answer.index = json_int(json, "index", place);
  if (answer.index < 0) fail(place, "key 'index': got {}, expected at least 0", answer.index);
  answer.doc_hash = json_string(json, "doc_hash", place);
  const auto choices = json.find("choices");
  if (choices == json.end() || !choices->is_array() || choices->empty()) {
    fail(place, "key 'choices': expected an array of at least one choice");
  }
  for (const Json& choice : *choices) {
    if (!choice.is_object())
      fail(place, "key 'choices': got {}, expected objects", choice.type_name());
    ChoiceAnswer c;
    c.ll = json_number_or(choice, "ll", -std::numeric_limits<double>::infinity(), place);
    c.tokens = json_int(choice, "tokens", place);
    c.chars = json_int(choice, "chars", place);
    c.bytes = json_int(choice, "bytes", place);
    c.greedy = json_bool(choice, "greedy", place);
    answer.choices.push_back(c);
  }
  const std::int64_t gold = json_int(json, "gold", place);
  if (gold < 0 || gold >= static_cast<std::int64_t>(answer.choices.size())) {
    fail(place, "key 'gold': got {}, expected 0 to {}", gold, answer.choices.size() - 1);
  }
  answer.gold = static_cast<int>(gold);
  answer.acc = read_flag(json, "acc", place);
  if (json.contains("acc_norm")) answer.acc_norm = read_flag(json, "acc_norm", place);
  if (json.contains("cluster")) answer.cluster = read_cluster(json, place);
  return answer;
}

ParsedLog parse_answers(std::string_view text, const std::string& file) {
  ParsedLog log;
  for (std::int64_t line = 1; log.whole_bytes < text.size(); ++line) {
    const std::size_t end = text.find('\n', log.whole_bytes);
    if (end == std::string_view::npos) break;  // torn: no line feed yet
    const std::string_view content = text.substr(log.whole_bytes, end - log.whole_bytes);
    if (content.find('\0') != std::string_view::npos) {
      ++log.lost_lines;
    } else {
      try {
        log.answers.push_back(parse_answer(content, fmt::format("{}:{}", file, line)));
      } catch (const Error&) {
        if (end + 1 != text.size()) throw;
        break;  // the last line: its bytes did not all reach the disk
      }
    }
    log.whole_bytes = end + 1;
  }
  return log;
}

std::vector<Answer> read_answers(const std::filesystem::path& file) {
  const MappedFile map(file);
  return parse_answers(map.text(), file.string()).answers;
}

}  // namespace qx
