// Finds added tokens in a text: <|im_start|> and the like, before and after normalization.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false, single_word = false, lstrip = false, rstrip = false, normalized = false;
  bool operator==(const AddedToken&) const = default;
};

constexpr std::size_t kMaxAddedTokenBytes = 1024;

// Matches leftmost first, then longest. Threads: const is shared.
class AddedTokenMatcher {
 public:
  struct Part {
    std::size_t begin, end;
    const AddedToken* token;  // null: ordinary text
  };

  // pattern: the text to look for, not empty and at most kMaxAddedTokenBytes. The token must outlive the
  // matcher. False: a token has this pattern already.
  bool add(std::string_view pattern, const AddedToken& token);
  bool empty() const { return nodes_.size() == 1; }
  // Cuts the text, valid UTF-8, into ordinary parts and tokens. Time: text times the longest pattern.
  void split(std::string_view text, std::vector<Part>& parts) const;

 private:
  struct Node {
    const AddedToken* token = nullptr;
    std::int32_t child = -1, sibling = -1;
    char byte = 0;
  };
  std::int32_t child_of(std::int32_t node, char byte) const;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool starts_[256] = {};
};

}  // namespace qx
