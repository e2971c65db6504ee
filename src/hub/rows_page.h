// What the rows service of the Hub's dataset viewer answers, read and checked.
// Source of the shapes: huggingface.co/docs/dataset-viewer (rows), and services/rows and
// libs/libapi (headers X-Revision and X-Error-Code, error bodies) of huggingface/dataset-viewer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/http.h"
#include "io/json.h"

namespace qx {

constexpr std::int64_t kRowsPerPage = 100;  // the service's own limit

// Which page of which split.
struct PageRequest {
  std::string dataset, config, split;
  std::int64_t offset = 0, length = kRowsPerPage;
};

struct RowsPage {
  std::int64_t total = 0;  // rows of the whole split
  std::vector<Json> rows;  // [offset, offset + rows.size()), in order
};

// An answer that cannot be used. `again`: another try may help (a page cut short, HTML of a proxy);
// else the service says so itself (a part of the split only, cells cut off).
struct PageFault {
  std::string text;
  bool again = false;
};

// Reads a body of status 200. Rows may come in any order, but must be those asked for: each once,
// none missing, as many as there are up to `length`. Returns the page, or sets the fault.
// Never throws for any text.
std::optional<RowsPage> parse_rows_page(std::string_view body, const PageRequest& request,
                                        PageFault& fault);

// The service's own words in a body {"error": ".."}, printable and short; else "".
std::string service_message(std::string_view body);

// Seconds that an answer asks to wait: Retry-After in seconds, or as a date after the answer's own
// Date; else t of "RateLimit: ..;r=0;t=55" (draft-ietf-httpapi-ratelimit-headers-09, as the Hub
// sends it). Nullopt when it does not say, or not in a way that can be read.
std::optional<std::int64_t> wait_asked(const HttpReply& reply);

}  // namespace qx
