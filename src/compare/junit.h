// The results of gates as JUnit XML, which CI servers show beside unit tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compare/gate.h"

namespace qx {

// One <testsuite> with a <testcase> for each gate and variant; a <failure> where it did not hold.
// Well-formed XML 1.0 in UTF-8 for any names. Times and hosts are left out: the same results give
// the same bytes.
std::string junit_xml(const std::vector<GateResult>& results, std::string_view baseline);

// For content and for attributes in quotes: control characters and bytes that are no UTF-8 become
// visible escapes, the five special characters entities.
std::string escape_xml(std::string_view text);

}  // namespace qx
