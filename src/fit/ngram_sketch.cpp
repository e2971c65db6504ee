// SPDX-License-Identifier: Apache-2.0
#include "fit/ngram_sketch.h"

#include <algorithm>
#include <iterator>

namespace qx {
namespace {

// FNV-1a, 64 bits (Fowler, Noll, Vo); its low bits are mixed in at the end by SplitMix64's finalizer,
// so that the smallest hashes are a fair sample.
constexpr std::uint64_t kFnvOffset = 0xCBF29CE484222325ull, kFnvPrime = 0x100000001B3ull;

std::uint64_t finalize(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

std::vector<std::uint64_t> word_hashes(std::string_view text) {
  std::vector<std::uint64_t> words;
  std::uint64_t hash = kFnvOffset;
  bool inside = false;
  for (const char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<unsigned char>(byte - 'A' + 'a');
    const bool in_word =
        (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte >= 0x80;
    if (in_word) {
      hash = (hash ^ byte) * kFnvPrime;
    } else if (inside) {
      words.push_back(hash);
      hash = kFnvOffset;
    }
    inside = in_word;
  }
  if (inside) words.push_back(hash);
  return words;
}

}  // namespace

std::vector<std::uint64_t> ngram_hashes(std::string_view text) {
  const std::vector<std::uint64_t> words = word_hashes(text);
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i + kNgramWords <= words.size(); ++i) {
    std::uint64_t hash = kFnvOffset;
    for (std::size_t k = 0; k < kNgramWords; ++k) hash = finalize(hash ^ words[i + k]) + k;
    out.push_back(hash);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void NgramSketch::add(std::string_view text, std::size_t most) {
  const std::vector<std::uint64_t> more = ngram_hashes(text);
  std::vector<std::uint64_t> all;
  std::set_union(hashes_.begin(), hashes_.end(), more.begin(), more.end(), std::back_inserter(all));
  if (all.size() > most) {
    all.resize(most);
    complete_ = false;
  }
  hashes_ = std::move(all);
}

NgramOverlap NgramSketch::overlap(std::string_view text) const {
  NgramOverlap out;
  for (const std::uint64_t hash : ngram_hashes(text)) {
    if (!complete_ && (hashes_.empty() || hash > hashes_.back())) break;
    ++out.ngrams;
    if (std::binary_search(hashes_.begin(), hashes_.end(), hash)) ++out.shared;
  }
  return out;
}

}  // namespace qx
