// Binding a call's arguments to a built-in function's parameters.
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_ops.h"

namespace qx::jinja {

std::vector<Value> bind(Runtime& rt, std::string_view function, const Arguments& arguments,
                        std::initializer_list<Parameter> parameters) {
  if (arguments.positional.size() > parameters.size()) {
    rt.fail("{}() got {} arguments, expected at most {}", function, arguments.positional.size(),
            parameters.size());
  }
  std::vector<Value> values;
  std::size_t used = 0;
  for (const Parameter& parameter : parameters) {
    const std::size_t at = values.size();
    std::optional<Value> value;
    if (at < arguments.positional.size()) {
      value = arguments.positional[at];
    }
    for (const auto& [name, keyword] : arguments.keywords) {
      if (name != parameter.name) {
        continue;
      }
      if (value) {
        rt.fail("{}() got argument '{}' twice, expected it once", function, name);
      }
      value = keyword;
      ++used;
    }
    if (!value) {
      value = parameter.fallback;
    }
    if (!value) {
      rt.fail("{}() got no argument '{}', expected one", function, parameter.name);
    }
    values.push_back(*value);
  }
  if (used != arguments.keywords.size()) {
    rt.fail("{}() got an unexpected keyword argument", function);
  }
  return values;
}

std::int64_t int_argument(Runtime& rt, std::string_view function, const Value& value) {
  if (!value.is_integral()) {
    rt.fail("{}() got '{}', expected an integer", function, type_name(value));
  }
  return value.as_int();
}

std::string_view text_argument(Runtime& rt, std::string_view function, const Value& value) {
  if (!value.is_string()) {
    rt.fail("{}() got '{}', expected a string", function, type_name(value));
  }
  return value.text();
}

}  // namespace qx::jinja
