// Lines that a user types: edited on a terminal, with history, by libedit; plain from anything else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "chat_signals.h"

namespace qx::cli {

struct TypedLine {
  enum class Kind {
    kText,
    kEnd,          // of the input (Ctrl-D on an empty line)
    kInterrupted,  // Ctrl-C: the line is thrown away
    kAsked,        // SIGTERM or SIGHUP: the program is to end
  };
  Kind kind = Kind::kEnd;
  std::string text = {};  // without the line feed at its end; others in it are the user's
};

class LineSource {
 public:
  virtual ~LineSource() = default;
  // Fails: Error when a line is longer than kLongestLine bytes.
  virtual TypedLine read(const std::string& prompt) = 0;
  // Adds to what the arrow keys bring back. Nothing where there is no history.
  virtual void remember(const std::string& text) = 0;
};
constexpr std::size_t kLongestLine = std::size_t{16} << 20;

// history: a file, which need not be there yet, or an empty path for none. It is written, readable by
// its owner alone, when the editor is destroyed. Errors in it are warnings on stderr.
// signals must outlive the source.
std::unique_ptr<LineSource> edited_lines(ChatSignals& signals,
                                         const std::filesystem::path& history);
std::unique_ptr<LineSource> plain_lines(ChatSignals& signals);

}  // namespace qx::cli
