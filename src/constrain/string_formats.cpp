// SPDX-License-Identifier: Apache-2.0
#include "constrain/string_formats.h"

#include <array>
#include <utility>

namespace qx {
namespace {

// RFC 3339, from the year 1 on and without 29 February and leap seconds, so that every text is a day and time.
#define QX_YEAR "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
#define QX_DAY                                  \
  "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|" \
  "(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define QX_DATE QX_YEAR "-" QX_DAY
#define QX_TIME \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define QX_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
// RFC 1123: labels of letters, digits and inner hyphens.
#define QX_LABEL "[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?"
#define QX_HOST QX_LABEL "(\\." QX_LABEL "){0,4}"

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kFormats = {{
    {"date", "^" QX_DATE "$"},
    {"time", "^" QX_TIME "$"},
    {"date-time", "^" QX_DATE "T" QX_TIME "$"},
    {"duration", "^P([0-9]{1,4}W|[0-9]{1,4}D(T[0-9]{1,4}H)?|T[0-9]{1,4}H([0-9]{1,4}M)?)$"},
    {"email",
     "^[a-zA-Z0-9_%+-]{1,32}(\\.[a-zA-Z0-9_%+-]{1,31})?@" QX_LABEL "(\\." QX_LABEL "){1,3}$"},
    {"hostname", "^" QX_HOST "$"},
    {"ipv4", "^" QX_OCTET "(\\." QX_OCTET "){3}$"},
    {"ipv6", "^[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){7}$"},
    {"uuid", "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"},
}};

}  // namespace

std::string_view format_pattern(std::string_view format) {
  for (const auto& [name, pattern] : kFormats) {
    if (name == format) return pattern;
  }
  return {};
}

}  // namespace qx
