// JSON in and out of the template engine (jinja_tojson.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_tojson.h"

#include <cmath>
#include <limits>

#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

Value from_json(Runtime& rt, const Json& json) {
  const Runtime::Level level(rt);
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        rt.fail("got integer {}, expected one that fits into 64 bits", number);
      }
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return rt.string(to_valid_utf8(json.get_ref<const std::string&>()));
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) {
        items.push_back(from_json(rt, item));
      }
      return rt.list(std::move(items));
    }
    case Json::value_t::object: {
      Dict* dict = rt.make<Dict>();
      for (const auto& [key, value] : json.items()) {
        dict_set(rt, *dict, rt.string(to_valid_utf8(key)), from_json(rt, value));
      }
      return Value::dict(dict);
    }
    default:
      return Value();
  }
}

namespace {

struct JsonStyle {
  bool ascii = false;
  bool sorted = false;
  std::optional<std::string> indent;
  std::string item_separator;
  std::string key_separator;
};

class JsonWriter {
 public:
  JsonWriter(Runtime& rt, const JsonStyle& style) : rt_(rt), style_(style), out_(rt) {}

  void write(const Value& value) {
    const Runtime::Level level(rt_);
    rt_.charge(1);
    switch (value.kind()) {
      case Kind::kString:
        return write_string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.items());
      case Kind::kDict:
        return write_dict(value.as_dict());
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        return out_.append(scalar(value));
      default:
        rt_.fail("tojson got '{}', expected a string, number, list, dict or none",
                 type_name(value));
    }
  }
  std::string take() { return out_.take(); }

 private:
  static std::string scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.as_bool() ? "true" : "false";
      case Kind::kInt:
        return fmt::format("{}", value.as_int());
      default:
        break;
    }
    const double number = value.as_float();
    if (std::isnan(number)) {
      return "NaN";
    }
    return std::isinf(number) ? number < 0 ? "-Infinity" : "Infinity" : float_repr(number);
  }

  void write_string(std::string_view text) {
    std::string piece = "\"";
    for (std::size_t pos = 0; pos < text.size();) {
      const char32_t c = next_point(text, pos);
      append_escaped(piece, c);
      if (piece.size() > 4096) {
        out_.append(piece);
        piece.clear();
      }
    }
    piece.push_back('"');
    out_.append(piece);
  }

  void append_escaped(std::string& out, char32_t c) const {
    const auto number = static_cast<unsigned>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        return;
      case '\\':
        out += "\\\\";
        return;
      case '\n':
        out += "\\n";
        return;
      case '\r':
        out += "\\r";
        return;
      case '\t':
        out += "\\t";
        return;
      case '\b':
        out += "\\b";
        return;
      case '\f':
        out += "\\f";
        return;
      default:
        break;
    }
    if (c < 0x20 || (style_.ascii && c >= 0x7F && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", number);
    } else if (style_.ascii && c >= 0x10000) {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((number - 0x10000) >> 10),
                         0xDC00 + ((number - 0x10000) & 0x3FF));
    } else {
      append_point(out, c);
    }
  }

  void new_line() {
    if (!style_.indent) {
      return;
    }
    out_.append("\n");
    for (int i = 0; i < depth_; ++i) {
      out_.append(*style_.indent);
    }
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      return out_.append("[]");
    }
    out_.append("[");
    ++depth_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      out_.append(i == 0 ? std::string_view() : style_.item_separator);
      new_line();
      write(items[i]);
    }
    --depth_;
    new_line();
    out_.append("]");
  }

  void write_key(const Value& key) {
    if (key.is_string()) {
      write_string(key.text());
    } else if (key.is_none() || key.is_number()) {
      out_.append("\"" + scalar(key) + "\"");
    } else {
      rt_.fail("tojson got a key of type '{}', expected a string, number or none", type_name(key));
    }
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) {
      return out_.append("{}");
    }
    std::vector<Value> keys;
    for (const auto& entry : dict.entries) {
      keys.push_back(entry.first);
    }
    if (style_.sorted) {
      keys = qx::jinja::sorted(rt_, keys, keys, false);
    }
    out_.append("{");
    ++depth_;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      out_.append(i == 0 ? std::string_view() : style_.item_separator);
      new_line();
      write_key(keys[i]);
      out_.append(style_.key_separator);
      write(style_.sorted ? *dict_find(rt_, dict, keys[i]) : dict.entries[i].second);
    }
    --depth_;
    new_line();
    out_.append("}");
  }

  Runtime& rt_;
  const JsonStyle& style_;
  TextBuilder out_;
  int depth_ = 0;
};

}  // namespace

Value filter_tojson(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args = bind(rt, "tojson", arguments,
                                       {{"ensure_ascii", Value::boolean(false)},
                                        {"indent", Value()},
                                        {"separators", Value()},
                                        {"sort_keys", Value::boolean(false)}});
  JsonStyle style;
  style.ascii = truthy(rt, args[0]);
  style.sorted = truthy(rt, args[3]);
  if (args[1].is_string()) {
    style.indent = std::string(args[1].text());
  } else if (!args[1].is_none()) {
    const std::int64_t width = int_argument(rt, "tojson", args[1]);
    if (width > 1000) {
      rt.fail("tojson got indent {}, expected at most 1000", width);
    }
    style.indent = std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  style.item_separator = style.indent ? "," : ", ";
  style.key_separator = ": ";
  if (!args[2].is_none()) {
    const std::vector<Value> pair = collect(rt, args[2]);
    if (pair.size() != 2) {
      rt.fail("tojson got {} separators, expected 2", pair.size());
    }
    style.item_separator = text_argument(rt, "tojson", pair[0]);
    style.key_separator = text_argument(rt, "tojson", pair[1]);
  }
  JsonWriter writer(rt, style);
  writer.write(self);
  return rt.string(writer.take());
}

}  // namespace qx::jinja
