// SPDX-License-Identifier: Apache-2.0
#include "io/json_lines.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"

namespace qx {
namespace {

// Walks a text and leaves in *position how far the parser has read.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*position_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* position_;
};

class LineRecorder : public nlohmann::json_sax<Json> {
 public:
  LineRecorder(std::string_view text, std::string_view origin, const std::size_t& position,
               std::map<std::string, std::int64_t, std::less<>>& lines)
      : text_(text), origin_(origin), position_(position), lines_(lines) {}

  bool null() override { return value(0); }
  bool boolean(bool) override { return value(0); }
  // The end of a number is known by the character after it, which has been read already.
  bool number_integer(std::int64_t) override { return value(1); }
  bool number_unsigned(std::uint64_t) override { return value(1); }
  bool number_float(double, const std::string&) override { return value(1); }
  bool string(std::string&) override { return value(0); }
  bool binary(Json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Frame& frame = stack_.back();
    if (!frame.keys.insert(name).second) {
      fail(place(0), "key '{}' appears twice in one object, expected each key once", name);
    }
    frame.member = frame.path.empty() ? name : frame.path + "." + name;
    lines_[frame.member] = line(0);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception..] parse error at line 3, column 5: syntax error while parsing ..": the line is
    // that of the place, the rest is kept.
    std::string reason = error.what();
    const std::size_t colon = reason.find(": ");
    if (colon != std::string::npos) reason.erase(0, colon + 2);
    fail(place(0), "not valid JSON: {}", reason.substr(0, 300));
  }

 private:
  struct Frame {
    bool is_array = false;
    std::string path, member;
    std::int64_t index = 0;
    std::set<std::string> keys;
  };

  std::int64_t newlines(std::size_t begin, std::size_t end) const {
    const auto from = text_.begin();
    return std::count(from + static_cast<std::ptrdiff_t>(begin),
                      from + static_cast<std::ptrdiff_t>(end), '\n');
  }
  // Goes on from the place that was asked for last, which is at most a character further on.
  std::int64_t line(std::size_t ahead) {
    const std::size_t end = std::min(text_.size(), position_ - std::min(position_, ahead));
    newlines_ += end >= counted_ ? newlines(counted_, end) : -newlines(end, counted_);
    counted_ = end;
    return 1 + newlines_;
  }
  std::string place(std::size_t ahead) { return fmt::format("{}:{}", origin_, line(ahead)); }

  // The path of the value that begins; elements get their line here, members had it from their key.
  std::string begin_value(std::size_t ahead) {
    if (stack_.empty()) {
      lines_[""] = line(ahead);
      return "";
    }
    Frame& frame = stack_.back();
    if (!frame.is_array) return frame.member;
    std::string path = fmt::format("{}[{}]", frame.path, frame.index++);
    lines_[path] = line(ahead);
    return path;
  }
  bool value(std::size_t ahead) {
    begin_value(ahead);
    return true;
  }
  bool open(bool is_array) {
    if (stack_.size() >= kMaxJsonDepth) {
      fail(place(0), "nested deeper than {} levels, expected fewer", kMaxJsonDepth);
    }
    std::string path = begin_value(0);
    stack_.push_back({is_array, std::move(path), {}, 0, {}});
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_, origin_;
  const std::size_t& position_;
  std::map<std::string, std::int64_t, std::less<>>& lines_;
  std::vector<Frame> stack_;
  std::size_t counted_ = 0;    // characters of the text
  std::int64_t newlines_ = 0;  // in these
};

}  // namespace

LocatedJson parse_located_json(std::string_view text, std::string_view origin) {
  LocatedJson located;
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    fail(fmt::format("{}:{}", origin, line), "not valid JSON: got a NUL byte");
  }
  std::size_t position = 0;
  LineRecorder recorder(text, origin, position, located.lines);
  Json::sax_parse(CountingIterator(text.data(), &position),
                  CountingIterator(text.data() + text.size(), &position), &recorder);
  located.value = parse_json(text, origin);
  return located;
}

}  // namespace qx
