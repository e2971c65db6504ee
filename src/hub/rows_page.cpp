// SPDX-License-Identifier: Apache-2.0
#include "hub/rows_page.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "base/error.h"

namespace qx {
namespace {

// Before the parser: HTML is what a proxy, a login page or a broken gateway sends.
bool looks_like_html(std::string_view body) {
  const std::size_t first = body.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  return first != std::string_view::npos && body[first] == '<';
}

std::optional<std::int64_t> whole_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() && found->get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  return found->get<std::int64_t>();
}

struct IndexedRow {
  std::int64_t index = 0;
  Json row;
};

// One element of "rows"; the fault's text when it is not as documented.
std::optional<IndexedRow> read_row(Json& element, PageFault& fault) {
  if (!element.is_object()) {
    fault = {fmt::format("a row is {}, expected an object", element.type_name()), true};
    return std::nullopt;
  }
  const auto index = whole_number(element, "row_idx");
  const auto row = element.find("row");
  if (!index || row == element.end() || !row->is_object()) {
    fault = {"a row has no 'row_idx' or no 'row'", true};
    return std::nullopt;
  }
  const auto cells = element.find("truncated_cells");
  if (cells != element.end() && !(cells->is_array() && cells->empty()) && !cells->is_null()) {
    fault = {fmt::format("row {} has cells that the service cut off: {}", *index,
                         printable(cells->dump(-1, ' ', true), 80)),
             false};
    return std::nullopt;
  }
  return IndexedRow{*index, std::move(*row)};
}

std::string range_text(std::int64_t begin, std::int64_t count) {
  return count == 1 ? fmt::format("row {}", begin)
                    : fmt::format("rows {} to {}", begin, begin + count - 1);
}

bool check_order(const std::vector<IndexedRow>& rows, const PageRequest& request,
                 std::int64_t expected, PageFault& fault) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i > 0 && rows[i].index == rows[i - 1].index) {
      fault = {fmt::format("row {} comes twice", rows[i].index), true};
      return false;
    }
    const std::int64_t want = request.offset + static_cast<std::int64_t>(i);
    if (rows[i].index != want) {
      fault = {fmt::format("got row {} where row {} was expected", rows[i].index, want), true};
      return false;
    }
  }
  if (static_cast<std::int64_t>(rows.size()) != expected) {
    fault = {fmt::format("got {} rows, expected {}", rows.size(),
                         expected == 0 ? "none" : range_text(request.offset, expected)),
             true};
    return false;
  }
  return true;
}

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) in seconds since 1970.
std::optional<std::int64_t> http_date(std::string_view text) {
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || !text.ends_with(" GMT") || text.substr(3, 2) != ", ") {
    return std::nullopt;
  }
  const auto number = [&text](std::size_t at, std::size_t digits) {
    int value = -1;
    const char* begin = text.data() + at;
    const auto [end, error] = std::from_chars(begin, begin + digits, value);
    return error == std::errc() && end == begin + digits ? value : -1;
  };
  const auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  const int day = number(5, 2), year = number(12, 4);
  const int hour = number(17, 2), minute = number(20, 2), second = number(23, 2);
  if (month == kMonths.end() || day < 1 || day > 31 || year < 1970 || hour < 0 || hour > 23 ||
      minute < 0 || minute > 59 || second < 0 || second > 60) {
    return std::nullopt;
  }
  // Days from the civil calendar: years begin in March, so that the leap day is the last.
  const std::int64_t m = month - kMonths.begin() + 1;
  const std::int64_t y = year - (m <= 2 ? 1 : 0);
  const std::int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const std::int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
  return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

std::optional<std::int64_t> seconds_text(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<RowsPage> parse_rows_page(std::string_view body, const PageRequest& request,
                                        PageFault& fault) {
  if (looks_like_html(body)) {
    fault = {"got a page of HTML, expected JSON; is there a proxy or a login in between?", true};
    return std::nullopt;
  }
  Json answer;
  try {
    answer = parse_json(body, "answer");
  } catch (const Error& e) {
    fault = {fmt::format("got no JSON: {}", printable(e.what())), true};
    return std::nullopt;
  }
  const auto rows = answer.is_object() ? answer.find("rows") : answer.end();
  if (!answer.is_object() || rows == answer.end() || !rows->is_array()) {
    fault = {"got JSON without an array 'rows'", true};
    return std::nullopt;
  }
  const auto total = whole_number(answer, "num_rows_total");
  if (!total || *total < 0) {
    fault = {"got no 'num_rows_total', expected the number of rows of the split", true};
    return std::nullopt;
  }
  if (const auto partial = answer.find("partial"); partial != answer.end() && *partial == true) {
    fault = {fmt::format("the service holds only a part of this split ({} rows)", *total), false};
    return std::nullopt;
  }
  if (static_cast<std::int64_t>(rows->size()) > request.length) {
    fault = {fmt::format("got {} rows, expected at most {}", rows->size(), request.length), true};
    return std::nullopt;
  }
  std::vector<IndexedRow> indexed;
  for (Json& element : *rows) {
    auto row = read_row(element, fault);
    if (!row) return std::nullopt;
    indexed.push_back(std::move(*row));
  }
  std::stable_sort(indexed.begin(), indexed.end(),
                   [](const IndexedRow& a, const IndexedRow& b) { return a.index < b.index; });
  const std::int64_t left = std::max<std::int64_t>(0, *total - request.offset);
  if (!check_order(indexed, request, std::min(request.length, left), fault)) return std::nullopt;
  RowsPage page{*total, {}};
  for (IndexedRow& row : indexed) page.rows.push_back(std::move(row.row));
  return page;
}

std::string service_message(std::string_view body) {
  if (looks_like_html(body)) return {};
  try {
    const Json answer = parse_json(body, "answer");
    if (!answer.is_object()) return {};
    const auto error = answer.find("error");
    if (error == answer.end() || !error->is_string()) return {};
    return printable(error->get<std::string>());
  } catch (const Error&) {
    return {};
  }
}

std::optional<std::int64_t> wait_asked(const HttpReply& reply) {
  const std::string_view after = reply.header("retry-after");
  if (const auto seconds = seconds_text(after)) return seconds;
  if (const auto until = http_date(after)) {
    // Against the service's clock, not this machine's, which may be wrong.
    if (const auto now = http_date(reply.header("date"))) {
      return std::max<std::int64_t>(0, *until - *now);
    }
  }
  const std::string_view limit = reply.header("ratelimit");
  for (std::size_t at = limit.find(';'); at != std::string_view::npos; at = limit.find(';', at)) {
    ++at;
    while (at < limit.size() && limit[at] == ' ') ++at;
    if (limit.substr(at).starts_with("t=")) {
      const std::size_t end = std::min(limit.find_first_of(";, ", at), limit.size());
      return seconds_text(limit.substr(at + 2, end - at - 2));
    }
  }
  return std::nullopt;
}

}  // namespace qx
