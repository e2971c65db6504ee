// Errors that a user can meet. Bad input throws Error, a bad command line throws UsageError, a
// broken invariant of our own throws InternalError; the program's main() turns them into exit
// codes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace qx {

// The input or the machine is at fault (exit 1). what() reads "[place] got X, expected Y"; the
// place names the file, tensor, line or item.
class Error : public std::runtime_error {
 public:
  Error(std::string_view place, std::string_view message)
      : std::runtime_error(fmt::format("[{}] {}", place, message)) {}
};

// The command line is at fault (exit 2).
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A fault in qx itself (exit 1, with a request to report it).
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Throws Error with a message in fmt's syntax: fail(path, "got {} bytes, expected {}", a, b).
template <typename... Args>
[[noreturn]] void fail(std::string_view place, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(place, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace qx

// Guards an invariant of our own code, in every build. Never used to validate input.
#define QX_CHECK(condition)                               \
  do {                                                    \
    if (!(condition)) {                                   \
      ::qx::check_failed(#condition, __FILE__, __LINE__); \
    }                                                     \
  } while (false)
