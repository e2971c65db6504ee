// String operations of Python 3 that the reference task definitions rely on, over UTF-8 text.
// Not a general Unicode library. Invalid UTF-8 never crashes: each stray byte counts as one
// character and is left as it is. Threads: pure functions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qx {

// True for the characters that str.isspace() calls white space (29 of them, NBSP and U+001C to
// U+001F included): what strip() removes.
bool python_is_space(char32_t c);

std::string_view python_lstrip(std::string_view text);
std::string_view python_rstrip(std::string_view text);
std::string_view python_strip(std::string_view text);

// len(text): Unicode code points.
std::int64_t python_len(std::string_view text);

// text.capitalize(): the first character in title case, all others in lower case, by the full
// mappings of Unicode (one character may become several) and the rule for the final sigma. Case of
// characters is that of the utf8proc library in use; characters newer than its Unicode version stay
// as they are.
std::string python_capitalize(std::string_view text);

// text.replace(from, to): left to right, not overlapping. from must not be empty.
std::string python_replace(std::string_view text, std::string_view from, std::string_view to);

}  // namespace qx
