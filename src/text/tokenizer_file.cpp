// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include <charconv>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace qx {
namespace {

constexpr std::size_t kMaxFileNesting = 100;
constexpr std::size_t kMaxKeys = 4096;

// Builds the document from the parser's events and diverts vocabulary and merges into flat lists.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(TokenizerFile& file, std::string_view origin) : file_(file), origin_(origin) {}

  bool null() override { return scalar(nullptr, "null"); }
  bool boolean(bool v) override { return scalar(v, "a boolean"); }
  bool number_float(double v, const std::string&) override { return scalar(v, "a fraction"); }
  bool binary(Json::binary_t&) override { return false; }
  bool number_integer(std::int64_t v) override {
    if (state_ == State::kVocab)
      fail(origin_, "model.vocab['{}']: got {}, expected an id", key_, v);
    return scalar(v, "a number");
  }
  bool number_unsigned(std::uint64_t v) override {
    if (state_ == State::kVocab) {
      if (v > INT32_MAX) fail(origin_, "model.vocab['{}']: got {}, expected an id", key_, v);
      file_.vocab.emplace_back(own(std::move(key_)), static_cast<std::int64_t>(v));
      return true;
    }
    return scalar(v, "a number");
  }
  bool string(std::string& v) override {
    if (state_ == State::kMerges) return merge_line(v);
    if (state_ == State::kMergePair) {
      pair_.push_back(std::move(v));
      if (pair_.size() > 2) bad_merge("more than two strings");
      return true;
    }
    return scalar(std::move(v), "a string");
  }
  bool key(std::string& v) override {
    key_ = std::move(v);
    return true;
  }

  bool start_object(std::size_t) override {
    if (state_ == State::kDocument && at_model_member("vocab")) {
      if (seen_vocab_) fail(origin_, "model: got 'vocab' twice, expected one");
      seen_vocab_ = true;
      state_ = State::kVocab;
      return true;
    }
    return open(Json::object(), "an object");
  }
  bool end_object() override {
    if (state_ == State::kVocab) {
      state_ = State::kDocument;
      return true;
    }
    return close();
  }
  bool start_array(std::size_t) override {
    if (state_ == State::kMerges) {
      state_ = State::kMergePair;
      pair_.clear();
      return true;
    }
    if (state_ == State::kDocument && at_model_member("merges")) {
      if (seen_merges_) fail(origin_, "model: got 'merges' twice, expected one");
      seen_merges_ = true;
      state_ = State::kMerges;
      return true;
    }
    return open(Json::array(), "an array");
  }
  bool end_array() override {
    if (state_ == State::kMergePair) {
      if (pair_.size() != 2) bad_merge("fewer than two strings");
      file_.merges.emplace_back(own(std::move(pair_[0])), own(std::move(pair_[1])));
      state_ = State::kMerges;
      return true;
    }
    if (state_ == State::kMerges) {
      state_ = State::kDocument;
      return true;
    }
    return close();
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& e) override {
    fail(origin_, "got invalid JSON at byte {}: {}", position, e.what());
  }

 private:
  std::string_view own(std::string text) { return file_.owned.emplace_back(std::move(text)); }

  enum class State { kDocument, kVocab, kMerges, kMergePair };

  // True when the value that starts now is root.model.<member>.
  bool at_model_member(std::string_view member) const {
    return open_.size() == 2 && in_model_ && open_.back()->is_object() && key_ == member;
  }

  [[noreturn]] void bad_merge(std::string_view got) const {
    fail(origin_, "model.merges[{}]: got {}, expected \"a b\" or [\"a\", \"b\"]",
         file_.merges.size(), got);
  }

  bool merge_line(const std::string& line) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      bad_merge("'" + line + "'");
    }
    file_.merges.emplace_back(own(line.substr(0, space)), own(line.substr(space + 1)));
    return true;
  }

  // Puts a value into the container that is open, or makes it the document.
  Json& place(Json value) {
    if (open_.empty()) {
      file_.root = std::move(value);
      return file_.root;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return parent.back();
    }
    if (parent.size() >= kMaxKeys) fail(origin_, "got an object with over {} keys", kMaxKeys);
    if (parent.contains(key_)) fail(origin_, "got the key '{}' twice, expected it once", key_);
    return parent[key_] = std::move(value);
  }

  void require_document(std::string_view got) const {
    if (state_ == State::kDocument) return;
    if (state_ == State::kVocab)
      fail(origin_, "model.vocab['{}']: got {}, expected an id", key_, got);
    bad_merge(got);
  }

  bool scalar(Json value, std::string_view got) {
    require_document(got);
    place(std::move(value));
    return true;
  }

  bool open(Json container, std::string_view got) {
    require_document(got);
    if (open_.size() >= kMaxFileNesting)
      fail(origin_, "got nesting deeper than {}", kMaxFileNesting);
    if (open_.size() == 1) in_model_ = key_ == "model";
    // Stays valid while open: its parent grows no further until it is closed.
    open_.push_back(&place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  TokenizerFile& file_;
  std::string_view origin_;
  State state_ = State::kDocument;
  std::vector<Json*> open_;
  std::string key_;
  std::vector<std::string> pair_;
  bool in_model_ = false, seen_vocab_ = false, seen_merges_ = false;
};

// Reads vocabulary and merges straight from the text and leaves the rest to the parser above. It
// takes what it is sure about: at anything else, broken or only unusual, every function gives up
// with false, and the whole text goes through the parser above, whose word on it counts.
class Scanner {
 public:
  Scanner(std::string_view text, TokenizerFile& file) : text_(text), file_(file) {}

  bool scan(std::string_view origin) {
    if (!is_valid_utf8(text_)) return false;
    if (!members([&](std::string_view key) { return key == "model" ? model() : skip(); })) {
      return false;
    }
    space();
    if (at_ != text_.size() || !found_vocab_ || !found_merges_) return false;
    rest_.append(text_, copied_);
    Builder builder(file_, origin);
    if (!Json::sax_parse(rest_.begin(), rest_.end(), &builder)) return false;
    if (!file_.root.is_object()) return false;
    Json& model = file_.root["model"];
    if (!model.is_object()) return false;
    model.erase("vocab");
    model.erase("merges");
    return true;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
  }

  // An object from its brace to its brace; `value` reads what follows a key and its colon.
  template <typename Value>
  bool members(Value value) {
    space();
    if (!take('{')) return false;
    space();
    if (take('}')) return true;
    for (;;) {
      std::string_view key;
      space();
      if (!string(key)) return false;
      space();
      if (!take(':')) return false;
      space();
      if (!value(key)) return false;
      space();
      if (take('}')) return true;
      if (!take(',')) return false;
    }
  }

  // An array likewise; `value` reads one element.
  template <typename Value>
  bool elements(Value value) {
    if (!take('[')) return false;
    space();
    if (take(']')) return true;
    for (;;) {
      space();
      if (!value()) return false;
      space();
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }

  bool model() {
    if (seen_model_) return false;
    seen_model_ = true;
    return members([&](std::string_view key) {
      const std::size_t begin = at_;
      if (key == "vocab") return !std::exchange(found_vocab_, true) && vocab() && leave_out(begin);
      if (key == "merges") {
        return !std::exchange(found_merges_, true) && merges() && leave_out(begin);
      }
      return skip();
    });
  }

  // The value that began there is null to the other parser.
  bool leave_out(std::size_t begin) {
    rest_.append(text_, copied_, begin - copied_);
    rest_ += "null";
    copied_ = at_;
    return true;
  }

  // Over a value, whose inside the other parser checks.
  bool skip() {
    int depth = 0;
    do {
      space();
      const char c = peek();
      std::string_view ignored;
      if (c == '"') {
        if (!string(ignored)) return false;
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (--depth < 0) return false;
        ++at_;
      } else if (c == '\0') {
        return false;
      } else if (depth > 0 && (c == ',' || c == ':')) {
        ++at_;
      } else {
        const std::size_t begin = at_;
        while (std::string_view(",:]}[{\" \n\r\t").find(peek()) == std::string_view::npos &&
               peek() != '\0') {
          ++at_;
        }
        if (at_ == begin) return false;
      }
    } while (depth > 0);
    return true;
  }

  bool vocab() {
    file_.vocab.reserve(text_.size() / 32);
    return members([&](std::string_view key) {
      std::int64_t id = 0;
      const std::size_t begin = at_;
      while (peek() >= '0' && peek() <= '9' && at_ - begin < 10)
        id = id * 10 + (text_[at_++] - '0');
      if (at_ == begin || id > INT32_MAX || (text_[begin] == '0' && at_ - begin > 1)) return false;
      file_.vocab.emplace_back(key, id);
      return true;
    });
  }

  bool merges() {
    file_.merges.reserve(text_.size() / 32);
    return elements([&] {
      std::string_view parts[2];
      if (peek() == '[') {
        std::size_t count = 0;
        const bool ok = elements([&] { return count < 2 && string(parts[count++]); });
        if (!ok || count != 2) return false;
      } else {
        std::string_view line;
        if (!string(line)) return false;
        const std::size_t gap = line.find(' ');
        if (gap == std::string_view::npos || line.find(' ', gap + 1) != std::string_view::npos) {
          return false;
        }
        parts[0] = line.substr(0, gap);
        parts[1] = line.substr(gap + 1);
      }
      file_.merges.emplace_back(parts[0], parts[1]);
      return true;
    });
  }

  bool string(std::string_view& out) {
    if (!take('"')) return false;
    const std::size_t begin = at_;
    while (static_cast<unsigned char>(peek()) >= 0x20 && peek() != '"' && peek() != '\\') ++at_;
    out = text_.substr(begin, at_ - begin);
    if (take('"')) return true;
    if (peek() != '\\') return false;
    std::string text(out);
    while (peek() != '"') {
      if (static_cast<unsigned char>(peek()) < 0x20) return false;
      if (peek() != '\\') {
        text += text_[at_++];
      } else if (!escape(text)) {
        return false;
      }
    }
    ++at_;
    out = file_.owned.emplace_back(std::move(text));
    return true;
  }

  bool escape(std::string& text) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kCharacters = "\"\\/\b\f\n\r\t";
    ++at_;
    const char name = peek();
    if (const std::size_t i = kNames.find(name); name != '\0' && i != std::string_view::npos) {
      ++at_;
      text += kCharacters[i];
      return true;
    }
    if (!take('u') || text_.size() - at_ < 4) return false;
    std::uint32_t code = 0;
    const char* digits = text_.data() + at_;
    const auto [end, error] = std::from_chars(digits, digits + 4, code, 16);
    // Halves of a pair are left to the other parser.
    if (error != std::errc() || end != digits + 4 || (code >= 0xD800 && code < 0xE000))
      return false;
    at_ += 4;
    append_utf8(text, static_cast<char32_t>(code));
    return true;
  }

  std::string_view text_;
  TokenizerFile& file_;
  std::size_t at_ = 0, copied_ = 0;
  std::string rest_;  // the text without vocabulary and merges
  bool seen_model_ = false, found_vocab_ = false, found_merges_ = false;
};

}  // namespace

TokenizerFile parse_tokenizer_file_slowly(std::string_view text, std::string_view origin) {
  TokenizerFile file;
  Builder builder(file, origin);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) fail(origin, "got invalid JSON");
  if (!file.root.is_object()) fail(origin, "got {}, expected an object", file.root.type_name());
  return file;
}

TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view origin) {
  try {
    TokenizerFile file;
    if (Scanner(text, file).scan(origin)) return file;
  } catch (const Error&) {  // said again, with the right position
  }
  return parse_tokenizer_file_slowly(text, origin);
}

}  // namespace qx
