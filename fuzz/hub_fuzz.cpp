// Fuzzes what comes from the rows service and from pages kept on the disk: any bytes are either
// understood or refused with a text. The first byte chooses what they are read as.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "hub/page_store.h"
#include "hub/rows_page.h"
#include "hub/url.h"
#include "io/json.h"

namespace {

void read_rows(std::string_view text) {
  // An offset and a length that whole pages and last pages of the corpus have.
  for (const qx::PageRequest& request :
       {qx::PageRequest{"d", "c", "s", 0, 100}, qx::PageRequest{"d", "c", "s", 100, 3}}) {
    qx::PageFault fault;
    const auto page = qx::parse_rows_page(text, request, fault);
    QX_CHECK(page.has_value() != !fault.text.empty());
    QX_CHECK(qx::is_valid_utf8(fault.text));
    if (!page) continue;
    const std::int64_t left = std::max<std::int64_t>(0, page->total - request.offset);
    QX_CHECK(static_cast<std::int64_t>(page->rows.size()) == std::min(request.length, left));
    for (const qx::Json& row : page->rows) {
      // What is written is one line, and reads back as the same row.
      const std::string line = qx::dump_json(row, -1, false, false);
      QX_CHECK(line.find('\n') == std::string::npos);
      QX_CHECK(qx::dump_json(qx::parse_json(line, "row"), -1, false, false) == line);
    }
  }
  const std::string message = qx::service_message(text);
  QX_CHECK(message.size() <= 202 && qx::is_valid_utf8(message));
}

void read_headers(std::string_view text) {
  qx::HttpReply reply;
  const std::size_t cut = std::min(text.find('\n'), text.size());
  const std::string_view second = text.substr(std::min(cut + 1, text.size()));
  reply.headers = {{"retry-after", std::string(text.substr(0, cut))},
                   {"date", std::string(second)},
                   {"ratelimit", std::string(second)}};
  const auto wait = qx::wait_asked(reply);
  QX_CHECK(!wait || *wait >= 0);
}

void read_address(std::string_view text) {
  try {
    const qx::Url from = qx::parse_url("https://hub.example/a/b?c", "fuzz");
    const qx::Url url = qx::resolve_location(from, text, "fuzz");
    QX_CHECK(!url.host.empty() && url.port >= 1 && url.port <= 65535);
    QX_CHECK(url.target.starts_with('/'));
    QX_CHECK(url.text().find_first_of("\r\n ") == std::string::npos);
    // The address that is shown leads to the same place.
    const qx::Url again = qx::parse_url(url.text(), "fuzz");
    QX_CHECK(again.same_origin(url) && again.target == url.target);
  } catch (const qx::Error& e) {
    QX_CHECK(qx::is_valid_utf8(e.what()));
  }
}

void read_page_file(std::string_view text) {
  const auto page = qx::parse_page_file(text);
  if (!page) return;
  const auto again = qx::parse_page_file(qx::page_file_text(*page));
  QX_CHECK(again && again->text == page->text && again->origin == page->origin);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      read_rows(text);
      break;
    case 1:
      read_headers(text);
      break;
    case 2:
      read_address(text);
      break;
    default:
      read_page_file(text);
      break;
  }
  return 0;
}
