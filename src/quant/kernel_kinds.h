// What the kernels call the float types of stored values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "kernels/api.h"
#include "tensor/dtype.h"

namespace qx {

// Of scales and biases. dtype: F32, F16 or BF16.
inline ScaleKind scale_kind_of(DType dtype) {
  QX_CHECK(is_float_dtype(dtype));
  if (dtype == DType::kF32) return ScaleKind::kF32;
  return dtype == DType::kF16 ? ScaleKind::kF16 : ScaleKind::kBF16;
}

// Of weights that are not coded. dtype: as above.
inline WeightKind weight_kind_of(DType dtype) {
  QX_CHECK(is_float_dtype(dtype));
  if (dtype == DType::kF32) return WeightKind::kF32;
  return dtype == DType::kF16 ? WeightKind::kF16 : WeightKind::kBF16;
}

}  // namespace qx
