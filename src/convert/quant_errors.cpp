// SPDX-License-Identifier: Apache-2.0
#include "convert/quant_errors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/progress.h"
#include "convert/row_blocks.h"
#include "convert/source.h"

namespace qx {
namespace {

struct Scratch {
  SourceScratch made, source;
  std::vector<float> scales, biases;
};

struct BlockSums {
  double squared_error = 0, squared_weight = 0, largest = 0;
  std::int64_t clipped = 0, flat = 0;
  bool finite = true;
};

void add_group(const float* made, const float* source, float scale, float bias,
               const AffineSpec& spec, BlockSums& sums) {
  const float end = bias + scale * static_cast<float>((1 << spec.bits) - 1);
  const float low = std::min(bias, end), high = std::max(bias, end);
  const float half_step = std::fabs(scale) / 2;
  const auto outside = [&](float w) { return w < low - half_step || w > high + half_step; };
  sums.clipped += std::any_of(source, source + spec.group, outside) ? 1 : 0;
  sums.flat += std::all_of(made, made + spec.group, [&](float w) { return w == made[0]; }) ? 1 : 0;
}

BlockSums measure_block(const SourceTensor& tensor, const RowRange& rows, const float* made,
                        const float* source, const SourceModel& made_model, Scratch& scratch) {
  BlockSums sums;
  const std::int64_t count = (rows.end - rows.begin) * tensor.shape.cols;
  for (std::int64_t i = 0; i < count; ++i) {
    const double w = static_cast<double>(source[i]);
    const double e = w - static_cast<double>(made[i]);
    sums.squared_weight += w * w;
    sums.squared_error += e * e;
    sums.largest = std::max(sums.largest, std::fabs(e));
  }
  sums.finite = std::isfinite(sums.squared_error) && std::isfinite(sums.squared_weight);
  if (!tensor.affine) return sums;
  const auto stored = made_model.stored_rows(tensor, rows);
  const std::int64_t groups = count / tensor.affine->group;
  scratch.scales.resize(static_cast<std::size_t>(groups));
  scratch.biases.resize(static_cast<std::size_t>(groups));
  load_floats(tensor.scales->dtype, stored[1].data(), 0, scratch.scales);
  load_floats(tensor.scales->dtype, stored[2].data(), 0, scratch.biases);
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t at = g * tensor.affine->group;
    add_group(made + at, source + at, scratch.scales[static_cast<std::size_t>(g)],
              scratch.biases[static_cast<std::size_t>(g)], *tensor.affine, sums);
  }
  return sums;
}

TensorError finish(const SourceTensor& tensor, const BlockSums& sums) {
  TensorError error;
  error.name = tensor.name;
  error.affine = tensor.affine;
  error.weights = tensor.shape.rows * tensor.shape.cols;
  error.rms = std::sqrt(sums.squared_error / static_cast<double>(error.weights));
  error.largest = sums.largest;
  error.sqnr_db = sums.squared_error > 0 ? 10 * std::log10(sums.squared_weight / sums.squared_error)
                                         : std::numeric_limits<double>::infinity();
  error.groups = tensor.affine ? error.weights / tensor.affine->group : 0;
  error.clipped_groups = sums.clipped;
  error.flat_groups = sums.flat;
  return error;
}

}  // namespace

std::vector<TensorError> measure_errors(const std::filesystem::path& directory,
                                        const std::filesystem::path& source, ThreadPool& pool,
                                        bool quiet) {
  const SourceModel made(directory), original(source);
  const std::string place = directory.string();
  require_same_tensors(made, original);
  const std::vector<RowBlock> blocks = row_blocks(made.tensors());
  std::vector<BlockSums> parts(blocks.size());
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.threads()));
  Progress progress("measuring errors", blocks.size(), "blocks", quiet);
  for_each_block(pool, blocks, [&](std::size_t i, int worker) {
    const std::size_t t = blocks[i].tensor;
    const RowRange rows = blocks[i].rows;
    Scratch& mine = scratch[static_cast<std::size_t>(worker)];
    const SourceTensor &tensor = made.tensors()[t], &source_tensor = original.tensors()[t];
    const std::vector<float> a = decoded_rows(made, tensor, rows, mine.made);
    const std::vector<float> b = decoded_rows(original, source_tensor, rows, mine.source);
    parts[i] = measure_block(tensor, rows, a.data(), b.data(), made, mine);
    if (!parts[i].finite) fail(place, "tensor '{}': got a NaN or an infinity", tensor.name);
    progress.advance();
  });
  std::vector<BlockSums> sums(made.tensors().size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    BlockSums& sum = sums[blocks[i].tensor];
    sum.squared_error += parts[i].squared_error;
    sum.squared_weight += parts[i].squared_weight;
    sum.largest = std::max(sum.largest, parts[i].largest);
    sum.clipped += parts[i].clipped;
    sum.flat += parts[i].flat;
  }
  std::vector<TensorError> errors;
  for (std::size_t t = 0; t < sums.size(); ++t)
    errors.push_back(finish(made.tensors()[t], sums[t]));
  return errors;
}

}  // namespace qx
