// For machines without a table of their own: plain C++, so only the read bandwidth means something.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "machine/probe.h"

namespace qx {
namespace {

std::uint64_t read_words(const std::byte* data, std::size_t bytes) {
  std::uint64_t sums[8] = {};
  for (std::size_t at = 0; at < bytes; at += sizeof sums) {
    std::uint64_t words[8];
    std::memcpy(words, data + at, sizeof words);
    for (int i = 0; i < 8; ++i) sums[i] ^= words[i];
  }
  for (int i = 1; i < 8; ++i) sums[0] ^= sums[i];
  return sums[0];
}

}  // namespace

constinit const ProbeTable kPortableProbes = {"portable", {}, {}, {}, read_words};

}  // namespace qx
