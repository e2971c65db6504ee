// SPDX-License-Identifier: Apache-2.0
#include "json_python.h"

#include <nanobind/stl/string.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"

namespace qx::python {
namespace nb = nanobind;
namespace {

constexpr int kDeepest = 200;  // as parse_json

Json whole_number(nb::handle value, std::string_view place) {
  std::int64_t number = 0;
  if (nb::try_cast(value, number)) return number;
  std::uint64_t large = 0;
  if (nb::try_cast(value, large)) return large;
  fail(place, "got the number {}, expected one of 64 bits", nb::cast<std::string>(nb::str(value)));
}

Json convert(nb::handle value, std::string_view place, int depth) {
  if (depth > kDeepest) fail(place, "got a value nested deeper than {}", kDeepest);
  if (value.is_none()) return nullptr;
  if (nb::isinstance<nb::bool_>(value)) return nb::cast<bool>(value);
  if (nb::isinstance<nb::int_>(value)) return whole_number(value, place);
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  if (nb::isinstance<nb::dict>(value)) {
    Json object = Json::object();
    for (const auto& [key, member] : nb::borrow<nb::dict>(value)) {
      if (!nb::isinstance<nb::str>(key)) fail(place, "got a key that is no string");
      append_member(object, nb::cast<std::string>(key), convert(member, place, depth + 1));
    }
    return object;
  }
  if (nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value)) {
    Json array = Json::array();
    for (nb::handle element : value) array.push_back(convert(element, place, depth + 1));
    return array;
  }
  fail(place, "got a value of type {}, expected dict, list, str, int, float, bool or None",
       nb::cast<std::string>(nb::type_name(value.type())));
}

}  // namespace

nb::object to_python(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return nb::bool_(json.get<bool>());
    case Json::value_t::number_integer:
      return nb::int_(json.get<std::int64_t>());
    case Json::value_t::number_unsigned:
      return nb::int_(json.get<std::uint64_t>());
    case Json::value_t::number_float:
      return nb::float_(json.get<double>());
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      return nb::str(text.c_str(), text.size());
    }
    case Json::value_t::array: {
      nb::list list;
      for (const Json& element : json) list.append(to_python(element));
      return list;
    }
    case Json::value_t::object: {
      nb::dict dict;
      for (const auto& [key, member] : json.items()) {
        dict[nb::str(key.c_str(), key.size())] = to_python(member);
      }
      return dict;
    }
    default:
      return nb::none();
  }
}

Document document_to_python(const Json& object) {
  QX_CHECK(object.is_object());
  return nb::cast<nb::dict>(to_python(object));
}

Json from_python(nb::handle value, std::string_view place) {
  return convert(value, place, 0);
}

}  // namespace qx::python
