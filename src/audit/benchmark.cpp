// SPDX-License-Identifier: Apache-2.0
#include "audit/benchmark.h"

#include <algorithm>
#include <array>
#include <span>

namespace qx {
namespace {

constexpr double kBoolqYes = 2033.0 / 3270;

// clang-format off
constexpr Benchmark kBenchmarks[] = {
    {"arc_challenge",    1172, 0.25},
    {"arc_easy",         2376, 0.25},
    {"boolq",            3270, 0.50, kBoolqYes, true, true},
    {"hellaswag",       10042, 0.25},
    {"openbookqa",        500, 0.25},
    {"piqa",             1838, 0.50},
    {"winogrande",       1267, 0.50},
    {"mmlu",            14042, 0.25},
    {"gsm8k",            1319, 0.00},
    {"truthfulqa_mc1",    817, 0.00},
    {"truthfulqa_mc2",    817, 0.00, 0, false},
    {"sciq",             1000, 0.25},
    {"social_iqa",       1954, 1.0 / 3},
    {"commonsense_qa",   1221, 0.20},
    {"lambada_openai",   5153, 0.00},
    {"copa",              100, 0.50},
    {"rte",               277, 0.50},
    {"logiqa",            651, 0.25},
};

struct Alias {
  std::string_view key;   // letters and digits
  std::string_view name;
  bool in_prose = true;   // distinctive enough in running text
};
constexpr Alias kAliases[] = {
    {"arcchallenge", "arc_challenge"},     {"arcc", "arc_challenge"},
    {"arcch", "arc_challenge"},            {"arc", "arc_challenge"},
    {"arceasy", "arc_easy"},
    {"arce", "arc_easy"},                  {"boolq", "boolq"},
    {"booleanquestions", "boolq"},         {"bq", "boolq", false},
    {"hellaswag", "hellaswag"},            {"hswag", "hellaswag"},
    {"hella", "hellaswag", false},         {"hs", "hellaswag", false},
    {"openbookqa", "openbookqa"},          {"obqa", "openbookqa"},
    {"obkqa", "openbookqa"},               {"openbook", "openbookqa"},
    {"piqa", "piqa"},                      {"physicaliqa", "piqa"},
    {"winogrande", "winogrande"},          {"wino", "winogrande"},
    {"winograndexl", "winogrande"},        {"wg", "winogrande", false},
    {"mmlu", "mmlu"},                      {"gsm8k", "gsm8k"},
    {"truthfulqamc1", "truthfulqa_mc1"},   {"truthfulqamc2", "truthfulqa_mc2"},
    {"truthfulqa", "truthfulqa_mc2"},      {"tqa", "truthfulqa_mc2", false},
    {"sciq", "sciq"},                      {"socialiqa", "social_iqa"},
    {"siqa", "social_iqa"},                {"commonsenseqa", "commonsense_qa"},
    {"csqa", "commonsense_qa"},            {"lambada", "lambada_openai"},
    {"lambadaopenai", "lambada_openai"},   {"copa", "copa"},
    {"rte", "rte"},                        {"logiqa", "logiqa"},
};
// clang-format on

const Benchmark* by_key(std::string_view key, bool in_prose) {
  const auto alias = std::find_if(std::begin(kAliases), std::end(kAliases), [&](const Alias& a) {
    return a.key == key && (a.in_prose || !in_prose);
  });
  if (alias == std::end(kAliases)) return nullptr;
  return std::find_if(std::begin(kBenchmarks), std::end(kBenchmarks),
                      [&](const Benchmark& b) { return b.name == alias->name; });
}

// "(25-shot)" and "[acc_norm]" say how, not what.
std::string without_brackets(std::string_view text) {
  std::string out;
  int depth = 0;
  for (const char c : text) {
    if (c == '(' || c == '[') ++depth;
    if (depth == 0) out += c;
    if ((c == ')' || c == ']') && depth > 0) --depth;
  }
  return out;
}

bool remove_suffix(std::string& key, std::string_view suffix) {
  if (key.size() <= suffix.size() || !key.ends_with(suffix)) return false;
  key.resize(key.size() - suffix.size());
  return true;
}

}  // namespace

std::string letters_and_digits(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c >= 'A' && c <= 'Z') out += static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
  }
  return out;
}

const Benchmark* find_benchmark(std::string_view label) {
  std::string key = letters_and_digits(without_brackets(label));
  constexpr std::string_view kHow[] = {"accnorm",  "accuracy", "acc",       "0shot",
                                       "5shot",    "10shot",   "25shot",    "norm",
                                       "zeroshot", "test",     "validation"};
  for (;;) {
    if (const Benchmark* found = by_key(key, false)) return found;
    const bool shorter = std::any_of(std::begin(kHow), std::end(kHow),
                                     [&](std::string_view how) { return remove_suffix(key, how); });
    if (!shorter) return nullptr;
  }
}

const Benchmark* find_mentioned_benchmark(std::string_view joined_words) {
  return by_key(joined_words, true);
}

}  // namespace qx
