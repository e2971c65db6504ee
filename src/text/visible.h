// Text of models and data made fit for a terminal: nothing in it can move the cursor, change colours, hide or
// reorder what is seen.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace qx {

enum class Blanks {
  kPlain,    // a space is a space; line feeds stay and are marked, as are spaces before them
  kVisible,  // all on one line: every space and line feed is a mark
  kEdges,    // all on one line: line feeds are marks, and spaces but single ones between words
};

// Control and format characters (C0, DEL, C1, bidirectional and zero-width ones), separators other than the
// space, and bytes that are not UTF-8 become escapes: \t \r \x1b \u{202e}; a backslash stays as it is. A line
// feed is marked with U+21B5, and a space that must be seen with U+2423. Output is valid UTF-8.
std::string visible_text(std::string_view text, Blanks blanks);

// For messages: as visible_text, but line feeds and spaces are left alone.
std::string without_controls(std::string_view text);

// Columns on a terminal, by utf8proc's table. text: as visible_text gives it, one line.
int display_width(std::string_view text);

// The longest beginning of at most so many columns; all of it when it fits, else it ends in U+2026. width >= 1.
std::string cut_to_width(std::string_view text, int width);

// Breaks each line so that it is at most `width` columns wide, between words where that is possible, and puts
// `indent` before each. Blanks at a break or at the end of a line are left out. Ends in a line feed unless the text is empty.
std::string wrap_text(std::string_view text, int width, std::string_view indent);

}  // namespace qx
