// What stdout is: how wide, and whether colours are welcome.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx::cli {

// Columns of the terminal; COLUMNS overrides it; of_pipes where stdout is no terminal.
int output_width(int of_pipes);

// On a terminal that is not dumb, unless NO_COLOR has a value (https://no-color.org).
bool colours_wanted();

}  // namespace qx::cli
