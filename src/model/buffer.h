// Scratch memory that is kept between calls. It is not a container: growing forgets the
// content.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "base/error.h"

namespace qx {

// Aligned to 64 bytes. Values are not initialized.
template <class T>
class Buffer {
 public:
  // At least `elems` elements; pointers from earlier calls end when it has to grow.
  T* reserve(std::int64_t elems) {
    QX_CHECK(elems >= 0);
    const auto wanted = static_cast<std::size_t>(elems);
    if (wanted > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_.reset(static_cast<T*>(::operator new(wanted * sizeof(T), kAlign)));
      capacity_ = wanted;
    }
    return data_.get();
  }
  std::size_t capacity() const { return capacity_; }  // elements
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlign); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t capacity_ = 0;
};
using FloatBuffer = Buffer<float>;
using ByteBuffer = Buffer<std::int8_t>;

}  // namespace qx
