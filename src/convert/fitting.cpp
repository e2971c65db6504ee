// SPDX-License-Identifier: Apache-2.0
#include "convert/fitting.h"

#include <algorithm>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/machine_memory.h"
#include "fit/importance.h"

namespace qx {
namespace {

std::int64_t default_memory() {
  constexpr std::int64_t kUnknown = std::int64_t{4} << 30;
  const MachineMemory machine = limited_memory();
  return machine.physical == 0 ? kUnknown : machine.available / 2;
}

}  // namespace

Fitting::Fitting(const FitRequest& request, const SourceModel& source, const Plan& plan,
                 const std::filesystem::path& source_path)
    : request_(request), plan_(plan), source_path_(source_path), calibration_(request.calibration) {
  calibration_.require_model(source.config(), source_path);
  for (const PlanRow& row : plan.rows) {
    std::string input;
    if (row.affine) {
      input = linear_input_of(row.tensor, source.config().tie_word_embeddings);
      if (input.empty()) {
        unfitted_.push_back(row.tensor.name);
        notes_.push_back(
            fmt::format("'{}' keeps minmax: what it multiplies was not measured", row.tensor.name));
      }
    }
    inputs_.push_back(std::move(input));
  }
  memory_ = request.memory_bytes > 0 ? request.memory_bytes : default_memory();
  require_memory();
}

std::int64_t Fitting::width_of(std::size_t tensor) const {
  return plan_.rows[tensor].tensor.shape.back();
}

void Fitting::require_memory() const {
  if (request_.method != FitMethod::kGptq) return;
  for (std::size_t t = 0; t < inputs_.size(); ++t) {
    if (!has(t) || factor_work_bytes(width_of(t)) <= memory_) continue;
    fail(plan_.rows[t].tensor.name,
         "got {} columns, whose second moment takes {} MB to factor, expected no more than the {} "
         "MB "
         "of memory; give more with --fit-memory, or use --fit mse",
         width_of(t), factor_work_bytes(width_of(t)) / 1'000'000, memory_ / 1'000'000);
  }
}

Fitting::Key Fitting::key_of(std::size_t tensor) const {
  const bool ordered =
      request_.method == FitMethod::kGptq && request_.order == ColumnOrder::kImportance;
  return {inputs_[tensor], ordered ? plan_.rows[tensor].affine->group : 0};
}

bool Fitting::fell_back(std::size_t tensor) const {
  return fallbacks_.contains(tensor);
}

void Fitting::note_fallback(std::size_t tensor) {
  if (!fallbacks_.insert(tensor).second) return;
  notes_.push_back(
      fmt::format("'{}' falls back from gptq to mse: the second moment of its input is singular "
                  "with damping {}",
                  plan_.rows[tensor].tensor.name, request_.damping));
}

Json Fitting::identity() const {
  Json out = {{"method", fit_method_name(request_.method)}, {"calibration", calibration_.sha256()}};
  if (request_.method == FitMethod::kGptq) {
    out["damping"] = request_.damping;
    out["column_order"] = column_order_name(request_.order);
  }
  return out;
}

void Fitting::require_weights(const std::map<std::string, std::string>& files) const {
  calibration_.require_weights(weight_files(files), source_path_);
}

void Fitting::require_calibration(const std::string& sha256) const {
  if (calibration_.sha256() == sha256) return;
  fail(request_.calibration.string(),
       "got a calibration of SHA-256 {}, expected the one that the codes were fitted with, {}",
       calibration_.sha256().substr(0, 12), sha256.substr(0, 12));
}

std::vector<std::vector<std::size_t>> Fitting::batches(int inputs,
                                                       const std::vector<char>& left_out) const {
  // By input, in the order of its first tensor; all that have none count as one.
  std::vector<std::vector<std::size_t>> groups;
  std::map<Key, std::size_t> index;
  for (std::size_t t = 0; t < inputs_.size(); ++t) {
    if (!left_out.empty() && left_out[t] != 0) continue;
    const auto [found, added] = index.emplace(has(t) ? key_of(t) : Key{}, groups.size());
    if (added) groups.emplace_back();
    groups[found->second].push_back(t);
  }
  std::vector<std::vector<std::size_t>> out;
  std::int64_t taken = 0, count = 0;
  for (const std::vector<std::size_t>& group : groups) {
    const bool factored = has(group.front()) && request_.method == FitMethod::kGptq;
    const std::int64_t bytes = factored ? factor_work_bytes(width_of(group.front())) : 0;
    if (out.empty() || count == inputs || taken + bytes > memory_) {
      out.emplace_back();
      taken = count = 0;
    }
    out.back().insert(out.back().end(), group.begin(), group.end());
    taken += bytes;
    ++count;
  }
  return out;
}

void Fitting::prepare(const std::vector<std::size_t>& batch, ThreadPool& pool) {
  ready_.clear();
  for (const std::size_t t : batch) {
    if (has(t)) ready_[key_of(t)];
  }
  std::vector<std::pair<const Key, Input>*> work;
  for (auto& entry : ready_) work.push_back(&entry);
  pool.parallel_for(work.size(), 1, [&](std::size_t i, std::size_t, int) {
    check_interrupt();
    const auto& [name, group] = work[i]->first;
    Input& input = work[i]->second;
    input.importance = calibration_.mean_square(name);
    if (request_.method == FitMethod::kGptq) {
      const auto width = static_cast<std::int64_t>(input.importance.size());
      input.factor =
          factor_inverse(calibration_.moment(name), width, request_.damping, request_.order, group);
    }
    raise_least(input.importance);
  });
  if (request_.method != FitMethod::kGptq) return;
  for (const std::size_t t : batch) {
    if (has(t) && !ready_.at(key_of(t)).factor) note_fallback(t);
  }
}

void Fitting::encode(std::size_t tensor, std::span<float> rows, MatrixShape shape,
                     AffineOut out) const {
  const PlanRow& row = plan_.rows[tensor];
  const Input& input = ready_.at(key_of(tensor));
  if (input.factor) {
    gptq_rows(rows, shape, *row.affine, row.dtype, *input.factor, out);
  } else {
    mse_rows(rows, shape, *row.affine, row.dtype, input.importance, out);
  }
}

Json Fitting::provenance() const {
  Json out = {{"method", fit_method_name(request_.method)}};
  if (request_.method == FitMethod::kGptq) {
    out["damping"] = request_.damping;
    out["column_order"] = column_order_name(request_.order);
    out["mse_instead"] = Json::array();
    for (const std::size_t t : fallbacks_) out["mse_instead"].push_back(plan_.rows[t].tensor.name);
  }
  out["minmax_instead"] = unfitted_;
  const Json& info = calibration_.info();
  Json calibration = {{"sha256", calibration_.sha256()}};
  for (const char* key : {"tokens", "windows", "ctx", "text"})
    calibration[key] = json_member(info, key);
  const Json& weights = json_member(info, "token_weights");
  if (!weights.is_null()) calibration["token_weights"] = weights;
  out["calibration"] = std::move(calibration);
  return out;
}

}  // namespace qx
