// SPDX-License-Identifier: Apache-2.0
#include "card/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/parse_double.h"

namespace qx {
namespace {

constexpr std::size_t kMaxKeyBytes = 256;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// A whole number or a decimal one, as YAML 1.2's core schema writes them; nothing for other text.
Json number_of(std::string_view text) {
  std::string_view digits = text;
  if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
  if (digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return nullptr;
  std::int64_t whole = 0;
  const char* end = digits.data() + digits.size();
  if (const auto [rest, error] = std::from_chars(digits.data(), end, whole);
      error == std::errc() && rest == end) {
    return whole;
  }
  const std::optional<double> number = parse_double(text);
  return number ? Json(*number) : Json();
}

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return nullptr;
  }
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  Json number = number_of(text);
  return number.is_null() ? Json(text) : number;
}

std::string pointer_part(std::string_view key) {
  std::string out;
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

// Builds the document from yaml-cpp's events, so that limits hold before anything is kept.
class Builder : public YAML::EventHandler {
 public:
  Builder(const std::string& file, std::size_t first_line) : file_(file), first_line_(first_line) {}

  YamlDocument take() { return std::move(document_); }
  std::string place(const YAML::Mark& mark) const {
    return fmt::format("{}:{}", file_, line_of(mark));
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(place(mark), "got a second YAML document, expected one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(mark, anchor, nullptr, "", true);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(place(mark), "got a YAML alias, expected the value itself");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // yaml-cpp reads the escapes \_ and \N as one byte, not as the character's UTF-8.
    if (!is_valid_utf8(value)) {
      fail(place(mark), "got an escape that yaml-cpp reads as no UTF-8, expected the character");
    }
    // yaml-cpp gives plain scalars the tag "?" and quoted ones "!".
    add(mark, anchor, tag == "?" || tag.empty() ? plain_scalar(value) : Json(value), value, true);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    add(mark, anchor, Json::array(), "", false);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    add(mark, anchor, Json::object(), "", false);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    Json* value = nullptr;
    std::string pointer;
    std::optional<std::string> key;  // of the value that comes next, in a map
  };

  std::size_t line_of(const YAML::Mark& mark) const {
    return first_line_ + static_cast<std::size_t>(std::max(mark.line, 0));
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, Json value, const std::string& scalar,
           bool is_scalar) {
    if (anchor != 0) fail(place(mark), "got a YAML anchor, expected none");
    if (++values_ > kMaxYamlValues) {
      fail(place(mark), "got more than {} values, expected fewer", kMaxYamlValues);
    }
    Level* parent = levels_.empty() ? nullptr : &levels_.back();
    if (parent != nullptr && parent->value->is_object() && !parent->key) {
      take_key(mark, *parent, value, scalar, is_scalar);
      return;
    }
    Json* slot = &document_.value;
    std::string pointer;
    if (parent != nullptr && parent->value->is_array()) {
      pointer = fmt::format("{}/{}", parent->pointer, parent->value->size());
      parent->value->push_back(std::move(value));
      slot = &parent->value->back();
    } else if (parent != nullptr) {
      pointer = parent->pointer + "/" + pointer_part(*parent->key);
      slot = &(*parent->value)[*parent->key];
      *slot = std::move(value);
      parent->key.reset();
    } else {
      *slot = std::move(value);
    }
    document_.lines[pointer] = line_of(mark);
    if (is_scalar) return;
    if (levels_.size() >= kMaxYamlDepth) {
      fail(place(mark), "got values nested deeper than {}, expected fewer levels", kMaxYamlDepth);
    }
    levels_.push_back({slot, pointer, std::nullopt});
  }

  void take_key(const YAML::Mark& mark, Level& map, const Json& value, const std::string& scalar,
                bool is_scalar) {
    if (!is_scalar) fail(place(mark), "got a list or map as a key, expected text");
    std::string key = value.is_string() ? value.get<std::string>() : scalar;
    // Longer ones are no YAML keys without a mark of their own.
    if (key.size() > kMaxKeyBytes) {
      fail(place(mark), "got a key of {} bytes, expected at most {}", key.size(), kMaxKeyBytes);
    }
    if (map.value->contains(key)) fail(place(mark), "got key '{}' twice, expected it once", key);
    map.key = std::move(key);
  }

  void close() { levels_.pop_back(); }

  const std::string& file_;
  std::size_t first_line_, documents_ = 0, values_ = 0;
  YamlDocument document_;
  std::vector<Level> levels_;  // innermost last; pointers stay valid: only the innermost grows
};

// What PyYAML (YAML 1.1) reads as a boolean or null.
bool is_word_of_yaml(std::string_view text) {
  constexpr std::string_view kWords[] = {"y",   "n",    "yes",   "no",   "on",
                                         "off", "true", "false", "null", "~"};
  return std::find(std::begin(kWords), std::end(kWords), lower(text)) != std::end(kWords);
}

// Letters first, then what no YAML reader gives a meaning to.
bool is_plain(std::string_view text) {
  if (text.empty() || is_word_of_yaml(text)) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!letter(text.front()) || text.back() == ' ') return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '/' ||
           c == ' ';
  });
}

void emit(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key;
      if (!is_plain(key)) out << YAML::DoubleQuoted;
      out << key << YAML::Value;
      emit(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << YAML::BeginSeq;
    for (const Json& member : value) emit(out, member);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!is_plain(text)) out << YAML::DoubleQuoted;
    out << text;
  } else if (value.is_boolean()) {
    out << value.get<bool>();
  } else if (value.is_number_integer()) {
    out << value.get<std::int64_t>();
  } else if (value.is_number_float()) {
    out << fmt::format("{}", value.get<double>());  // shortest that reads back
  } else {
    out << YAML::Null;
  }
}

}  // namespace

YamlDocument parse_yaml(std::string_view text, const std::string& file, std::size_t first_line) {
  const std::string place = fmt::format("{}:{}", file, first_line);
  if (text.size() > kMaxYamlBytes) {
    fail(place, "got {} bytes of YAML, expected at most {}", text.size(), kMaxYamlBytes);
  }
  if (!is_valid_utf8(text)) fail(place, "got bytes that are not UTF-8, expected YAML");
  // yaml-cpp ends a document at a NUL without a word.
  if (text.find('\0') != std::string_view::npos) {
    fail(place, "got a NUL character, expected YAML");
  }
  std::istringstream stream{std::string(text)};
  Builder builder(file, first_line);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    const std::size_t line = first_line + static_cast<std::size_t>(std::max(e.mark.line, 0));
    fail(fmt::format("{}:{}", file, line), "got text that is not YAML: {}", e.msg);
  }
  return builder.take();
}

std::string yaml_text(const Json& value) {
  YAML::Emitter out;
  emit(out, value);
  QX_CHECK(out.good());
  return std::string(out.c_str(), out.size()) + "\n";
}

}  // namespace qx
