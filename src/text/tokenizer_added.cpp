// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_added.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace qx {
namespace {

bool word_before(std::string_view text, std::size_t pos) {
  return pos > 0 && is_word_character(read_utf8(text, previous_utf8(text, pos)).code_point);
}

bool word_after(std::string_view text, std::size_t pos) {
  return pos < text.size() && is_word_character(read_utf8(text, pos).code_point);
}

std::size_t skip_space_back(std::string_view text, std::size_t pos, std::size_t limit) {
  while (pos > limit) {
    const std::size_t before = previous_utf8(text, pos);
    if (!is_white_space(read_utf8(text, before).code_point)) break;
    pos = before;
  }
  return pos;
}

std::size_t skip_space(std::string_view text, std::size_t pos) {
  while (pos < text.size()) {
    const Utf8Step step = read_utf8(text, pos);
    if (!is_white_space(step.code_point)) break;
    pos += static_cast<std::size_t>(step.length_bytes);
  }
  return pos;
}

}  // namespace

std::int32_t AddedTokenMatcher::child_of(std::int32_t node, char byte) const {
  std::int32_t at = nodes_[static_cast<std::size_t>(node)].child;
  while (at >= 0 && nodes_[static_cast<std::size_t>(at)].byte != byte) {
    at = nodes_[static_cast<std::size_t>(at)].sibling;
  }
  return at;
}

bool AddedTokenMatcher::add(std::string_view pattern, const AddedToken& token) {
  QX_CHECK(!pattern.empty() && pattern.size() <= kMaxAddedTokenBytes);
  starts_[static_cast<unsigned char>(pattern[0])] = true;
  std::int32_t node = 0;
  for (const char byte : pattern) {
    std::int32_t next = child_of(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      Node fresh;
      fresh.byte = byte;
      fresh.sibling = nodes_[static_cast<std::size_t>(node)].child;
      nodes_.push_back(fresh);
      nodes_[static_cast<std::size_t>(node)].child = next;
    }
    node = next;
  }
  Node& last = nodes_[static_cast<std::size_t>(node)];
  if (last.token != nullptr) return false;
  last.token = &token;
  return true;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<Part>& parts) const {
  std::size_t done = 0;  // where ordinary text that is not yet given out begins
  for (std::size_t pos = 0; pos < text.size();) {
    if (!starts_[static_cast<unsigned char>(text[pos])]) {
      ++pos;
      continue;
    }
    const AddedToken* token = nullptr;
    std::size_t match_end = pos;
    std::int32_t node = 0;
    for (std::size_t i = pos; i < text.size() && (node = child_of(node, text[i])) >= 0; ++i) {
      if (const AddedToken* t = nodes_[static_cast<std::size_t>(node)].token) {
        token = t;
        match_end = i + 1;
      }
    }
    if (token == nullptr) {
      ++pos;
      continue;
    }
    std::size_t begin = pos, end = match_end;
    pos = match_end;  // also after rstrip: a token may begin inside the space that another one took
    if (token->single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token->lstrip) begin = std::max(done, skip_space_back(text, begin, std::min(done, begin)));
    if (token->rstrip) end = skip_space(text, end);
    // Only spaces, and an earlier token's rstrip took them: as in the reference the token is lost. (Where
    // that took more than them, the reference fails; the token is lost here too.)
    if (begin > end) continue;
    if (done < begin) parts.push_back({done, begin, nullptr});
    if (begin < end) parts.push_back({begin, end, token});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), nullptr});
}

}  // namespace qx
