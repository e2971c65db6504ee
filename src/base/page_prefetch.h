// Reads mapped files in the background, before somebody needs their pages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace qx {

// Starts to bring the ranges into memory in their order and returns at once. Two threads, so that a
// disk has more than one request; they end when all is read. A hint: what cannot be read is left to
// whoever touches it. Ranges: parts of memory mapped files, at any
// alignment, which must stay mapped until the destructor has returned; it stops reading at the next
// block of 8 MB.
class PagePrefetch {
 public:
  explicit PagePrefetch(std::vector<std::span<const std::byte>> ranges);
  ~PagePrefetch();
  PagePrefetch(const PagePrefetch&) = delete;
  PagePrefetch& operator=(const PagePrefetch&) = delete;

  void wait();  // until all is read

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace qx
