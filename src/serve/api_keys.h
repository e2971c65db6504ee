// The keys that clients of the server may show.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

class ApiKeys {
 public:
  ApiKeys() = default;  // none: everybody may
  // One key a line; empty lines and those that begin with '#' are left out, white space around keys
  // too. Fails: Error for a file that cannot be read, is larger than 1 MB, holds no key, one of less
  // than 8 characters, or one that is not printable ASCII.
  static ApiKeys load(const std::filesystem::path& file);
  static ApiKeys parse(std::string_view text, std::string_view place);

  bool empty() const { return hashes_.empty(); }
  // Of "Bearer KEY". Takes the same time wherever a wrong key differs: hashes are compared, all of
  // them to their ends.
  bool accepts(std::string_view authorization) const;

 private:
  std::vector<std::string> hashes_;  // SHA-256
};

}  // namespace qx
