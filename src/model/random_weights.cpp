// SPDX-License-Identifier: Apache-2.0
#include "model/random_weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "quant/affine.h"
#include "quant/kernel_kinds.h"

namespace qx {
namespace {

// One tensor of the plan and where its arrays begin. A vector counts as one row.
struct Target {
  const PlanRow* row;
  std::int64_t rows, cols;
  std::byte *values, *scales, *biases;  // scales and biases: affine only
};

std::shared_ptr<std::byte> take_memory(std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (memory == MAP_FAILED) {
    fail("memory", "got none, expected {:.2f} GB for the weights",
         static_cast<double>(bytes) * 1e-9);
  }
#if defined(MADV_NOHUGEPAGE)
  // As small as the pages of mapped files, so that speeds are comparable.
  ::madvise(memory, size, MADV_NOHUGEPAGE);
#endif
  return {static_cast<std::byte*>(memory), [size](std::byte* p) { ::munmap(p, size); }};
}

std::vector<Target> lay_out(const Plan& plan, std::byte* memory) {
  std::vector<Target> targets;
  std::byte* at = memory;
  for (const PlanRow& row : plan.rows) {
    const Shape& shape = row.tensor.shape;
    const bool matrix = shape.size() == 2;
    Target t{&row, matrix ? shape[0] : 1, shape.back(), at, nullptr, nullptr};
    if (row.affine) {
      const std::int64_t scale_bytes = t.rows * groups_per_row(t.cols, row.affine->group) *
                                       static_cast<std::int64_t>(dtype_bytes(row.dtype));
      t.scales = at + t.rows * code_bytes_per_row(t.cols, row.affine->bits);
      t.biases = t.scales + scale_bytes;
    }
    targets.push_back(t);
    at += row.bytes;
  }
  QX_CHECK(at == memory + plan.tensor_bytes);
  return targets;
}

// Each row has random numbers of its own, so that it does not matter who fills it.
Random row_random(std::uint64_t seed, std::size_t tensor, std::int64_t row) {
  Random mix(seed ^ (static_cast<std::uint64_t>(tensor) << 36));
  return Random(mix.next() + static_cast<std::uint64_t>(row) * 0xD1342543DE82EF95ull);
}

void fill_bytes(std::byte* out, std::int64_t bytes, Random& random) {
  std::int64_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(out + i, &word, 8);
  }
  const std::uint64_t word = random.next();
  std::memcpy(out + i, &word, static_cast<std::size_t>(bytes - i));
}

void fill_affine_row(const Target& t, std::int64_t row, Random& random,
                     std::vector<float>& floats) {
  const AffineSpec spec = *t.row->affine;
  const std::int64_t code_bytes = code_bytes_per_row(t.cols, spec.bits);
  fill_bytes(t.values + row * code_bytes, code_bytes, random);

  // Codes 0 .. n uniform have a variance of n (n + 2) / 12.
  const double n = static_cast<double>((1 << spec.bits) - 1);
  const double scale = std::sqrt(12.0 / (n * (n + 2) * static_cast<double>(t.cols)));
  const std::int64_t groups = groups_per_row(t.cols, spec.group);
  const auto stride = groups * static_cast<std::int64_t>(dtype_bytes(t.row->dtype));
  floats.resize(static_cast<std::size_t>(groups));
  for (float& f : floats) f = static_cast<float>(scale * (0.75 + 0.5 * random.uniform()));
  store_floats(t.row->dtype, floats, t.scales + row * stride);
  // The bias of the scale as stored, so that the values lie evenly about zero.
  load_floats(t.row->dtype, t.scales + row * stride, 0, floats);
  for (float& f : floats) f *= static_cast<float>(-0.5 * n);
  store_floats(t.row->dtype, floats, t.biases + row * stride);
}

void fill_float_row(const Target& t, std::int64_t row, Random& random, std::vector<float>& floats) {
  const Role role = t.row->tensor.role;
  const bool vector = role == Role::kNorm || role == Role::kBias;
  const double middle = role == Role::kNorm ? 1.0 : 0.0;
  const auto reach =
      static_cast<float>(vector ? 0.1 : std::sqrt(3.0 / static_cast<double>(t.cols)));
  floats.resize(static_cast<std::size_t>(t.cols));
  for (float& f : floats) {
    const auto signed_bits = static_cast<std::int32_t>(random.next() >> 32);
    f = static_cast<float>(middle) + reach * (static_cast<float>(signed_bits) * 0x1p-31f);
  }
  const auto bytes = t.cols * static_cast<std::int64_t>(dtype_bytes(t.row->dtype));
  store_floats(t.row->dtype, floats, t.values + row * bytes);
}

void fill(const std::vector<Target>& targets, const Plan& plan, const RandomWeights& options,
          ThreadPool& pool) {
  struct Piece {
    std::size_t tensor;
    std::int64_t begin, end;  // rows
  };
  constexpr std::int64_t kPieceBytes = 1 << 20;
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Target& t = targets[i];
    const std::int64_t step = std::max<std::int64_t>(1, kPieceBytes * t.rows / t.row->bytes);
    for (std::int64_t r = 0; r < t.rows; r += step) {
      pieces.push_back({i, r, std::min(t.rows, r + step)});
    }
  }
  Progress progress("making weights", static_cast<std::uint64_t>(plan.tensor_bytes >> 10), "kB",
                    options.quiet);
  pool.parallel_for(pieces.size(), 1, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> floats;
    for (std::size_t p = begin; p < end; ++p) {
      check_interrupt();
      const Piece& piece = pieces[p];
      const Target& t = targets[piece.tensor];
      for (std::int64_t r = piece.begin; r < piece.end; ++r) {
        Random random = row_random(options.seed, piece.tensor, r);
        t.row->affine ? fill_affine_row(t, r, random, floats)
                      : fill_float_row(t, r, random, floats);
      }
      progress.advance(
          static_cast<std::uint64_t>(t.row->bytes * (piece.end - piece.begin) / t.rows) >> 10);
    }
  });
}

WeightRows matrix_rows(const Target& t) {
  const DType dtype = t.row->dtype;
  WeightRows rows;
  rows.rows = t.rows;
  rows.cols = t.cols;
  rows.values = t.values;
  if (t.row->affine) {
    rows.kind = WeightKind::kAffine;
    rows.scale_kind = scale_kind_of(dtype);
    rows.bits = t.row->affine->bits;
    rows.group = t.row->affine->group;
    rows.scales = t.scales;
    rows.biases = t.biases;
  } else {
    rows.kind = weight_kind_of(dtype);
  }
  return rows;
}

}  // namespace

std::unique_ptr<ModelWeights> random_weights(const ModelConfig& config, const Plan& plan,
                                             const RandomWeights& options, ThreadPool& pool) {
  const std::shared_ptr<std::byte> memory = take_memory(plan.tensor_bytes);
  const std::vector<Target> targets = lay_out(plan, memory.get());
  fill(targets, plan, options, pool);

  auto weights = std::make_unique<ModelWeights>();
  weights->place = "random weights";
  weights->config = config;
  weights->memory = memory;
  weights->layers.resize(static_cast<std::size_t>(config.num_hidden_layers));
  for (const Target& t : targets) {
    const CatalogTensor& tensor = t.row->tensor;
    if (tensor.role != Role::kNorm && tensor.role != Role::kBias) {
      linear_place(*weights, tensor).rows = matrix_rows(t);
      continue;
    }
    std::vector<float> values(static_cast<std::size_t>(t.cols));
    load_floats(t.row->dtype, t.values, 0, values);
    (tensor.role == Role::kNorm ? norm_place(*weights, tensor)
                                : linear_place(*weights, tensor).bias) = std::move(values);
  }
  if (config.tie_word_embeddings) weights->head = weights->embedding;
  return weights;
}

}  // namespace qx
