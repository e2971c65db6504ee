// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qx {

// The time now in UTC: "2026-01-31T12:00:00Z".
std::string utc_now();

}  // namespace qx
