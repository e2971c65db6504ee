// What the kernel tests share: buffers that end where memory ends, and comparison of bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"
#include "kernels/api.h"
#if defined(QX_EMULATED_TABLES)
#include "kernels/emulated/tables.h"
#endif

namespace qx {

// `count` elements of T whose last byte is the last before a page that may not be touched, with
// sentinels in front. Reading or writing past the end is a segmentation fault.
template <class T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::size_t count) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = count * sizeof(T);
    mapped_ = (bytes + kFront + page - 1) / page * page + page;
    void* base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(base);
    std::byte* end = base_ + mapped_ - page;
    if (mprotect(end, page, PROT_NONE) != 0) throw std::bad_alloc();
    std::fill(base_, end, kSentinel);
    data_ = reinterpret_cast<T*>(end - bytes);
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        mapped_(other.mapped_),
        data_(other.data_),
        count_(other.count_) {}
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;
  ~GuardedBuffer() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) { return data_[i]; }
  std::span<T> span() { return {data_, count_}; }
  std::span<const T> span() const { return {data_, count_}; }
  // Nothing was written in front of the data.
  bool front_intact() const {
    const auto* bytes = reinterpret_cast<const std::byte*>(data_);
    return std::all_of(bytes - kFront, bytes, [](std::byte b) { return b == kSentinel; });
  }

 private:
  static constexpr std::size_t kFront = 64;
  static constexpr std::byte kSentinel{0xA5};
  std::byte* base_ = nullptr;
  std::size_t mapped_ = 0;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

using Floats = GuardedBuffer<float>;

inline Floats guarded(std::span<const float> values) {
  Floats buffer(values.size());
  std::copy(values.begin(), values.end(), buffer.data());
  return buffer;
}

inline std::vector<float> gaussians(Random& random, std::int64_t n, double scale = 1.0) {
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(scale * random.gaussian());
  return values;
}

// Equal bits; NaN equals NaN.
inline bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

inline ::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i])) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// The tables that this machine can run, "scalar" first.
inline std::span<const KernelTable* const> all_tables() {
  const KernelTables& available = available_kernels();
  return {available.tables, static_cast<std::size_t>(available.count)};
}

// Those and, for their integer kernels, the emulated ones.
inline std::span<const KernelTable* const> integer_tables() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> list(all_tables().begin(), all_tables().end());
#if defined(QX_EMULATED_TABLES)
    for (const KernelTable* table : emulated_tables()) list.push_back(table);
#endif
    return list;
  }();
  return tables;
}

constexpr double kUnitRoundoff = 0x1p-24;

// Bound on the error of a dot product over n in the order of api.h: ceil(n / 16) fused
// multiply-adds and four additions touch each product, each with a relative error of at most one
// unit roundoff (Higham, "Accuracy and Stability of Numerical Algorithms", section 4.2); one more
// for the second order and subnormal products.
inline double dot_tolerance(std::int64_t n, double magnitude) {
  return static_cast<double>((n + 15) / 16 + 5) * kUnitRoundoff * magnitude +
         static_cast<double>(n) * 0x1p-149;
}

// The same for one chain of n fused multiply-adds or other operations.
inline double chain_tolerance(std::int64_t n, double magnitude) {
  return static_cast<double>(n + 1) * kUnitRoundoff * magnitude + static_cast<double>(n) * 0x1p-149;
}

constexpr std::int64_t kSizes[] = {1,  2,  7,  8,  9,  15,  16,  17,  24,  31,   32,   33,  47,
                                   48, 49, 63, 64, 65, 100, 127, 128, 129, 1000, 1024, 1029};

}  // namespace qx
