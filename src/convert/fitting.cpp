// SPDX-License-Identifier: Apache-2.0
#include "convert/fitting.h"

#include <algorithm>

#include "base/error.h"
#include "base/interrupt.h"
#include "fit/importance.h"

namespace qx {
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
}

void Fitting::require_weights(const std::map<std::string, std::string>& files) const {
  std::map<std::string, std::string> weights;
  for (const auto& [name, hash] : files) {
    if (name.ends_with(".safetensors")) weights.emplace(name, hash);
  }
  calibration_.require_weights(weights, source_path_);
}

std::vector<std::vector<std::size_t>> Fitting::batches(int inputs) const {
  // By input, in the order of its first tensor; what has none counts as one of its own.
  std::vector<std::pair<std::string, std::vector<std::size_t>>> groups;
  std::map<std::string, std::size_t> index;
  for (std::size_t t = 0; t < inputs_.size(); ++t) {
    const auto [found, added] = index.emplace(inputs_[t], groups.size());
    if (added) groups.push_back({inputs_[t], {}});
    groups[found->second].second.push_back(t);
  }
  std::vector<std::vector<std::size_t>> out;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (g % static_cast<std::size_t>(inputs) == 0) out.emplace_back();
    out.back().insert(out.back().end(), groups[g].second.begin(), groups[g].second.end());
  }
  return out;
}

void Fitting::prepare(const std::vector<std::size_t>& batch, ThreadPool& pool) {
  ready_.clear();
  for (const std::size_t t : batch) {
    if (has(t)) ready_[inputs_[t]];
  }
  std::vector<std::pair<const std::string, Input>*> work;
  for (auto& entry : ready_) work.push_back(&entry);
  pool.parallel_for(work.size(), 1, [&](std::size_t i, std::size_t, int) {
    check_interrupt();
    const std::string& name = work[i]->first;
    Input& input = work[i]->second;
    input.importance = calibration_.mean_square(name);
    if (request_.method == FitMethod::kGptq) {
      const auto width = static_cast<std::int64_t>(input.importance.size());
      input.factor = factor_inverse(calibration_.moment(name), width, request_.damping);
    }
    raise_least(input.importance);
  });
  if (request_.method != FitMethod::kGptq) return;
  for (const std::size_t t : batch) {
    if (!has(t) || ready_.at(inputs_[t]).factor) continue;
    const std::string& name = plan_.rows[t].tensor.name;
    fallbacks_.push_back(name);
    notes_.push_back(
        fmt::format("'{}' falls back from gptq to mse: the second moment of its input is singular "
                    "with damping {}",
                    name, request_.damping));
  }
}

void Fitting::encode(std::size_t tensor, std::span<float> rows, MatrixShape shape,
                     AffineOut out) const {
  const PlanRow& row = plan_.rows[tensor];
  const Input& input = ready_.at(inputs_[tensor]);
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
    out["mse_instead"] = fallbacks_;
  }
  out["minmax_instead"] = unfitted_;
  const Json& info = calibration_.info();
  Json calibration = {{"sha256", calibration_.sha256()}};
  for (const char* key : {"tokens", "windows", "ctx", "text"})
    calibration[key] = json_member(info, key);
  out["calibration"] = std::move(calibration);
  return out;
}

}  // namespace qx
