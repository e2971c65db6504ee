// str(), repr() and HTML escaping of values (jinja_ops.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

namespace {

class ReprWriter {
 public:
  explicit ReprWriter(Runtime& rt) : rt_(rt), out_(rt) {}

  void write(const Value& value) {
    const Runtime::Level level(rt_);
    rt_.charge(1);
    switch (value.kind()) {
      case Kind::kUndefined:
        return out_.append("Undefined");
      case Kind::kNone:
        return out_.append("None");
      case Kind::kBool:
        return out_.append(value.as_bool() ? "True" : "False");
      case Kind::kInt:
        return out_.append(fmt::format("{}", value.as_int()));
      case Kind::kFloat:
        return out_.append(float_repr(value.as_float()));
      case Kind::kString:
        return out_.append(value.as_str().markup ? "Markup(" + quote(value.text()) + ")"
                                                 : quote(value.text()));
      case Kind::kList:
        return write_items("[", value.items(), "]");
      case Kind::kTuple:
        return write_items("(", value.items(), value.items().size() == 1 ? ",)" : ")");
      case Kind::kDict:
        return write_dict(value.as_dict());
      case Kind::kRange:
        return write_range(value.as_range());
      case Kind::kView:
        out_.append(value.as_view().name);
        return write_items("([", value.as_view().items, "])");
      case Kind::kIterator:
        return out_.append("<generator object>");
      case Kind::kSpecial:
        return out_.append(value.as_special().repr(rt_));
    }
  }
  std::string take() { return out_.take(); }

 private:
  void write_items(std::string_view open, const std::vector<Value>& items, std::string_view close) {
    out_.append(open);
    for (std::size_t i = 0; i < items.size(); ++i) {
      out_.append(i == 0 ? "" : ", ");
      write(items[i]);
    }
    out_.append(close);
  }

  void write_dict(const Dict& dict) {
    out_.append("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      out_.append(first ? "" : ", ");
      first = false;
      write(key);
      out_.append(": ");
      write(value);
    }
    out_.append("}");
  }

  void write_range(const Range& range) {
    out_.append(fmt::format("range({}, {}", range.start, range.stop));
    out_.append(range.step == 1 ? ")" : fmt::format(", {})", range.step));
  }

  Runtime& rt_;
  TextBuilder out_;
};

}  // namespace

std::string repr(Runtime& rt, const Value& value) {
  ReprWriter writer(rt);
  writer.write(value);
  return writer.take();
}

std::string to_text(Runtime& rt, const Value& value) {
  if (value.is_string()) {
    rt.charge_text(value.text().size());
    return std::string(value.text());
  }
  return value.is_undefined() ? std::string() : repr(rt, value);
}

std::string escape_html(Runtime& rt, std::string_view text) {
  TextBuilder out(rt);
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t at = std::min(text.find_first_of("&<>\"'", pos), text.size());
    out.append(text.substr(pos, at - pos));
    pos = at + 1;
    if (at == text.size()) {
      break;
    }
    switch (text[at]) {
      case '&':
        out.append("&amp;");
        break;
      case '<':
        out.append("&lt;");
        break;
      case '>':
        out.append("&gt;");
        break;
      case '"':
        out.append("&#34;");
        break;
      default:
        out.append("&#39;");
    }
  }
  return out.take();
}

}  // namespace qx::jinja
