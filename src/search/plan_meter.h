// Plans of one model, coded in memory and measured against it on a text: what a conversion by the
// plan would give (convert/convert.h), without writing it. Codes of a tensor are kept from plan to
// plan, so that plans which differ in few tensors cost little more than their forward passes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/thread_pool.h"
#include "convert/convert.h"
#include "convert/source.h"
#include "distance/base_states.h"
#include "distance/divergence.h"
#include "distance/measured_text.h"
#include "model/cpu_model.h"
#include "recipe/plan.h"

namespace qx {

class Fitting;

// Which windows of a text are measured: whole windows within a part of its tokens, at even
// distances.
struct MeterText {
  TextRequest text;
  double skip = 0, share = 1;  // parts of the text's tokens: those passed over, those used
  std::int64_t windows = 16;   // at most
};

struct PlanMeasure {
  double kl = 0, kl_stderr = 0;    // KL(model || plan), nats a token; error over windows
  std::vector<double> kl_windows;  // means of the windows
  double top1 = 0;                 // share of positions with the same most probable token
  double perplexity = 0;
};

struct MeterRequest {
  std::filesystem::path model;
  FitRequest fit;
  MeterText text;
  Precision precision = Precision::kExact;  // of the plans; the model itself runs in float32
  bool quiet = false;
};

class PlanMeter {
 public:
  // Reads the model and the text, and runs the model over it. The pool must outlive it. Fails: Error
  // (as load_model and load_text; a calibration of other weights; a part of the text without a whole
  // window).
  PlanMeter(const MeterRequest& request, ThreadPool& pool);
  ~PlanMeter();

  // method: of the codes; minmax is MLX's own. Rows as in the model's catalog. Fails: Error, as
  // measure_divergence and convert.
  PlanMeasure measure(const Plan& plan, FitMethod method);

  const MeasuredText& text() const { return text_; }  // with the chosen windows alone
  double base_perplexity() const { return base_perplexity_; }
  const std::map<std::string, std::string>& weights() const { return weights_; }  // file to SHA-256
  // The calibration's own text and part, and whether it reaches into the windows measured here.
  bool overlaps_calibration() const { return overlaps_; }

 private:
  struct Coded {
    std::vector<std::byte> values, scales, biases;
    std::int64_t bytes() const;
  };
  using Key = std::tuple<std::size_t, int, int, FitMethod>;  // tensor, bits, group (0 0: float)

  static Key key_of(std::size_t tensor, const PlanRow& row, FitMethod method);
  void choose_text();
  std::set<std::size_t> reserve_missing(const Plan& plan, FitMethod method);
  void code(const Plan& plan, FitMethod method);
  void code_tensors(const Plan& plan, FitMethod method, const std::set<std::size_t>& missing);
  void code_rows(std::size_t tensor, const PlanRow& row, FitMethod method, RowRange range,
                 Coded& out);
  void forget_others(const Plan& plan, FitMethod method);
  std::unique_ptr<Model> assemble(const Plan& plan, FitMethod method) const;

  MeterRequest request_;
  ThreadPool& pool_;
  SourceModel source_;
  MeasuredText text_;
  std::unique_ptr<Model> base_;
  std::optional<BaseStates> states_;
  double base_perplexity_ = 0;
  bool overlaps_ = false;
  std::map<std::string, std::string> weights_;
  Plan fitted_plan_;  // what the fitting looks at; its rows change from plan to plan
  std::unique_ptr<Fitting> fitting_;
  std::map<Key, Coded> coded_;
};

// Paired difference of two plans measured by one meter: mean and standard error over windows.
struct PairedDifference {
  double mean = 0, error = 0;  // of b - a; the error is NaN with one window
};
PairedDifference paired_difference(const PlanMeasure& a, const PlanMeasure& b);

}  // namespace qx
