// Files that have no place in a public repository: leftovers of editors and systems, unfinished
// files, secrets.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace qx {

// By its path within the directory ('/' between parts): why it should not go up; nothing when
// nothing is known against it.
std::optional<std::string> unwanted_path(std::string_view path);

// By its content: the kind of secret that it seems to hold ("a Hugging Face token"); never the
// secret itself.
std::optional<std::string> secret_in(std::string_view text);

}  // namespace qx
