// NumPy arrays over memory of ours, which they own: nothing is copied.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace qx::python {

template <typename T>
using Column = nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>, nanobind::c_contig>;
using FloatVector = Column<float>;
using FloatMatrix =
    nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<2>, nanobind::c_contig>;

// A matrix to be filled without the GIL. Its values are not set at the start.
template <typename T>
class OwnedArray {
 public:
  OwnedArray(std::size_t rows, std::size_t columns)
      : rows_(rows), columns_(columns), values_(new T[rows * columns]) {}
  T* data() { return values_.get(); }
  // Needs the GIL.
  nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<2>, nanobind::c_contig> as_matrix() && {
    T* data = values_.get();
    nanobind::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    values_.release();
    return {data, {rows_, columns_}, owner};
  }

 private:
  std::size_t rows_, columns_;
  std::unique_ptr<T[]> values_;
};

// Needs the GIL. Stored is how the vector holds an element, T what NumPy sees in the same byte(s).
template <typename T, typename Stored>
Column<T> owned_column_as(std::vector<Stored> values) {
  static_assert(sizeof(T) == sizeof(Stored));
  auto held = std::make_unique<std::vector<Stored>>(std::move(values));
  auto* data = reinterpret_cast<T*>(held->data());
  const std::size_t size = held->size();
  nanobind::capsule owner(held.get(),
                          [](void* p) noexcept { delete static_cast<std::vector<Stored>*>(p); });
  held.release();
  return {data, {size}, owner};
}

template <typename T>
Column<T> owned_column(std::vector<T> values) {
  return owned_column_as<T, T>(std::move(values));
}

// values: 0 or 1.
inline Column<bool> owned_bools(std::vector<std::uint8_t> values) {
  return owned_column_as<bool, std::uint8_t>(std::move(values));
}

}  // namespace qx::python
