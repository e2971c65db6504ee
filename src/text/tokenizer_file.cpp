// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kMaxDepth = 100;
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
      file_.vocab.emplace_back(std::move(key_), static_cast<std::int64_t>(v));
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
      file_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
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
    file_.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
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
    if (open_.size() >= kMaxDepth) fail(origin_, "got nesting deeper than {}", kMaxDepth);
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

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view origin) {
  TokenizerFile file;
  Builder builder(file, origin);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) fail(origin, "got invalid JSON");
  if (!file.root.is_object()) fail(origin, "got {}, expected an object", file.root.type_name());
  return file;
}

}  // namespace qx
