// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "line_editor.h"

namespace qx::cli {
namespace {

class PlainLines final : public LineSource {
 public:
  explicit PlainLines(ChatSignals& signals) : signals_(signals) {}

  TypedLine read(const std::string&) override {
    for (;;) {
      const std::size_t end = buffer_.find('\n', searched_);
      if (end != std::string::npos) return take(end, 1);
      searched_ = buffer_.size();
      if (buffer_.size() > kLongestLine) {
        fail("stdin", "got a line of more than {} bytes, expected less", kLongestLine);
      }
      if (at_end_) return buffer_.empty() ? TypedLine{} : take(buffer_.size(), 0);
      if (signals_.ended()) return {TypedLine::Kind::kAsked};
      if (signals_.wait_for_input(STDIN_FILENO)) fill();
    }
  }

  void remember(const std::string&) override {}

 private:
  TypedLine take(std::size_t end, std::size_t feed) {
    TypedLine line{TypedLine::Kind::kText, buffer_.substr(0, end)};
    buffer_.erase(0, end + feed);
    searched_ = 0;
    if (line.text.ends_with('\r')) line.text.pop_back();
    return line;
  }

  void fill() {
    std::array<char, 65536> bytes{};
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count > 0) {
      buffer_.append(bytes.data(), static_cast<std::size_t>(count));
    } else if (count == 0) {
      at_end_ = true;
    } else if (errno != EINTR && errno != EAGAIN) {
      fail("stdin", "reading failed, expected lines of text");
    }
  }

  ChatSignals& signals_;
  std::string buffer_;
  std::size_t searched_ = 0;  // no line feed before here
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<LineSource> plain_lines(ChatSignals& signals) {
  return std::make_unique<PlainLines>(signals);
}

}  // namespace qx::cli
