// SPDX-License-Identifier: Apache-2.0
#include "search/plan_meter.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/progress.h"
#include "convert/fitting.h"
#include "convert/row_blocks.h"
#include "distance/passes.h"
#include "distance/statistics.h"
#include "model/memory_need.h"
#include "quant/kernel_kinds.h"
#include "runs/model_facts.h"
#include "stats/clusters.h"
#include "text/chat_template.h"

namespace qx {
namespace {

constexpr std::int64_t kDefaultCache = std::int64_t{2} << 30;  // where the machine's is unknown

// Codes of plans that are not being measured may take so much.
std::int64_t cache_limit() {
  const MachineMemory machine = limited_memory();
  return machine.physical == 0 ? kDefaultCache : machine.available / 4;
}

MeasuredText load_meter_text(const MeterRequest& request) {
  const Tokenizer tokenizer = Tokenizer::load(request.model);
  const std::optional<ChatTemplate> chat = ChatTemplate::load(request.model);
  return load_text(request.text.text, tokenizer, chat ? &*chat : nullptr);
}

WeightRows rows_of_kind(const PlanRow& row) {
  WeightRows out;
  if (!row.affine) {
    out.kind = weight_kind_of(row.dtype);
    return out;
  }
  out.kind = WeightKind::kAffine;
  out.scale_kind = scale_kind_of(row.dtype);
  out.bits = row.affine->bits;
  out.group = row.affine->group;
  return out;
}

// Tokens [first, last) of a text that a calibration took its windows from.
struct TextPart {
  std::string sha256;
  std::int64_t first = 0, last = 0;
};

std::optional<TextPart> calibration_part(const Json& provenance) {
  const Json& text = json_member(json_member(provenance, "calibration"), "text");
  const Json& first = json_member(text, "first_token");
  const Json& last = json_member(text, "last_token");
  if (!first.is_number_integer() || !last.is_number_integer()) return std::nullopt;
  return TextPart{json_string_or(text, "sha256", "", "calibration"), first.get<std::int64_t>(),
                  last.get<std::int64_t>()};
}

}  // namespace

std::int64_t PlanMeter::Coded::bytes() const {
  return static_cast<std::int64_t>(values.size() + scales.size() + biases.size());
}

PlanMeter::PlanMeter(const MeterRequest& request, ThreadPool& pool)
    : request_(request), pool_(pool), source_(request.model), text_(load_meter_text(request)) {
  choose_text();
  if (source_.is_quantized()) {
    fail(request.model.string(),
         "the model is quantized already, expected float weights; codes of codes lose more");
  }
  weights_ = weight_files(measure_model(request.model).files);
  if (request.fit.method != FitMethod::kMinMax) {
    // All that may be fitted is; measure() puts in the codes.
    ModelConfig config = source_.config();
    if (!config.dtype) config.dtype = source_.stored_dtype();
    PlanRequest any;
    any.recipe = "q4-hi";
    fitted_plan_ = make_plan(config, any);
    fitting_ = std::make_unique<Fitting>(request.fit, source_, fitted_plan_, request.model);
    fitting_->require_weights(weights_);
    if (const auto part = calibration_part(fitting_->provenance())) {
      const Window& last = text_.windows.back();
      overlaps_ = part->sha256 == text_.sha256 && text_.windows.front().begin < part->last &&
                  part->first < last.end;
    }
  }
  base_ = load_model(request.model, pool, Precision::kReference);
  StatesWriter writer({}, Json(), text_.targets(), base_->config().hidden_size);
  Progress progress("model", static_cast<std::uint64_t>(count_reads(text_.windows)), "tokens",
                    request.quiet);
  store_base_states(*base_, text_, kPassTokens, writer, [&](std::int64_t tokens) {
    progress.advance(static_cast<std::uint64_t>(tokens));
  });
  states_ = writer.commit();
}

PlanMeter::~PlanMeter() = default;

void PlanMeter::choose_text() {
  const auto all = static_cast<double>(text_.tokens.size());
  const double from = all * request_.text.skip;
  const double to = all * (request_.text.skip + request_.text.share);
  std::vector<Window> inside;
  for (const Window& w : text_.windows) {
    if (static_cast<double>(w.begin) >= from && static_cast<double>(w.end) <= to + 0.5) {
      inside.push_back(w);
    }
  }
  if (inside.empty()) {
    fail(request_.text.text.file.string(),
         "got {} tokens between {} and {} of the text, expected at least one window of {} (--ctx)",
         std::max<std::int64_t>(0, static_cast<std::int64_t>(to - from)), request_.text.skip,
         request_.text.skip + request_.text.share, text_.request.rules.ctx);
  }
  const auto whole = static_cast<std::int64_t>(inside.size());
  const std::int64_t taken = std::min(request_.text.windows, whole);
  text_.windows.clear();
  text_.counts.clear();
  for (std::int64_t i = 0; i < taken; ++i) {
    text_.windows.push_back(inside[static_cast<std::size_t>(i * whole / taken)]);
    text_.counts.push_back(text_.windows.back().end - text_.windows.back().first_target);
  }
}

PlanMeter::Key PlanMeter::key_of(std::size_t tensor, const PlanRow& row, FitMethod method) {
  if (!row.affine) return {tensor, 0, 0, FitMethod::kMinMax};
  return {tensor, row.affine->bits, row.affine->group, method};
}

void PlanMeter::code_rows(std::size_t tensor, const PlanRow& row, FitMethod method, RowRange range,
                          Coded& out) {
  const SourceTensor& source = source_.tensors()[tensor];
  const std::int64_t cols = source.shape.cols, count = range.end - range.begin;
  const auto scalar = static_cast<std::int64_t>(dtype_bytes(row.dtype));
  SourceScratch scratch;
  const std::byte* values = source_.read_rows(source, range, row.dtype, scratch);
  source_.refuse_not_finite(source, range, row.dtype, values);
  if (!row.affine) {
    std::copy(values, values + count * cols * scalar,
              out.values.begin() + range.begin * cols * scalar);
    return;
  }
  const std::int64_t codes = code_bytes_per_row(cols, row.affine->bits);
  const std::int64_t scales = groups_per_row(cols, row.affine->group) * scalar;
  const AffineOut to{out.values.data() + range.begin * codes,
                     out.scales.data() + range.begin * scales,
                     out.biases.data() + range.begin * scales};
  if (method != FitMethod::kMinMax && fitting_->has(tensor)) {
    std::vector<float> floats(static_cast<std::size_t>(count * cols));
    load_floats(row.dtype, values, 0, floats);
    fitting_->encode(tensor, floats, {count, cols}, to);
  } else {
    QX_CHECK(!encode_rows(row.dtype, values, {count, cols}, *row.affine, Rounding::kCpu, to));
  }
}

// Makes room for the tensors that are not coded yet.
std::set<std::size_t> PlanMeter::reserve_missing(const Plan& plan, FitMethod method) {
  QX_CHECK(plan.rows.size() == source_.tensors().size());
  std::set<std::size_t> missing;
  for (std::size_t t = 0; t < plan.rows.size(); ++t) {
    const PlanRow& row = plan.rows[t];
    Coded& out = coded_[key_of(t, row, method)];
    if (!out.values.empty()) continue;
    missing.insert(t);
    const MatrixShape shape = source_.tensors()[t].shape;
    const auto scalar = static_cast<std::int64_t>(dtype_bytes(row.dtype));
    const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    if (!row.affine) {
      out.values.resize(size(shape.rows * shape.cols * scalar));
      continue;
    }
    out.values.resize(size(shape.rows * code_bytes_per_row(shape.cols, row.affine->bits)));
    out.scales.resize(size(shape.rows * groups_per_row(shape.cols, row.affine->group) * scalar));
    out.biases.resize(out.scales.size());
  }
  return missing;
}

void PlanMeter::code(const Plan& plan, FitMethod method) {
  const std::set<std::size_t> missing = reserve_missing(plan, method);
  try {
    code_tensors(plan, method, missing);
  } catch (...) {
    for (const std::size_t t : missing) coded_.erase(key_of(t, plan.rows[t], method));
    throw;
  }
}

// Tensors with one input together (convert/fitting.h).
void PlanMeter::code_tensors(const Plan& plan, FitMethod method,
                             const std::set<std::size_t>& missing) {
  Progress progress("coding", missing.size(), "tensors", request_.quiet);
  std::vector<std::vector<std::size_t>> batches{{missing.begin(), missing.end()}};
  if (method != FitMethod::kMinMax) {
    fitted_plan_.rows = plan.rows;
    std::vector<char> left_out(plan.rows.size(), 1);
    for (const std::size_t t : missing) left_out[t] = 0;
    batches = fitting_->batches(pool_.threads(), left_out);
  }
  for (std::vector<std::size_t>& batch : batches) {
    std::erase_if(batch, [&](std::size_t t) { return !missing.contains(t); });
    if (batch.empty()) continue;
    if (method != FitMethod::kMinMax) fitting_->prepare(batch, pool_);
    std::vector<RowBlock> blocks;
    for (const std::size_t t : batch) append_row_blocks(t, source_.tensors()[t].shape, blocks);
    for_each_block(pool_, blocks, [&](std::size_t b, int) {
      const std::size_t t = blocks[b].tensor;
      const PlanRow& row = plan.rows[t];
      code_rows(t, row, method, blocks[b].rows, coded_.at(key_of(t, row, method)));
    });
    progress.advance(batch.size());
  }
}

void PlanMeter::forget_others(const Plan& plan, FitMethod method) {
  std::int64_t bytes = 0;
  for (const auto& [key, coded] : coded_) bytes += coded.bytes();
  if (bytes <= cache_limit()) return;
  std::set<Key> used;
  for (std::size_t t = 0; t < plan.rows.size(); ++t) used.insert(key_of(t, plan.rows[t], method));
  std::erase_if(coded_, [&](const auto& entry) { return !used.contains(entry.first); });
}

std::unique_ptr<Model> PlanMeter::assemble(const Plan& plan, FitMethod method) const {
  auto weights = std::make_unique<ModelWeights>();
  weights->place = "the plan's codes";
  weights->config = source_.config();
  weights->config.quantization.reset();
  weights->layers.resize(static_cast<std::size_t>(weights->config.num_hidden_layers));
  for (std::size_t t = 0; t < plan.rows.size(); ++t) {
    const PlanRow& row = plan.rows[t];
    const Coded& coded = coded_.at(key_of(t, row, method));
    const MatrixShape shape = source_.tensors()[t].shape;
    if (row.tensor.role == Role::kNorm || row.tensor.role == Role::kBias) {
      std::vector<float> values(static_cast<std::size_t>(shape.cols));
      load_floats(row.dtype, coded.values.data(), 0, values);
      (row.tensor.role == Role::kNorm ? norm_place(*weights, row.tensor)
                                      : linear_place(*weights, row.tensor).bias) =
          std::move(values);
      continue;
    }
    WeightRows rows = rows_of_kind(row);
    rows.rows = shape.rows;
    rows.cols = shape.cols;
    rows.values = coded.values.data();
    rows.scales = coded.scales.data();
    rows.biases = coded.biases.data();
    linear_place(*weights, row.tensor).rows = rows;
  }
  if (weights->config.tie_word_embeddings) weights->head = weights->embedding;
  return make_cpu_model(std::move(weights), pool_, request_.precision);
}

PlanMeasure PlanMeter::measure(const Plan& plan, FitMethod method) {
  code(plan, method);
  const std::unique_ptr<Model> model = assemble(plan, method);
  Model* const variant = model.get();
  const std::string name = plan.recipe;
  Progress progress("measuring", static_cast<std::uint64_t>(count_reads(text_.windows)), "tokens",
                    request_.quiet);
  const Divergence found =
      measure_divergence(
          *base_, &*states_, {&variant, 1}, {&name, 1}, text_,
          {.pass_tokens = kPassTokens, .worst = 0}, pool_,
          [&](std::int64_t tokens) { progress.advance(static_cast<std::uint64_t>(tokens)); })
          .front();
  forget_others(plan, method);
  PlanMeasure out;
  const Estimate kl = estimate_mean(found.kl, text_.counts);
  out.kl = kl.mean;
  out.kl_stderr = kl.stderr_windows;
  double loss = 0, base_loss = 0, same = 0;
  std::size_t at = 0;
  for (const std::int64_t count : text_.counts) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i, ++at) {
      sum += found.kl[at];
      loss += found.loss[at];
      base_loss += found.loss_base[at];
      same += found.same_top[at];
    }
    out.kl_windows.push_back(sum / static_cast<double>(count));
  }
  const auto tokens = static_cast<double>(at);
  out.top1 = same / tokens;
  out.perplexity = std::exp(loss / tokens);
  base_perplexity_ = std::exp(base_loss / tokens);
  return out;
}

PairedDifference paired_difference(const PlanMeasure& a, const PlanMeasure& b) {
  QX_CHECK(a.kl_windows.size() == b.kl_windows.size() && !a.kl_windows.empty());
  std::vector<double> differences;
  for (std::size_t w = 0; w < a.kl_windows.size(); ++w) {
    differences.push_back(b.kl_windows[w] - a.kl_windows[w]);
  }
  const MeanError found = mean_error(differences);
  return {found.mean, found.stderr_};
}

}  // namespace qx
