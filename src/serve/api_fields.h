// Members of a request's JSON object, with types and ranges checked. For api_*.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "serve/api_error.h"

namespace qx {

// Absent and null mean the same. Every function fails with ApiError (400) that names the member.
class ApiFields {
 public:
  explicit ApiFields(const Json& object) : object_(object) {}

  const Json& get(std::string_view name) const { return json_member(object_, name); }
  bool has(std::string_view name) const { return !get(name).is_null(); }

  std::optional<double> number(std::string_view name, double least, double most) const {
    const Json& value = get(name);
    if (value.is_null()) return {};
    if (!value.is_number()) refuse_param(name, "got {}, expected a number", value.type_name());
    const auto number = value.get<double>();
    if (!(number >= least && number <= most)) {
      refuse_param(name, "got {}, expected {} to {}", number, least, most);
    }
    return number;
  }

  std::optional<std::int64_t> integer(std::string_view name, std::int64_t least,
                                      std::int64_t most) const {
    const Json& value = get(name);
    if (value.is_null()) return {};
    return whole_number(value, name, least, most);
  }

  bool boolean(std::string_view name, bool fallback) const {
    const Json& value = get(name);
    if (value.is_null()) return fallback;
    if (!value.is_boolean())
      refuse_param(name, "got {}, expected true or false", value.type_name());
    return value.get<bool>();
  }

  std::optional<std::string> string(std::string_view name) const {
    const Json& value = get(name);
    if (value.is_null()) return {};
    if (!value.is_string()) refuse_param(name, "got {}, expected a string", value.type_name());
    return value.get<std::string>();
  }

  // Also 3.0 counts as a whole number, as in JSON Schema.
  static std::int64_t whole_number(const Json& value, std::string_view name, std::int64_t least,
                                   std::int64_t most) {
    std::optional<std::int64_t> whole;
    if (value.is_number_unsigned()) {
      const auto u = value.get<std::uint64_t>();
      if (u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        whole = static_cast<std::int64_t>(u);
      }
    } else if (value.is_number_integer()) {
      whole = value.get<std::int64_t>();
    } else if (value.is_number_float()) {
      const auto d = value.get<double>();
      if (std::trunc(d) == d && std::abs(d) < 0x1p53) whole = static_cast<std::int64_t>(d);
    }
    if (!value.is_number()) refuse_param(name, "got {}, expected an integer", value.type_name());
    if (!whole || *whole < least || *whole > most) {
      refuse_param(name, "got {}, expected an integer from {} to {}", value.dump(), least, most);
    }
    return *whole;
  }

 private:
  const Json& object_;
};

}  // namespace qx
