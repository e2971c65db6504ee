// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_normalizer.h"

#include "base/error.h"

namespace qx {
namespace {

constexpr int kMaxNesting = 8;
constexpr std::size_t kMaxNormalizerSteps = 16;

}  // namespace

std::string pattern_text(const Json& component, const std::string& place) {
  const Json& pattern = json_member(component, "pattern");
  if (!json_member(pattern, "Regex").is_null()) {
    fail(place, "pattern: got a Regex, which is not supported here; expected a String");
  }
  std::string text = json_string(pattern, "String", place);
  if (text.empty()) fail(place, "pattern: got an empty String");
  return text;
}

std::string replace_text(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
    if (out.size() > kMaxNormalizedBytes) fail("text", "got over {} bytes", kMaxNormalizedBytes);
  }
  return std::move(out.append(text.substr(done)));
}

Normalizer::Normalizer(const Json& config, std::string_view origin) {
  parse(config, fmt::format("{}: normalizer", origin), 0);
}

void Normalizer::parse(const Json& config, const std::string& place, int depth) {
  if (!config.is_object()) fail(place, "got {}, expected an object", config.type_name());
  const std::string type = json_string(config, "type", place);
  const auto add = [&](Step step) {
    if (steps_.size() >= kMaxNormalizerSteps) fail(place, "got over {} steps", kMaxNormalizerSteps);
    steps_.push_back(std::move(step));
  };
  if (type == "NFC") return add({Step::Kind::kForm, NormalForm::kNfc, {}, {}});
  if (type == "NFD") return add({Step::Kind::kForm, NormalForm::kNfd, {}, {}});
  if (type == "NFKC") return add({Step::Kind::kForm, NormalForm::kNfkc, {}, {}});
  if (type == "NFKD") return add({Step::Kind::kForm, NormalForm::kNfkd, {}, {}});
  if (type == "Prepend") {
    return add({Step::Kind::kPrepend, {}, {}, json_string(config, "prepend", place)});
  }
  if (type == "Replace") {
    return add({Step::Kind::kReplace,
                {},
                pattern_text(config, place),
                json_string(config, "content", place)});
  }
  if (type != "Sequence") {
    fail(place,
         "got '{}', which is not supported; expected NFC, NFD, NFKC, NFKD, Prepend, Replace or "
         "Sequence",
         type);
  }
  if (depth >= kMaxNesting) {
    fail(place, "got a Sequence too deep, expected at most {}", kMaxNesting);
  }
  const Json& list = json_member(config, "normalizers");
  if (!list.is_array()) fail(place, "key 'normalizers': expected an array");
  for (const Json& item : list) parse(item, place, depth + 1);
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kForm:
        out = normalize_utf8(out, step.form);
        break;
      case Step::Kind::kReplace:
        out = replace_text(out, step.from, step.to);
        break;
      case Step::Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.to);
        break;
    }
  }
  return out;
}

}  // namespace qx
