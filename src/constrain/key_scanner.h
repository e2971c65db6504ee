// Follows the keys of open objects in a JSON text that is well formed so far: a grammar cannot say that no key
// comes twice where a schema leaves keys open.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

class KeyScanner {
 public:
  // Whether the bytes end a key that its object has already.
  bool repeats_key(std::string_view bytes) const;
  void take(std::string_view bytes);

 private:
  using Keys = std::set<std::string, std::less<>>;
  struct Level {
    bool object = false;
    bool expects_key = false;
    std::shared_ptr<const Keys> keys;     // null: none yet
    std::vector<std::string> added = {};  // further ones, within one call
    bool has(std::string_view key) const;
  };
  class Reader;
  std::vector<Level> levels_;
  bool in_string_ = false, escaped_ = false, in_key_ = false;
  std::string key_;  // what there is of the key that is being read, as it is spelled
};

}  // namespace qx
