// What a template can name without defining it: filters, tests and global functions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_value.h"

namespace qx::jinja {

// Null when there is none of that name. A filter's and a test's `self` is the value before the | or "is".
Native find_filter(std::string_view name);
Native find_test(std::string_view name);
Native find_global(std::string_view name);

// Parts of find_filter.
Native find_text_filter(std::string_view name);
Native find_list_filter(std::string_view name);

// What namespace() makes: the one thing that {% set %} may change.
struct Namespace final : Special {
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override;
  std::string repr(Runtime& rt) override;
  // Fails: a name that begins with an underscore, as in Hugging Face's sandbox.
  void set(Runtime& rt, const Value& name, const Value& value);
  Dict attributes;
};

// As Python's datetime(date at midnight).strftime(format). date is YYYY-MM-DD.
std::string format_date(std::string_view date, std::string_view format);

}  // namespace qx::jinja
