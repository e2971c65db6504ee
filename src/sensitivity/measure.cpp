// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/build_info.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/utc_time.h"
#include "convert/convert.h"
#include "convert/row_blocks.h"
#include "convert/source.h"
#include "fit/calibration_file.h"
#include "fit/importance.h"
#include "gradient/gradient_pass.h"
#include "gradient/sampled_loss.h"
#include "kernels/api.h"
#include "model/buffer.h"
#include "model/memory_need.h"
#include "runs/model_facts.h"
#include "sensitivity/code_costs.h"
#include "sensitivity/direct_cost.h"
#include "sensitivity/gradient_samples.h"

namespace qx {
namespace {

constexpr std::int64_t kSampledTokens = 1024;  // of all windows of the backward passes together
constexpr std::int64_t kFewestTokens = 8;      // of a window
constexpr std::int64_t kSampledVocabulary = 1024;
constexpr std::int64_t kDirectRows = 256;  // rows that a thread codes at a time

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double weighted_square(std::span<const float> errors, std::span<const float> column_weights) {
  double sum = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const auto e = static_cast<double>(errors[i]);
    sum += static_cast<double>(column_weights[i % column_weights.size()]) * e * e;
  }
  return sum;
}

struct Job {
  std::size_t tensor = 0, option = 0;
};

class Measurement {
 public:
  Measurement(const SensitivityRequest& request, ThreadPool& pool);
  SensitivityReport run();

 private:
  struct Place {
    MatrixPlace matrix;
    std::string input;  // in the calibration; empty: none
    bool direct = false;
  };
  void list_tensors(const Plan& plan);
  void record_origin();
  void run_gradients();
  void cost_linear_layers();
  void cost_batch(const std::vector<std::string>& inputs, Progress& progress);
  void measure_directly();
  void validate();

  CodeMaker prepare(const std::string& input) const;
  std::vector<float> read_rows(MatrixPlace place, std::span<const std::int64_t> rows) const;
  CodedRows code_all(std::size_t tensor, AffineSpec spec, const CodeMaker& maker) const;
  double linear_cost(std::size_t tensor, AffineSpec spec, const CodeMaker& maker,
                     std::span<const float> rows, float* scratch) const;

  const SensitivityRequest& request_;
  ThreadPool& pool_;
  Calibration calibration_;
  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<GradientPass> pass_;
  std::vector<std::vector<TokenId>> gradient_windows_, direct_windows_;
  std::vector<Place> places_;  // by tensor of the result
  std::unique_ptr<GradientSamples> samples_;
  std::unique_ptr<DirectCost> direct_;
  SensitivityReport report_;
};

// Bytes beside the weights: samples; of direct windows logits and inputs of layers; logits and
// activations of the pass; factors.
std::int64_t needed_memory(const ModelConfig& c, std::int64_t ctx,
                           const SensitivityRequest& request, int threads) {
  const std::int64_t q = c.num_attention_heads * c.head_dim,
                     kv = c.num_key_value_heads * c.head_dim, inner = c.intermediate_size,
                     layers = c.num_hidden_layers, hidden = c.hidden_size;
  const std::int64_t inputs = 2 * hidden + q + inner;
  const std::int64_t outputs = q + 2 * kv + 2 * hidden + 2 * inner;
  const std::int64_t samples =
      std::max(kSampledTokens, kFewestTokens * request.windows) * layers * (inputs + outputs / 4);
  const std::int64_t kept = request.direct_windows * ctx * (c.vocab_size + (layers + 1) * hidden);
  const std::int64_t widest = std::max({hidden, q, inner});
  const std::int64_t factors = request.fit == FitMethod::kGptq ? threads * 20 * widest * widest : 0;
  return 4 * (samples + kept) + gradient_pass_bytes(c, ctx) + factors;
}

void require_room(const SensitivityRequest& request, const ModelConfig& config, std::int64_t ctx,
                  int threads) {
  const MachineMemory machine = limited_memory();
  const std::int64_t needed = needed_memory(config, ctx, request, threads);
  if (machine.physical == 0 || needed <= machine.available) return;
  fail(request.model.string(),
       "sensitivity needs {} MB beside the weights, expected at most the {} MB that are available; "
       "take fewer --direct-windows or --threads, or calibrate with a smaller --ctx",
       needed / 1'000'000, machine.available / 1'000'000);
}

Plan any_plan(const SensitivityRequest& request) {
  ConvertRequest convert;
  convert.source = request.model;
  convert.plan.recipe = "q4";
  convert.plan.dtype = request.dtype;
  return plan_conversion(convert).plan;
}

// The tensors with the codes that are judged into `out`, and why others are not into `notes`.
// Returns the tensors.
std::vector<CatalogTensor> list_codes(const Plan& plan, const SensitivityRequest& request,
                                      Sensitivity& out, std::vector<std::string>& notes) {
  std::vector<CatalogTensor> listed;
  for (const PlanRow& row : plan.rows) {
    const CatalogTensor& t = row.tensor;
    if (!t.quantizable) continue;
    out.dtype = row.dtype;
    SensitivityTensor tensor;
    tensor.name = t.name;
    tensor.shape = t.shape;
    tensor.role = role_name(t.role);
    tensor.measured = t.role == Role::kEmbedding || t.role == Role::kHead;
    for (const int group : request.groups) {
      if (t.shape[1] % group != 0) continue;
      for (const int bits : request.bits) {
        const AffineSpec spec{bits, group};
        tensor.options.push_back(
            {spec, affine_bytes({t.shape[0], t.shape[1]}, spec, row.dtype), 0});
      }
    }
    if (tensor.options.empty()) {
      notes.push_back(fmt::format("'{}' has no code: its {} columns are no multiple of a group",
                                  t.name, t.shape[1]));
      continue;
    }
    listed.push_back(t);
    out.tensors.push_back(std::move(tensor));
  }
  if (listed.empty()) {
    fail(request.model.string(),
         "got no matrix whose columns a group divides, expected some: there is no code to judge");
  }
  return listed;
}

// As convert() says it, before the long work: weights that are no numbers in the type of the codes.
void require_finite(const SensitivityRequest& request, const Plan& plan, ThreadPool& pool) {
  const SourceModel source(request.model);
  QX_CHECK(plan.rows.size() == source.tensors().size());
  const std::vector<RowBlock> blocks = row_blocks(source.tensors());
  std::vector<SourceScratch> scratch(static_cast<std::size_t>(pool.threads()));
  for_each_block(pool, blocks, [&](std::size_t b, int worker) {
    const SourceTensor& tensor = source.tensors()[blocks[b].tensor];
    const DType dtype = plan.rows[blocks[b].tensor].dtype;
    const std::byte* values =
        source.read_rows(tensor, blocks[b].rows, dtype, scratch[static_cast<std::size_t>(worker)]);
    source.refuse_not_finite(tensor, blocks[b].rows, dtype, values);
  });
}

// Of the model's own numbers on the calibration's text, from which costs are made.
void require_number(double value, const SensitivityRequest& request, const std::string& tensor) {
  if (std::isfinite(value)) return;
  fail(fmt::format("{}: tensor '{}'", request.model.string(), tensor),
       "got no finite cost, expected one: the model's own values overflow on the calibration's "
       "windows");
}

Measurement::Measurement(const SensitivityRequest& request, ThreadPool& pool)
    : request_(request), pool_(pool), calibration_(request.calibration) {
  const Plan plan = any_plan(request);
  const ModelConfig config = load_model_config(request.model);
  calibration_.require_model(config, request.model);
  record_origin();
  list_tensors(plan);
  const std::vector<std::vector<TokenId>> windows = calibration_.windows();
  const auto count = static_cast<std::int64_t>(windows.size());
  const auto take = [&](std::int64_t n) {
    std::vector<std::vector<TokenId>> out;
    for (const std::int64_t i : spread(count, n)) {
      out.push_back(windows[static_cast<std::size_t>(i)]);
    }
    return out;
  };
  gradient_windows_ = take(request.windows);
  direct_windows_ = take(request.direct_windows);
  report_.result.windows = static_cast<std::int64_t>(gradient_windows_.size());
  report_.result.ctx = static_cast<std::int64_t>(windows.front().size());
  require_room(request, config, report_.result.ctx, pool.threads());
  require_finite(request, plan, pool);
  weights_ = load_weights(request.model);
  pass_ = std::make_unique<GradientPass>(*weights_, pool);
}

void Measurement::record_origin() {
  Sensitivity& s = report_.result;
  const ModelFacts facts = measure_model(request_.model);
  s.weights = weight_files(facts.files);
  calibration_.require_weights(s.weights, request_.model);
  s.model_path = request_.model.string();
  s.plan_hash = facts.plan_hash;
  s.calibration_sha256 = calibration_.sha256();
  s.calibration_text = json_member(calibration_.info(), "text");
  s.fit = fit_method_name(request_.fit);
  s.damping = request_.fit == FitMethod::kGptq ? request_.damping : 0;
  s.seed = request_.seed;
  s.precision = "reference";
  s.created = utc_now();
  s.version = build_info().version;
}

void Measurement::list_tensors(const Plan& plan) {
  const bool tied = load_model_config(request_.model).tie_word_embeddings;
  for (const CatalogTensor& t : list_codes(plan, request_, report_.result, report_.notes)) {
    places_.push_back({{t.role, t.layer},
                       linear_input_of(t, tied),
                       report_.result.tensors[places_.size()].measured});
  }
}

// Rows of a matrix as values of the type that a conversion writes.
std::vector<float> Measurement::read_rows(MatrixPlace place,
                                          std::span<const std::int64_t> rows) const {
  const WeightRows& w = linear_at(*weights_, place).rows;
  std::vector<float> out(rows.size() * static_cast<std::size_t>(w.cols));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    kernels().decode_row(w, rows[i], 0, w.cols, out.data() + static_cast<std::int64_t>(i) * w.cols);
  }
  std::vector<std::byte> stored(out.size() * dtype_bytes(report_.result.dtype));
  store_floats(report_.result.dtype, out, stored.data());
  load_floats(report_.result.dtype, stored.data(), 0, out);
  return out;
}

CodeMaker Measurement::prepare(const std::string& input) const {
  CodeMaker maker;
  maker.dtype = report_.result.dtype;
  // An embedding that is not tied keeps minmax in a conversion, and so it does here.
  if (input.empty() || request_.fit == FitMethod::kMinMax) return maker;
  maker.method = request_.fit;
  maker.importance = calibration_.mean_square(input);
  if (request_.fit == FitMethod::kGptq) {
    const auto width = static_cast<std::int64_t>(maker.importance.size());
    maker.factor = factor_inverse(calibration_.moment(input), width, request_.damping);
  }
  raise_least(maker.importance);
  return maker;
}

void Measurement::run_gradients() {
  const auto windows = static_cast<std::int64_t>(gradient_windows_.size());
  samples_ = std::make_unique<GradientSamples>(
      std::max<std::int64_t>(kFewestTokens, kSampledTokens / windows));
  Progress progress("gradients", static_cast<std::uint64_t>(windows), "windows", request_.quiet);
  for (std::size_t w = 0; w < gradient_windows_.size(); ++w) {
    pass_->run(gradient_windows_[w],
               SampledLogProbability(request_.seed, w, weights_->config.vocab_size, pool_),
               *samples_);
    progress.advance();
  }
  for (std::size_t t = 0; t < places_.size(); ++t) {
    if (!places_[t].direct) {
      SensitivityTensor& tensor = report_.result.tensors[t];
      tensor.gradient = samples_->matrix(places_[t].matrix).mean_square();
      require_number(tensor.gradient, request_, tensor.name);
    }
  }
}

// KL = 1/2 d^T F d for a change d of the output of a layer at one token; F by the sampled g g^T,
// without what different outputs have in common: 1/2 sum_j g_j^2 d_j^2. Outputs and tokens are
// samples; what g^2 sums to over all tokens is known, and corrects the sample of them.
double Measurement::linear_cost(std::size_t tensor, AffineSpec spec, const CodeMaker& maker,
                                std::span<const float> rows, float* scratch) const {
  const SensitivityTensor& t = report_.result.tensors[tensor];
  const GradientSamples::Matrix& matrix = samples_->matrix(places_[tensor].matrix);
  const auto count = static_cast<std::int64_t>(matrix.rows.size());
  const MatrixShape shape{count, t.shape[1]};
  const std::vector<float> errors = code_errors(maker, rows, shape, spec);
  if (!(matrix.kept_squares > 0)) return 0;  // nothing depends on it
  const double share = static_cast<double>(t.shape[0]) / static_cast<double>(count) *
                       matrix.row_squares / matrix.kept_squares /
                       static_cast<double>(matrix.tokens);
  return 0.5 * share *
         weighted_output_error(errors, shape, matrix.slopes,
                               samples_->inputs(places_[tensor].input), scratch);
}

void Measurement::cost_batch(const std::vector<std::string>& inputs, Progress& progress) {
  std::vector<CodeMaker> makers(inputs.size());
  pool_.parallel_for(inputs.size(), 1, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      check_interrupt();
      makers[i] = prepare(inputs[i]);
    }
  });
  std::vector<std::vector<float>> rows(places_.size());
  std::vector<const CodeMaker*> maker_of(places_.size());
  std::vector<Job> jobs;
  for (std::size_t t = 0; t < places_.size(); ++t) {
    const auto found = std::find(inputs.begin(), inputs.end(), places_[t].input);
    if (places_[t].direct || found == inputs.end()) continue;
    maker_of[t] = &makers[static_cast<std::size_t>(found - inputs.begin())];
    if (request_.fit == FitMethod::kGptq && !maker_of[t]->factor) {
      report_.notes.push_back(fmt::format(
          "'{}' is judged with mse: the second moment of its input is singular with damping {}",
          report_.result.tensors[t].name, request_.damping));
    }
    rows[t] = read_rows(places_[t].matrix, samples_->matrix(places_[t].matrix).rows);
    for (std::size_t o = 0; o < report_.result.tensors[t].options.size(); ++o) {
      jobs.push_back({t, o});
    }
  }
  std::vector<FloatBuffer> scratch(static_cast<std::size_t>(pool_.threads()));
  pool_.parallel_for(jobs.size(), 1, [&](std::size_t begin, std::size_t end, int worker) {
    for (std::size_t i = begin; i < end; ++i) {
      check_interrupt();
      SensitivityTensor& tensor = report_.result.tensors[jobs[i].tensor];
      SensitivityOption& option = tensor.options[jobs[i].option];
      option.cost =
          linear_cost(jobs[i].tensor, option.spec, *maker_of[jobs[i].tensor], rows[jobs[i].tensor],
                      scratch[static_cast<std::size_t>(worker)].reserve(
                          linear_scratch_floats(tensor.shape[1])));
      require_number(option.cost, request_, tensor.name);
      progress.advance();
    }
  });
}

void Measurement::cost_linear_layers() {
  std::vector<std::string> inputs;
  std::uint64_t options = 0;
  for (std::size_t t = 0; t < places_.size(); ++t) {
    if (places_[t].direct) continue;
    options += report_.result.tensors[t].options.size();
    // gate, down and up may come in this order: the first mention of an input counts.
    if (std::find(inputs.begin(), inputs.end(), places_[t].input) == inputs.end()) {
      inputs.push_back(places_[t].input);
    }
  }
  Progress progress("costs", options, "codes", request_.quiet);
  // As many inputs together as there are threads to factor their moments.
  const auto together = static_cast<std::size_t>(pool_.threads());
  for (std::size_t i = 0; i < inputs.size(); i += together) {
    cost_batch(
        {inputs.begin() + static_cast<std::ptrdiff_t>(i),
         inputs.begin() + static_cast<std::ptrdiff_t>(std::min(inputs.size(), i + together))},
        progress);
  }
}

CodedRows Measurement::code_all(std::size_t tensor, AffineSpec spec, const CodeMaker& maker) const {
  const SensitivityTensor& t = report_.result.tensors[tensor];
  CodedRows coded({t.shape[0], t.shape[1]}, spec, report_.result.dtype);
  const auto parameters = groups_per_row(t.shape[1], spec.group) *
                          static_cast<std::int64_t>(dtype_bytes(report_.result.dtype));
  const std::int64_t blocks = (t.shape[0] + kDirectRows - 1) / kDirectRows;
  pool_.parallel_for(
      static_cast<std::size_t>(blocks), 1, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t b = begin; b < end; ++b) {
          check_interrupt();
          const std::int64_t first = static_cast<std::int64_t>(b) * kDirectRows;
          std::vector<std::int64_t> rows;
          for (std::int64_t r = first; r < std::min(t.shape[0], first + kDirectRows); ++r) {
            rows.push_back(r);
          }
          const std::vector<float> values = read_rows(places_[tensor].matrix, rows);
          maker.encode(
              values, {static_cast<std::int64_t>(rows.size()), t.shape[1]}, spec,
              {coded.codes.data() + first * code_bytes_per_row(t.shape[1], spec.bits),
               coded.scales.data() + first * parameters, coded.biases.data() + first * parameters});
        }
      });
  return coded;
}

// One code of every width is measured; the others of that width differ from it as the squared
// errors of a sample of rows do.
void Measurement::measure_directly() {
  for (std::size_t t = 0; t < places_.size(); ++t) {
    if (!places_[t].direct) continue;
    SensitivityTensor& tensor = report_.result.tensors[t];
    const CodeMaker maker = prepare(places_[t].input);
    const std::vector<std::int64_t> rows = spread(tensor.shape[0], kSampledVocabulary);
    const std::vector<float> values = read_rows(places_[t].matrix, rows);
    std::vector<double> errors(tensor.options.size());
    const std::vector<float> weights =
        places_[t].input.empty()
            ? std::vector<float>(static_cast<std::size_t>(tensor.shape[1]), 1.0f)
            : calibration_.mean_square(places_[t].input);
    pool_.parallel_for(errors.size(), 1, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t o = begin; o < end; ++o) {
        errors[o] = weighted_square(
            code_errors(maker, values, {static_cast<std::int64_t>(rows.size()), tensor.shape[1]},
                        tensor.options[o].spec),
            weights);
      }
    });
    for (const int bits : request_.bits) {
      std::optional<std::size_t> chosen;
      for (std::size_t o = 0; o < tensor.options.size(); ++o) {
        const AffineSpec spec = tensor.options[o].spec;
        if (spec.bits == bits && (!chosen || spec.group == 64)) chosen = o;
      }
      if (!chosen) continue;
      const double direct =
          direct_->measure(places_[t].matrix, code_all(t, tensor.options[*chosen].spec, maker));
      require_number(direct, request_, tensor.name);
      const double cost = std::max(0.0, direct);
      for (std::size_t o = 0; o < tensor.options.size(); ++o) {
        if (tensor.options[o].spec.bits != bits) continue;
        tensor.options[o].cost = errors[*chosen] > 0 ? cost * errors[o] / errors[*chosen] : cost;
        require_number(tensor.options[o].cost, request_, tensor.name);
      }
    }
  }
}

void Measurement::validate() {
  std::vector<Job> jobs;
  for (std::size_t t = 0; t < places_.size(); ++t) {
    if (places_[t].direct) continue;
    for (std::size_t o = 0; o < report_.result.tensors[t].options.size(); ++o) {
      jobs.push_back({t, o});
    }
  }
  // The first of a random order (Fisher and Yates), then by tensor.
  Random random(request_.seed);
  const std::size_t count = std::min(jobs.size(), static_cast<std::size_t>(request_.validate));
  for (std::size_t i = 0; i < count; ++i)
    std::swap(jobs[i], jobs[i + random.below(jobs.size() - i)]);
  jobs.resize(count);
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) {
    return std::pair(a.tensor, a.option) < std::pair(b.tensor, b.option);
  });
  SensitivityValidation out;
  Progress progress("validating", count, "codes", request_.quiet);
  for (const Job& job : jobs) {
    const SensitivityTensor& tensor = report_.result.tensors[job.tensor];
    const SensitivityOption& option = tensor.options[job.option];
    const CodeMaker maker = prepare(places_[job.tensor].input);
    const double direct =
        direct_->measure(places_[job.tensor].matrix, code_all(job.tensor, option.spec, maker));
    out.pairs.push_back({tensor.name, option.spec, option.cost, std::max(0.0, direct)});
    progress.advance();
  }
  out.log_pearson = log_pearson(out.pairs);
  out.median_ratio = median_ratio(out.pairs);
  report_.result.validation = std::move(out);
}

SensitivityReport Measurement::run() {
  Stopwatch watch;
  run_gradients();
  report_.gradient_seconds = watch.lap();
  cost_linear_layers();
  report_.cost_seconds = watch.lap();
  direct_ = std::make_unique<DirectCost>(*weights_, direct_windows_, *pass_, pool_);
  measure_directly();
  report_.measured_seconds = watch.lap();
  if (request_.validate > 0) validate();
  report_.validation_seconds = watch.lap();
  return std::move(report_);
}

}  // namespace

std::optional<double> log_pearson(const std::vector<SensitivityPair>& pairs) {
  double n = 0, sx = 0, sy = 0;
  for (const SensitivityPair& p : pairs) {
    if (!(p.model > 0 && p.direct > 0)) continue;
    ++n;
    sx += std::log(p.model);
    sy += std::log(p.direct);
  }
  if (n < 3) return std::nullopt;
  double xx = 0, yy = 0, xy = 0;
  for (const SensitivityPair& p : pairs) {
    if (!(p.model > 0 && p.direct > 0)) continue;
    const double x = std::log(p.model) - sx / n, y = std::log(p.direct) - sy / n;
    xx += x * x;
    yy += y * y;
    xy += x * y;
  }
  if (!(xx > 0 && yy > 0)) return std::nullopt;
  return xy / std::sqrt(xx * yy);
}

std::optional<double> median_ratio(const std::vector<SensitivityPair>& pairs) {
  std::vector<double> ratios;
  for (const SensitivityPair& p : pairs) {
    if (p.model > 0) ratios.push_back(p.direct / p.model);
  }
  if (ratios.empty()) return std::nullopt;
  std::sort(ratios.begin(), ratios.end());
  const std::size_t n = ratios.size();
  return (ratios[(n - 1) / 2] + ratios[n / 2]) / 2;
}

SensitivityReport measure_sensitivity(const SensitivityRequest& request, ThreadPool& pool) {
  return Measurement(request, pool).run();
}

Sensitivity codes_without_costs(const SensitivityRequest& request) {
  Sensitivity out;
  std::vector<std::string> notes;
  list_codes(any_plan(request), request, out, notes);
  return out;
}

}  // namespace qx
