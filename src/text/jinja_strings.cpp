// The methods of Python's str (jinja_strings.h).
// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_strings.h"

#include <algorithm>
#include <array>

#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"

namespace qx::jinja {

std::string replace_text(Runtime& rt, std::string_view text, std::string_view old_text,
                         std::string_view new_text, std::int64_t count) {
  TextBuilder out(rt);
  std::size_t pos = 0;
  if (old_text.empty()) {
    for (; count != 0; --count) {
      out.append(new_text);
      if (pos == text.size()) {
        break;
      }
      const std::size_t start = pos;
      next_point(text, pos);
      out.append(text.substr(start, pos - start));
    }
    out.append(text.substr(pos));
    return out.take();
  }
  rt.charge_text(text.size() + old_text.size());
  while (count != 0) {
    const std::size_t at = find_text(text, old_text, pos);
    if (at == std::string_view::npos) {
      break;
    }
    out.append(text.substr(pos, at - pos));
    out.append(new_text);
    pos = at + old_text.size();
    --count;
  }
  out.append(text.substr(pos));
  return out.take();
}

std::string center_text(Runtime& rt, std::string_view text, std::int64_t width, char32_t fill) {
  const auto points = static_cast<std::int64_t>(count_points(text));
  const std::int64_t total = std::max<std::int64_t>(width - points, 0);
  const std::int64_t left = total / 2 + (total & width & 1);
  std::string piece;
  append_point(piece, fill);
  TextBuilder out(rt);
  for (std::int64_t i = 0; i < left; ++i) {
    out.append(piece);
  }
  out.append(text);
  for (std::int64_t i = left; i < total; ++i) {
    out.append(piece);
  }
  return out.take();
}

namespace {

// --- whole-string mappings

template <std::string (*map)(std::string_view)>
Value mapped(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this method", arguments, {});
  rt.charge_bytes(3 * self.text().size());
  return rt.string(map(self.text()));
}

template <Side side>
Value stripped(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value chars = bind(rt, "strip", arguments, {{"", Value()}})[0];
  rt.charge_text(self.text().size());
  if (chars.is_none()) {
    return rt.string(strip(self.text(), side, std::nullopt));
  }
  const std::string_view set = text_argument(rt, "strip", chars);
  rt.charge_bytes(set.size() * sizeof(char32_t));
  return rt.string(strip(self.text(), side, set));
}

// --- predicates

template <bool (*test)(char32_t)>
Value all_points(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this method", arguments, {});
  const std::string_view text = self.text();
  rt.charge_text(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    if (!test(next_point(text, pos))) {
      return Value::boolean(false);
    }
  }
  return Value::boolean(!text.empty());
}

bool is_alnum(char32_t c) {
  return is_alpha(c) || is_numeric(c);
}
bool is_ascii(char32_t c) {
  return c < 0x80;
}

template <bool (*test)(char32_t)>
Value all_points_or_empty(Runtime& rt, const Value& self, Arguments& arguments) {
  return self.text().empty() ? Value::boolean(true) : all_points<test>(rt, self, arguments);
}

// At least one cased code point, and none that is cased otherwise.
template <bool (*wanted)(char32_t)>
Value cased_only(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "this method", arguments, {});
  const std::string_view text = self.text();
  rt.charge_text(text.size());
  bool found = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    if (is_cased(c) && !wanted(c)) {
      return Value::boolean(false);
    }
    found |= wanted(c);
  }
  return Value::boolean(found);
}

Value str_istitle(Runtime& rt, const Value& self, Arguments& arguments) {
  bind(rt, "istitle", arguments, {});
  const std::string_view text = self.text();
  rt.charge_text(text.size());
  bool found = false;
  bool inside = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_point(text, pos);
    const bool starts = is_upper(c) || is_title(c);
    if ((starts && inside) || (is_lower(c) && !inside)) {
      return Value::boolean(false);
    }
    inside = is_cased(c);
    found |= inside;
  }
  return Value::boolean(found);
}

// --- searching

struct Window {
  std::string_view text;
  std::size_t start;  // code points before it
  bool valid;         // start is not behind the end
};

// The part of self that optional start and stop arguments name.
Window window(Runtime& rt, std::string_view function, const Value& self, const Value& start,
              const Value& stop) {
  const auto size = static_cast<std::int64_t>(self.as_str().points);
  const auto bound = [&](const Value& value, std::int64_t fallback) {
    if (value.is_none()) {
      return fallback;
    }
    const std::int64_t at = int_argument(rt, function, value);
    return std::max<std::int64_t>(at < 0 ? at + size : at, 0);
  };
  const std::int64_t first = bound(start, 0);
  const std::int64_t last = std::min(bound(stop, size), size);
  rt.charge_text(self.text().size());
  if (first > last) {
    return {{}, 0, false};
  }
  const std::size_t begin = byte_offset(self.text(), first);
  const std::size_t end = byte_offset(self.text(), last);
  return {self.text().substr(begin, end - begin), static_cast<std::size_t>(first), true};
}

std::optional<std::size_t> search(Runtime& rt, std::string_view function, const Value& self,
                                  Arguments& arguments, bool from_right) {
  const std::vector<Value> args =
      bind(rt, function, arguments, {{"", {}}, {"", Value()}, {"", Value()}});
  const std::string_view needle = text_argument(rt, function, args[0]);
  const Window part = window(rt, function, self, args[1], args[2]);
  if (!part.valid) {
    return std::nullopt;
  }
  rt.charge_text(needle.size());
  const std::size_t at =
      from_right ? rfind_text(part.text, needle) : find_text(part.text, needle, 0);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  return part.start + count_points(part.text.substr(0, at));
}

template <bool from_right>
Value str_find(Runtime& rt, const Value& self, Arguments& arguments) {
  const auto at = search(rt, from_right ? "rfind" : "find", self, arguments, from_right);
  return at ? Value::size(*at) : Value::integer(-1);
}

template <bool from_right>
Value str_index(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::string_view name = from_right ? "rindex" : "index";
  const auto at = search(rt, name, self, arguments, from_right);
  if (!at) {
    rt.fail("{}() got a string that does not occur, expected one that does", name);
  }
  return Value::size(*at);
}

Value str_count(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "count", arguments, {{"", {}}, {"", Value()}, {"", Value()}});
  const std::string_view needle = text_argument(rt, "count", args[0]);
  const Window part = window(rt, "count", self, args[1], args[2]);
  if (!part.valid) {
    return Value::integer(0);
  }
  if (needle.empty()) {
    return Value::size(count_points(part.text) + 1);
  }
  rt.charge_text(part.text.size() + needle.size());
  std::size_t count = 0;
  for (std::size_t pos = 0; (pos = find_text(part.text, needle, pos)) != std::string_view::npos;
       pos += needle.size()) {
    ++count;
  }
  return Value::size(count);
}

template <bool at_end>
Value str_affix(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::string_view name = at_end ? "endswith" : "startswith";
  const std::vector<Value> args =
      bind(rt, name, arguments, {{"", {}}, {"", Value()}, {"", Value()}});
  const Window part = window(rt, name, self, args[1], args[2]);
  const auto matches = [&](const Value& affix) {
    const std::string_view text = text_argument(rt, name, affix);
    rt.charge_text(text.size());
    return part.valid && (at_end ? part.text.ends_with(text) : part.text.starts_with(text));
  };
  if (args[0].is(Kind::kTuple)) {
    const std::vector<Value>& affixes = args[0].items();
    return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
  }
  return Value::boolean(matches(args[0]));
}

// --- splitting and joining

std::vector<Value> split_space(Runtime& rt, std::string_view text, std::int64_t limit,
                               bool from_right) {
  std::vector<Value> parts;
  const Side side = from_right ? Side::kRight : Side::kLeft;
  text = strip(text, side, std::nullopt);
  while (!text.empty()) {
    if (limit == 0) {
      parts.push_back(rt.string(text));
      break;
    }
    std::size_t end = from_right ? text.size() : 0;
    const auto more = [&] { return from_right ? end > 0 : end < text.size(); };
    while (more()) {
      std::size_t next = end;
      if (is_space(from_right ? previous_point(text, next) : next_point(text, next))) {
        break;
      }
      end = next;
    }
    parts.push_back(rt.string(from_right ? text.substr(end) : text.substr(0, end)));
    text = strip(from_right ? text.substr(0, end) : text.substr(end), side, std::nullopt);
    --limit;
  }
  return parts;
}

std::vector<Value> split_at(Runtime& rt, std::string_view text, std::string_view separator,
                            std::int64_t limit, bool from_right) {
  std::vector<Value> parts;
  for (; limit != 0; --limit) {
    if (from_right && separator.size() > 16) {
      rt.charge_text(4 * text.size());  // this search reads all that is left
    }
    const std::size_t at =
        from_right ? (separator.size() > 16 ? rfind_text(text, separator) : text.rfind(separator))
                   : find_text(text, separator, 0);
    if (at == std::string_view::npos) {
      break;
    }
    const std::size_t behind = at + separator.size();
    parts.push_back(rt.string(from_right ? text.substr(behind) : text.substr(0, at)));
    text = from_right ? text.substr(0, at) : text.substr(behind);
  }
  parts.push_back(rt.string(text));
  return parts;
}

template <bool from_right>
Value str_split(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "split", arguments, {{"sep", Value()}, {"maxsplit", Value::integer(-1)}});
  const std::int64_t limit = int_argument(rt, "split", args[1]);
  rt.charge_text(self.text().size());
  std::vector<Value> parts;
  if (args[0].is_none()) {
    parts = split_space(rt, self.text(), limit, from_right);
  } else {
    const std::string_view separator = text_argument(rt, "split", args[0]);
    if (separator.empty()) {
      rt.fail("split() got an empty separator, expected some text");
    }
    rt.charge_text(separator.size());
    parts = split_at(rt, self.text(), separator, limit, from_right);
  }
  if (from_right) {
    std::reverse(parts.begin(), parts.end());
  }
  return rt.list(std::move(parts));
}

Value str_splitlines(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value keep = bind(rt, "splitlines", arguments, {{"keepends", Value::boolean(false)}})[0];
  std::vector<Value> lines;
  rt.charge_bytes(self.text().size());
  for (const std::string_view line : split_lines(self.text(), truthy(rt, keep))) {
    lines.push_back(rt.string(line));
  }
  return rt.list(std::move(lines));
}

template <bool from_right>
Value str_partition(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value separator = bind(rt, "partition", arguments, {{"", {}}})[0];
  const std::string_view needle = text_argument(rt, "partition", separator);
  if (needle.empty()) {
    rt.fail("partition() got an empty separator, expected some text");
  }
  const std::string_view text = self.text();
  rt.charge_text(text.size() + needle.size());
  const std::size_t at = from_right ? rfind_text(text, needle) : find_text(text, needle, 0);
  if (at == std::string_view::npos) {
    const Value none = rt.string("");
    return from_right ? rt.tuple({none, none, self}) : rt.tuple({self, none, none});
  }
  return rt.tuple(
      {rt.string(text.substr(0, at)), separator, rt.string(text.substr(at + needle.size()))});
}

Value str_join(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value items = bind(rt, "join", arguments, {{"", {}}})[0];
  TextBuilder out(rt);
  Iterator* source = iterate(rt, items);
  bool first = true;
  while (const std::optional<Value> item = source->next(rt)) {
    if (!first) {
      out.append(self.text());
    }
    first = false;
    out.append(text_argument(rt, "join", *item));
  }
  return rt.string(out.take());
}

// --- others

Value str_replace(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "replace", arguments, {{"", {}}, {"", {}}, {"", Value::integer(-1)}});
  return rt.string(replace_text(rt, self.text(), text_argument(rt, "replace", args[0]),
                                text_argument(rt, "replace", args[1]),
                                int_argument(rt, "replace", args[2])));
}

template <char kind>
Value str_pad(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::vector<Value> args =
      bind(rt, "this method", arguments, {{"", {}}, {"", rt.string(" ")}});
  const std::int64_t width = int_argument(rt, "this method", args[0]);
  const std::string_view fill = text_argument(rt, "this method", args[1]);
  std::size_t pos = 0;
  if (args[1].as_str().points != 1) {
    rt.fail("a padding method got fill '{}', expected one character", fill);
  }
  const char32_t point = next_point(fill, pos);
  if (kind == 'c') {
    return rt.string(center_text(rt, self.text(), width, point));
  }
  TextBuilder padding(rt);
  for (auto i = static_cast<std::int64_t>(self.as_str().points); i < width; ++i) {
    padding.append(fill);
  }
  return rt.string(kind == 'l' ? std::string(self.text()) + padding.text()
                               : padding.text() + std::string(self.text()));
}

Value str_zfill(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::int64_t width = int_argument(rt, "zfill", bind(rt, "zfill", arguments, {{"", {}}})[0]);
  std::string_view text = self.text();
  TextBuilder out(rt);
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    out.append(text.substr(0, 1));
    text.remove_prefix(1);
  }
  for (auto i = static_cast<std::int64_t>(self.as_str().points); i < width; ++i) {
    out.append("0");
  }
  out.append(text);
  return rt.string(out.take());
}

template <bool suffix>
Value str_remove(Runtime& rt, const Value& self, Arguments& arguments) {
  const std::string_view name = suffix ? "removesuffix" : "removeprefix";
  const std::string_view affix = text_argument(rt, name, bind(rt, name, arguments, {{"", {}}})[0]);
  const std::string_view text = self.text();
  rt.charge_text(text.size());
  if (suffix) {
    return rt.string(text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text);
  }
  return rt.string(text.starts_with(affix) ? text.substr(affix.size()) : text);
}

Value str_format(Runtime& rt, const Value& self, Arguments& arguments) {
  return format_braces(rt, self, arguments);
}

Value str_format_map(Runtime& rt, const Value& self, Arguments& arguments) {
  const Value map = bind(rt, "format_map", arguments, {{"", {}}})[0];
  if (!map.is(Kind::kDict)) {
    rt.fail("format_map() got '{}', expected a dict", type_name(map));
  }
  Arguments named;
  for (const auto& [key, value] : map.as_dict().entries) {
    rt.charge_bytes(sizeof(Value) * 2);
    if (key.is_string()) {
      named.keywords.emplace_back(key.text(), value);
    }
  }
  return format_braces(rt, self, named);
}

constexpr NativeEntry kMethods[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<casefold>},
    {"center", str_pad<'c'>},
    {"count", str_count},
    {"endswith", str_affix<true>},
    {"find", str_find<false>},
    {"format", str_format},
    {"format_map", str_format_map},
    {"index", str_index<false>},
    {"isalnum", all_points<is_alnum>},
    {"isalpha", all_points<is_alpha>},
    {"isascii", all_points_or_empty<is_ascii>},
    {"isdecimal", all_points<is_decimal>},
    {"isdigit", all_points<is_digit>},
    {"islower", cased_only<is_lower>},
    {"isnumeric", all_points<is_numeric>},
    {"isprintable", all_points_or_empty<is_printable>},
    {"isspace", all_points<is_space>},
    {"istitle", str_istitle},
    {"isupper", cased_only<is_upper>},
    {"join", str_join},
    {"ljust", str_pad<'l'>},
    {"lower", mapped<lower>},
    {"lstrip", stripped<Side::kLeft>},
    {"partition", str_partition<false>},
    {"removeprefix", str_remove<false>},
    {"removesuffix", str_remove<true>},
    {"replace", str_replace},
    {"rfind", str_find<true>},
    {"rindex", str_index<true>},
    {"rjust", str_pad<'r'>},
    {"rpartition", str_partition<true>},
    {"rsplit", str_split<true>},
    {"rstrip", stripped<Side::kRight>},
    {"split", str_split<false>},
    {"splitlines", str_splitlines},
    {"startswith", str_affix<false>},
    {"strip", stripped<Side::kBoth>},
    {"swapcase", mapped<swapcase>},
    {"title", mapped<title>},
    {"upper", mapped<upper>},
    {"zfill", str_zfill},
};

}  // namespace

Native find_string_method(std::string_view name) {
  for (const NativeEntry& entry : kMethods) {
    if (entry.name == name) {
      return entry.function;
    }
  }
  return nullptr;
}

}  // namespace qx::jinja
