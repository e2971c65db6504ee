// SPDX-License-Identifier: Apache-2.0
#include "convert/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/progress.h"
#include "convert/row_blocks.h"
#include "convert/source.h"
#include "io/json.h"

namespace qx {
namespace {

constexpr Rounding kRoundings[] = {Rounding::kCpu, Rounding::kGpu};

struct Scratch {
  SourceScratch source;
  std::vector<std::byte> codes, scales, biases;
};

// What one block adds to its tensor's check.
struct BlockCheck {
  std::array<std::int64_t, 2> different{};
  std::array<std::int64_t, 2> first = {-1, -1};  // unit within the tensor
};

void note(BlockCheck& check, std::size_t rounding, std::int64_t unit) {
  ++check.different[rounding];
  if (check.first[rounding] < 0) check.first[rounding] = unit;
}

void compare_affine(const SourceTensor& made, RowRange rows, const std::byte* values,
                    const SourceModel& made_model, Scratch& scratch, BlockCheck& check) {
  const AffineSpec spec = *made.affine;
  const DType dtype = made.scales->dtype;
  const std::int64_t count = rows.end - rows.begin;
  const std::int64_t groups = groups_per_row(made.shape.cols, spec.group);
  const auto scale_bytes = static_cast<std::int64_t>(dtype_bytes(dtype));
  const std::int64_t code_bytes = spec.group / 8 * spec.bits;
  const auto stored = made_model.stored_rows(made, rows);  // codes, scales, biases
  scratch.codes.resize(stored[0].size());
  scratch.scales.resize(stored[1].size());
  scratch.biases.resize(stored[2].size());
  for (std::size_t r = 0; r < std::size(kRoundings); ++r) {
    const auto bad =
        encode_rows(dtype, values, {count, made.shape.cols}, spec, kRoundings[r],
                    {scratch.codes.data(), scratch.scales.data(), scratch.biases.data()});
    for (std::int64_t g = 0; g < count * groups; ++g) {
      const auto same = [&](std::size_t part, const std::vector<std::byte>& ours,
                            std::int64_t size) {
        return std::memcmp(stored[part].data() + g * size, ours.data() + g * size,
                           static_cast<std::size_t>(size)) == 0;
      };
      if (bad || !same(0, scratch.codes, code_bytes) || !same(1, scratch.scales, scale_bytes) ||
          !same(2, scratch.biases, scale_bytes)) {
        note(check, r, rows.begin * groups + g);
      }
    }
  }
}

void compare_floats(const SourceTensor& made, RowRange rows, const std::byte* values,
                    const SourceModel& made_model, BlockCheck& check) {
  const auto stored = made_model.stored_rows(made, rows);
  const auto size = static_cast<std::int64_t>(dtype_bytes(made.weight->dtype));
  const std::int64_t count = (rows.end - rows.begin) * made.shape.cols;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::memcmp(stored[0].data() + i * size, values + i * size,
                    static_cast<std::size_t>(size)) == 0) {
      continue;
    }
    for (std::size_t r = 0; r < 2; ++r) note(check, r, rows.begin * made.shape.cols + i);
  }
}

// Codes that were fitted follow from a calibration too, so encoding the source says nothing about them.
void refuse_fitted(const std::filesystem::path& directory) {
  const std::filesystem::path record = directory / "qx_plan.json";
  Json fit;
  try {
    if (std::filesystem::exists(record)) fit = json_member(read_json_file(record), "fit");
  } catch (const Error&) {
    return;  // a record that cannot be read is no part of the model
  }
  const Json& method = json_member(fit, "method");
  if (!method.is_string()) return;
  const Json& hash = json_member(json_member(fit, "calibration"), "sha256");
  fail(directory.string(),
       "got fitted codes ({}, calibration SHA-256 {}), expected min-max ones: they cannot be "
       "re-derived from the source alone; convert again with the same --fit and --calibration and "
       "compare with qx diff",
       method.get<std::string>(),
       hash.is_string() ? hash.get<std::string>().substr(0, 12) : "unknown");
}

TensorCheck describe(const SourceTensor& made) {
  TensorCheck check;
  check.name = made.name;
  check.affine = made.affine;
  check.dtype = made.affine ? made.scales->dtype : made.weight->dtype;
  check.units = made.shape.rows * (made.affine ? groups_per_row(made.shape.cols, made.affine->group)
                                               : made.shape.cols);
  return check;
}

std::string place_of(const SourceTensor& made, std::int64_t unit) {
  if (!made.affine) {
    return fmt::format("row {}, column {}", unit / made.shape.cols, unit % made.shape.cols);
  }
  const std::int64_t groups = groups_per_row(made.shape.cols, made.affine->group);
  return fmt::format("row {}, columns from {}", unit / groups, unit % groups * made.affine->group);
}

}  // namespace

bool Verification::is_exact(Rounding rounding) const {
  return std::all_of(tensors.begin(), tensors.end(),
                     [rounding](const TensorCheck& t) { return t.is_exact(rounding); });
}

Verification verify_directory(const std::filesystem::path& directory,
                              const std::filesystem::path& source, ThreadPool& pool, bool quiet) {
  refuse_fitted(directory);
  const SourceModel made(directory), original(source);
  require_same_tensors(made, original);
  const std::vector<RowBlock> blocks = row_blocks(made.tensors());
  std::vector<BlockCheck> checks(blocks.size());
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.threads()));
  Progress progress("verifying", blocks.size(), "blocks", quiet);
  for_each_block(pool, blocks, [&](std::size_t i, int worker) {
    const RowBlock& block = blocks[i];
    const SourceTensor& tensor = made.tensors()[block.tensor];
    Scratch& mine = scratch[static_cast<std::size_t>(worker)];
    const DType dtype = tensor.affine ? tensor.scales->dtype : tensor.weight->dtype;
    const std::byte* values =
        original.read_rows(original.tensors()[block.tensor], block.rows, dtype, mine.source);
    if (tensor.affine) {
      compare_affine(tensor, block.rows, values, made, mine, checks[i]);
    } else {
      compare_floats(tensor, block.rows, values, made, checks[i]);
    }
    progress.advance();
  });
  Verification result;
  for (const SourceTensor& tensor : made.tensors()) result.tensors.push_back(describe(tensor));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    TensorCheck& check = result.tensors[blocks[i].tensor];
    for (std::size_t r = 0; r < 2; ++r) {
      check.different[r] += checks[i].different[r];
      if (check.first[r].empty() && checks[i].first[r] >= 0) {
        check.first[r] = place_of(made.tensors()[blocks[i].tensor], checks[i].first[r]);
      }
    }
  }
  return result;
}

}  // namespace qx
