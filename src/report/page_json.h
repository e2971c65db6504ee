// The data of a report page as JSON: what page/page.js reads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/json.h"
#include "report/page.h"

namespace qx {

// Numbers that are not finite become null, except the values of choices, where -infinity (a choice
// whose context was cut away) becomes the string "-inf".
Json page_json(const ReportPage& page);

}  // namespace qx
