// SPDX-License-Identifier: Apache-2.0
#include "base/byte_size.h"

#include <cmath>
#include <string>

#include "base/error.h"
#include "base/parse_double.h"

namespace qx {

std::int64_t parse_bytes(std::string_view text, std::string_view option) {
  const std::size_t digits = decimal_length(text);
  const double number = parse_double(text.substr(0, digits)).value_or(0);
  std::string unit(text.substr(digits));
  while (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  double factor = 0;
  constexpr std::string_view kPrefixes = "kMGT";
  for (std::size_t i = 0; i < kPrefixes.size(); ++i) {
    const char letter = kPrefixes[i];
    const std::string prefix(1, letter == 'k' && unit.starts_with('K') ? 'K' : letter);
    if (unit == prefix + "B" || unit == prefix)
      factor = std::pow(1000.0, static_cast<double>(i + 1));
    if (unit == prefix + "iB" || unit == prefix + "i") {
      factor = std::pow(1024.0, static_cast<double>(i + 1));
    }
  }
  if (unit == "B") factor = 1;
  const double bytes = number * factor;
  if (!(bytes >= 1) || bytes > 9e18) {
    throw UsageError(
        fmt::format("{}: got '{}', expected a size such as 16GB, 16GiB or 8000MB", option, text));
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace qx
