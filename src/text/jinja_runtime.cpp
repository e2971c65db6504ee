// Objects, budget and errors of one rendering (jinja_runtime.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_runtime.h"

#include "base/error.h"
#include "text/jinja_text.h"

namespace qx::jinja {

Str::Str(std::string the_text, bool is_markup)
    : text(std::move(the_text)), points(count_points(text)), markup(is_markup) {}

Value Value::real(double f) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.float_ = f;
  return value;
}

std::string_view Value::undefined_message() const {
  return object_ == nullptr ? std::string_view("the value is undefined") : text();
}

std::optional<Value> Special::attribute(Runtime&, std::string_view) {
  return std::nullopt;
}
std::optional<Value> Special::call(Runtime&, Arguments&) {
  return std::nullopt;
}
std::optional<std::size_t> Special::length(Runtime&) {
  return std::nullopt;
}

namespace {

struct Function final : Special {
  Function(std::string_view the_name, Native the_native, const Value& the_self)
      : name(the_name), native(the_native), self(the_self) {}
  std::optional<Value> call(Runtime& runtime, Arguments& arguments) override {
    return native(runtime, self, arguments);
  }
  bool callable() const override { return true; }
  std::string repr(Runtime&) override { return fmt::format("<function {}>", name); }

  const std::string_view name;
  const Native native;
  const Value self;
};

}  // namespace

void Runtime::fail_text(std::string_view message) const {
  throw Error(fmt::format("{}:{}", origin_, line_), message);
}

void Runtime::too_long() const {
  fail("got a template that takes more than {} steps, expected one that ends", limits_.steps);
}

void Runtime::too_deep() const {
  fail("got nesting or recursion deeper than {} levels, expected less", limits_.depth);
}

void Runtime::charge_bytes(std::size_t bytes) {
  if (bytes > limits_.value_bytes - value_bytes_) {
    fail("got a template whose values need more than {} bytes, expected less", limits_.value_bytes);
  }
  value_bytes_ += bytes;
  charge(1 + bytes / 256);
}

Value Runtime::string(std::string text, bool markup) {
  charge_bytes(text.size());
  return Value::string(make<Str>(std::move(text), markup));
}

Value Runtime::list(std::vector<Value> items) {
  charge_bytes(items.size() * sizeof(Value));
  return Value::list(make<List>(std::move(items)));
}

Value Runtime::tuple(std::vector<Value> items) {
  charge_bytes(items.size() * sizeof(Value));
  return Value::tuple(make<List>(std::move(items)));
}

Value Runtime::undefined(std::string message) {
  return Value::undefined(make<Str>(std::move(message), false));
}

Value Runtime::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  if (step == 0) {
    fail("range() got step 0, expected another");
  }
  // In unsigned arithmetic: the span of two 64-bit integers may not fit into one.
  const auto low = static_cast<std::uint64_t>(step > 0 ? start : stop);
  const auto high = static_cast<std::uint64_t>(step > 0 ? stop : start);
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step)
                                        : std::uint64_t{0} - static_cast<std::uint64_t>(step);
  const std::uint64_t count = empty ? 0 : (high - low - 1) / stride + 1;
  if (count > limits_.range_items) {
    fail("range() got {} items, expected at most {}", count, limits_.range_items);
  }
  return Value::range(make<Range>(start, stop, step, static_cast<std::int64_t>(count)));
}

Value Runtime::function(std::string_view name, Native native, const Value& self) {
  return Value::special(make<Function>(name, native, self));
}

}  // namespace qx::jinja
