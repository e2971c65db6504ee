// What one rendering owns: its objects, its budget (steps, depth, bytes) and the place of errors.
// The sandbox is here: nothing in the engine works without charging this budget, and nothing
// reaches outside.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace qx::jinja {

struct Limits {
  std::size_t steps = 10'000'000;  // nodes evaluated, items visited, 64-byte pieces of text read
  std::size_t value_bytes = std::size_t{256} << 20;  // all values made during one rendering
  std::size_t output_bytes = std::size_t{32} << 20;  // the result and each captured block
  std::size_t range_items = 100'000;                 // as Jinja2's sandbox
  int depth = 600;  // nested evaluation: expressions, blocks, macro calls
};

// One thread. Every failure throws qx::Error with "origin:line" as its place.
class Runtime {
 public:
  Runtime(const Limits& limits, std::string origin) : limits_(limits), origin_(std::move(origin)) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Limits& limits() const { return limits_; }
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_text(fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void fail_text(std::string_view message) const;

  void charge(std::size_t steps) {
    steps_ += steps;
    if (steps_ > limits_.steps) {
      too_long();
    }
  }
  // For work on text: a step per 64 bytes.
  void charge_text(std::size_t bytes) { charge(1 + bytes / 64); }
  // Before an allocation whose size the template decides.
  void charge_bytes(std::size_t bytes);

  template <typename T, typename... Args>
  T* make(Args&&... args) {
    charge_bytes(sizeof(T) + 16);
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = object.get();
    objects_.push_back(std::move(object));
    return raw;
  }
  Value string(std::string text, bool markup = false);
  Value string(std::string_view text) { return string(std::string(text)); }
  Value string(const char* text) { return string(std::string(text)); }
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value undefined(std::string message);
  Value range(std::int64_t start, std::int64_t stop, std::int64_t step);
  Value function(std::string_view name, Native native, const Value& self);

  // Guards recursion: one per level.
  class Level {
   public:
    explicit Level(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.limits_.depth) {
        --runtime_.depth_;
        runtime_.too_deep();
      }
    }
    ~Level() { --runtime_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Runtime& runtime_;
  };

 private:
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_deep() const;

  const Limits limits_;
  const std::string origin_;
  int line_ = 0;
  int depth_ = 0;
  std::size_t steps_ = 0;
  std::size_t value_bytes_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;
};

// Text that grows under the budget.
class TextBuilder {
 public:
  explicit TextBuilder(Runtime& runtime) : runtime_(runtime) {}
  void append(std::string_view text) {
    runtime_.charge_bytes(text.size());
    text_.append(text);
  }
  void append(std::size_t count, char c) {
    runtime_.charge_bytes(count);
    text_.append(count, c);
  }
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  Runtime& runtime_;
  std::string text_;
};

}  // namespace qx::jinja
