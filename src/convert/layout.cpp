// SPDX-License-Identifier: Apache-2.0
#include "convert/layout.h"

#include "base/error.h"

namespace qx {
namespace {

struct Array {
  std::string name;
  DType dtype;
  Shape shape;
};

std::vector<Array> arrays_of(const PlanRow& row) {
  const CatalogTensor& t = row.tensor;
  if (!row.affine) return {{t.name, row.dtype, t.shape}};
  QX_CHECK(t.shape.size() == 2);
  const std::int64_t rows = t.shape[0], cols = t.shape[1];
  const Shape groups = {rows, groups_per_row(cols, row.affine->group)};
  return {{t.name, DType::kU32, {rows, code_bytes_per_row(cols, row.affine->bits) / 4}},
          {t.module + ".scales", row.dtype, groups},
          {t.module + ".biases", row.dtype, groups}};
}

}  // namespace

Layout make_layout(const Plan& plan, std::int64_t max_shard_bytes) {
  Layout layout;
  for (const PlanRow& row : plan.rows) {
    const Shape& shape = row.tensor.shape;
    OutputTensor out;
    out.shape = shape.size() == 2 ? MatrixShape{shape[0], shape[1]} : MatrixShape{1, shape.at(0)};
    for (Array& array : arrays_of(row)) {
      const auto count = element_count(array.shape);
      QX_CHECK(count.has_value() && out.shape.rows > 0);
      const std::int64_t bytes = *count * static_cast<std::int64_t>(dtype_bytes(array.dtype));
      if (layout.shards.empty() || layout.shard_bytes.back() + bytes > max_shard_bytes) {
        layout.shards.emplace_back();
        layout.shard_bytes.push_back(0);
      }
      out.arrays.push_back({array.name, bytes / out.shape.rows, layout.shards.size() - 1,
                            layout.shards.back().size()});
      layout.shards.back().push_back({std::move(array.name), array.dtype, std::move(array.shape)});
      layout.shard_bytes.back() += bytes;
      layout.total_bytes += bytes;
    }
    layout.tensors.push_back(std::move(out));
  }
  const std::size_t n = layout.shards.size();
  for (std::size_t i = 0; i < n; ++i) {
    layout.shard_names.push_back(
        n == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, n));
  }
  return layout;
}

}  // namespace qx
