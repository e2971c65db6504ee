// Which runs of 13 words a text holds, as hashes: enough to tell later how much of another text was
// in it, without the text itself. 13 words as in Brown et al., arXiv 2005.14165, appendix C.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

constexpr std::size_t kNgramWords = 13;

// Words are runs of ASCII letters, in lower case, digits, and bytes above 127; all else divides them.
// Distinct hashes of all runs of kNgramWords of them, rising.
std::vector<std::uint64_t> ngram_hashes(std::string_view text);

struct NgramOverlap {
  std::size_t ngrams = 0, shared = 0;  // distinct ones that can be judged; those also in the sketch
};

// At most so many hashes are kept, the smallest; of a longer text that is a sample, and of another
// text only hashes up to the largest kept can be judged.
class NgramSketch {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 18;

  NgramSketch() = default;
  // hashes: rising, no two alike. complete: whether none was left out.
  NgramSketch(std::vector<std::uint64_t> hashes, bool complete)
      : hashes_(std::move(hashes)), complete_(complete) {}

  void add(std::string_view text, std::size_t most = kMost);
  const std::vector<std::uint64_t>& hashes() const { return hashes_; }
  bool complete() const { return complete_; }
  NgramOverlap overlap(std::string_view text) const;

 private:
  std::vector<std::uint64_t> hashes_;
  bool complete_ = true;
};

}  // namespace qx
