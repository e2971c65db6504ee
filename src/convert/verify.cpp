// SPDX-License-Identifier: Apache-2.0
#include "convert/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "convert/fitting.h"
#include "convert/row_blocks.h"
#include "convert/source.h"
#include "io/json.h"

namespace qx {
namespace {

constexpr Rounding kRoundings[] = {Rounding::kCpu, Rounding::kGpu};

struct Scratch {
  SourceScratch source;
  std::vector<std::byte> codes, scales, biases;
  std::vector<float> rows;
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

// Codes, scales and biases as scratch has them, group by group.
void compare_encoded(const SourceTensor& made, RowRange rows, const SourceModel& made_model,
                     const Scratch& scratch, bool bad, std::size_t rounding, BlockCheck& check) {
  const AffineSpec spec = *made.affine;
  const std::int64_t groups = groups_per_row(made.shape.cols, spec.group);
  const auto scale_bytes = static_cast<std::int64_t>(dtype_bytes(made.scales->dtype));
  const std::int64_t code_bytes = spec.group / 8 * spec.bits;
  const auto stored = made_model.stored_rows(made, rows);  // codes, scales, biases
  for (std::int64_t g = 0; g < (rows.end - rows.begin) * groups; ++g) {
    const auto same = [&](std::size_t part, const std::vector<std::byte>& ours, std::int64_t size) {
      return std::memcmp(stored[part].data() + g * size, ours.data() + g * size,
                         static_cast<std::size_t>(size)) == 0;
    };
    if (bad || !same(0, scratch.codes, code_bytes) || !same(1, scratch.scales, scale_bytes) ||
        !same(2, scratch.biases, scale_bytes)) {
      note(check, rounding, rows.begin * groups + g);
    }
  }
}

AffineOut sized_output(const SourceTensor& made, std::int64_t rows, Scratch& scratch) {
  const std::int64_t groups = groups_per_row(made.shape.cols, made.affine->group);
  const auto scales = static_cast<std::size_t>(rows * groups) * dtype_bytes(made.scales->dtype);
  scratch.codes.resize(
      static_cast<std::size_t>(rows * code_bytes_per_row(made.shape.cols, made.affine->bits)));
  scratch.scales.resize(scales);
  scratch.biases.resize(scales);
  return {scratch.codes.data(), scratch.scales.data(), scratch.biases.data()};
}

void compare_affine(const SourceTensor& made, RowRange rows, const std::byte* values,
                    const SourceModel& made_model, Scratch& scratch, BlockCheck& check) {
  const std::int64_t count = rows.end - rows.begin;
  const AffineOut out = sized_output(made, count, scratch);
  for (std::size_t r = 0; r < std::size(kRoundings); ++r) {
    const auto bad = encode_rows(made.scales->dtype, values, {count, made.shape.cols}, *made.affine,
                                 kRoundings[r], out);
    compare_encoded(made, rows, made_model, scratch, bad.has_value(), r, check);
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

// What a directory's record says of fitted codes; null when it has none, or cannot be read: then it is
// no part of the model.
Json recorded_fit(const std::filesystem::path& directory) {
  const std::filesystem::path record = directory / "qx_plan.json";
  try {
    if (std::filesystem::exists(record)) return json_member(read_json_file(record), "fit");
  } catch (const Error&) {
  }
  return {};
}

std::string calibration_hash(const Json& fit) {
  const Json& hash = json_member(json_member(fit, "calibration"), "sha256");
  return hash.is_string() ? hash.get<std::string>() : "unknown";
}

// Scales and biases that were trained follow from neither source nor calibration by encoding.
void refuse_distilled(const std::filesystem::path& directory, const Json& method) {
  if (method != "distill") return;
  fail(directory.string(),
       "got scales and biases that were distilled, expected ones that encoding the source gives: "
       "such "
       "a directory cannot be derived again; qx divergence measures how far it is from the source");
}

// Codes that were fitted follow from a calibration too, so encoding the source says nothing about them.
void refuse_fitted(const std::filesystem::path& directory) {
  const Json fit = recorded_fit(directory);
  const Json& method = json_member(fit, "method");
  if (!method.is_string()) return;
  refuse_distilled(directory, method);
  fail(
      directory.string(),
      "got fitted codes ({}), which do not follow from the source alone; give the calibration that "
      "they were fitted with (--calibration, SHA-256 {})",
      method.get<std::string>(), calibration_hash(fit).substr(0, 12));
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

Verification collect(const SourceModel& made, const std::vector<RowBlock>& blocks,
                     const std::vector<BlockCheck>& checks) {
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

// The fit that a directory's record describes, with this calibration.
FitRequest request_of(const std::filesystem::path& directory,
                      const std::filesystem::path& calibration) {
  const Json fit = recorded_fit(directory);
  const Json &method = json_member(fit, "method"), &damping = json_member(fit, "damping"),
             &order = json_member(fit, "column_order");
  refuse_distilled(directory, method);
  FitRequest out;
  out.calibration = calibration;
  if (method == fit_method_name(FitMethod::kMse)) {
    out.method = FitMethod::kMse;
  } else if (method == fit_method_name(FitMethod::kGptq) && damping.is_number()) {
    out.method = FitMethod::kGptq;
    out.damping = damping.get<double>();
    if (order == column_order_name(ColumnOrder::kImportance)) out.order = ColumnOrder::kImportance;
  } else {
    fail(directory.string(),
         "got a record without fitted codes (qx_plan.json), expected a directory that qx convert "
         "--fit wrote; leave --calibration away");
  }
  return out;
}

// What the directory holds, as a plan that asks for exactly that.
Plan plan_of(const SourceModel& made) {
  PlanRequest request;
  request.like_directory = made.directory().string();
  request.dtype = made.stored_dtype();
  return make_plan(made.config(), request);
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
  return collect(made, blocks, checks);
}

Verification verify_fitted(const std::filesystem::path& directory,
                           const std::filesystem::path& source,
                           const std::filesystem::path& calibration, std::int64_t memory_bytes,
                           ThreadPool& pool, bool quiet) {
  FitRequest request = request_of(directory, calibration);
  request.memory_bytes = memory_bytes;
  const SourceModel made(directory), original(source);
  require_same_tensors(made, original);
  const Plan plan = plan_of(made);
  QX_CHECK(plan.rows.size() == made.tensors().size());
  Fitting fitting(request, original, plan, source);
  fitting.require_calibration(calibration_hash(recorded_fit(directory)));
  std::map<std::string, std::string> hashes;
  for (const MappedFile* file : original.checkpoint().maps()) {
    hashes[file->path().filename().string()] = sha256_file(file->path());
  }
  fitting.require_weights(hashes);
  const std::vector<RowBlock> blocks = row_blocks(made.tensors());
  std::vector<BlockCheck> checks(blocks.size());
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.threads()));
  Progress progress("verifying", blocks.size(), "blocks", quiet);
  const auto check_block = [&](std::size_t i, Scratch& mine) {
    const RowBlock& block = blocks[i];
    const SourceTensor &tensor = made.tensors()[block.tensor],
                       &from = original.tensors()[block.tensor];
    const DType dtype = tensor.affine ? tensor.scales->dtype : tensor.weight->dtype;
    const std::byte* values = original.read_rows(from, block.rows, dtype, mine.source);
    if (!tensor.affine) {
      compare_floats(tensor, block.rows, values, made, checks[i]);
    } else if (!fitting.has(block.tensor)) {
      compare_affine(tensor, block.rows, values, made, mine, checks[i]);
    } else {
      original.refuse_not_finite(from, block.rows, dtype, values);
      const std::int64_t rows = block.rows.end - block.rows.begin;
      mine.rows.resize(static_cast<std::size_t>(rows * tensor.shape.cols));
      load_floats(dtype, values, 0, mine.rows);
      fitting.encode(block.tensor, mine.rows, {rows, tensor.shape.cols},
                     sized_output(tensor, rows, mine));
      for (std::size_t r = 0; r < 2; ++r) {
        compare_encoded(tensor, block.rows, made, mine, false, r, checks[i]);
      }
    }
    progress.advance();
  };
  for (const std::vector<std::size_t>& batch : fitting.batches(pool.threads(), {})) {
    fitting.prepare(batch, pool);
    const std::set<std::size_t> tensors(batch.begin(), batch.end());
    std::vector<std::size_t> mine;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (tensors.contains(blocks[i].tensor)) mine.push_back(i);
    }
    pool.parallel_for(mine.size(), 1, [&](std::size_t i, std::size_t, int worker) {
      check_interrupt();
      check_block(mine[i], scratch[static_cast<std::size_t>(worker)]);
    });
  }
  Verification result = collect(made, blocks, checks);
  result.fit = fit_method_name(request.method);
  return result;
}

}  // namespace qx
