// SPDX-License-Identifier: Apache-2.0
#include "distill/distill.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numbers>
#include <numeric>
#include <set>

#include "arch/catalog.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "calibrate/text_windows.h"
#include "distill/trained_directory.h"
#include "distill/trained_matrix.h"
#include "fit/calibration_file.h"
#include "gradient/gradient_pass.h"
#include "io/replaceable.h"
#include "kernels/api.h"
#include "model/cpu_model.h"
#include "runs/model_facts.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kCheckEvery = 50;  // steps between validations
constexpr double kWarmUp = 0.1;           // part of the steps
// Of a calibration, which often has few windows, at most one in so many validates.
constexpr std::int64_t kCalibrationParts = 6;

struct LearningText {
  std::vector<std::vector<TokenId>> windows;
  std::int64_t ctx = 0, validation = 0;
  fs::path place;
  Json record;  // {"text": ..} or {"calibration": ..}
};

LearningText calibration_text(const Calibration& calibration, const DistillRequest& request) {
  LearningText out;
  out.windows = calibration.windows();
  if (out.windows.empty()) fail(request.calibration.string(), "got no windows, expected some");
  out.ctx = static_cast<std::int64_t>(out.windows.front().size());
  out.validation = std::min(request.validation,
                            std::max<std::int64_t>(1, std::ssize(out.windows) / kCalibrationParts));
  out.place = request.calibration;
  Json record = {{"sha256", calibration.sha256()}};
  for (const char* key : {"tokens", "windows", "ctx", "text"}) {
    record[key] = json_member(calibration.info(), key);
  }
  out.record = {{"calibration", std::move(record)}};
  return out;
}

LearningText load_calibration(const DistillRequest& request, const ModelConfig& config) {
  const Calibration calibration(request.calibration);
  calibration.require_model(config, request.base);
  calibration.require_weights(weight_files(measure_model(request.base).files), request.base);
  return calibration_text(calibration, request);
}

LearningText load_text(const DistillRequest& request, const ModelConfig& config) {
  if (!request.calibration.empty()) return load_calibration(request, config);
  TextWindows text = read_text_windows({.model = request.base,
                                        .text = request.text,
                                        .format = request.format,
                                        .chat = request.chat,
                                        .windows = std::numeric_limits<std::int32_t>::max(),
                                        .ctx = request.ctx,
                                        .skip = request.skip,
                                        .share = request.share},
                                       Tokenizer::load(request.base));
  for (const std::vector<TokenId>& window : text.windows) {
    require_known_tokens(window, config.vocab_size, request.text.string());
  }
  return {std::move(text.windows),
          request.ctx,
          request.validation,
          request.text,
          {{"text", std::move(text.json)}}};
}

// The next-token logits of a window, [tokens, vocab_size].
void forward_window(Model& model, const std::vector<TokenId>& window, std::vector<float>& logits) {
  const auto n = static_cast<std::int64_t>(window.size());
  const auto segment = model.new_segment(nullptr, n);
  std::vector<std::int32_t> outputs(window.size());
  std::iota(outputs.begin(), outputs.end(), 0);
  const Chunk chunk{segment.get(), window, outputs};
  const Hidden hidden = model.forward({&chunk, 1});
  logits.resize(window.size() * static_cast<std::size_t>(model.config().vocab_size));
  model.logits_rows(hidden, 0, n, logits);
}

void require_same_shape(const ModelConfig& base, const ModelConfig& made, const fs::path& place) {
  const auto shape = [](const ModelConfig& c) {
    return fmt::format("{} with {} layers of {}, {} heads of {}, {} kv heads, {} tokens",
                       c.model_type, c.num_hidden_layers, c.hidden_size, c.num_attention_heads,
                       c.head_dim, c.num_key_value_heads, c.vocab_size);
  };
  if (shape(base) != shape(made) || base.intermediate_size != made.intermediate_size) {
    fail(place.string(), "got {}, expected the base's {}", shape(made), shape(base));
  }
}

DistillWindows deal(const LearningText& text, const DistillRequest& request) {
  return deal_windows(std::ssize(text.windows), text.validation, request.steps, request.seed);
}

void require_learnable(const LearningText& text, const DistillWindows& dealt,
                       const ModelConfig& config, const fs::path& base) {
  if (text.ctx > config.max_position_embeddings) {
    fail(base.string(), "got windows of {} tokens, expected at most the model's {} positions",
         text.ctx, config.max_position_embeddings);
  }
  if (dealt.training.empty()) {
    fail(text.place.string(),
         "got {} windows of {} tokens, expected more than the {} that validate",
         text.windows.size(), text.ctx, dealt.validation.size());
  }
}

// The base's next-token logits of windows.
class Teacher {
 public:
  Teacher(const fs::path& directory, ThreadPool& pool)
      : model_(load_model(directory, pool, Precision::kReference)) {}

  const ModelConfig& config() const { return model_->config(); }
  std::span<const float> logits(const std::vector<TokenId>& window) {
    forward_window(*model_, window, logits_);
    return logits_;
  }

 private:
  std::unique_ptr<Model> model_;
  std::vector<float> logits_;
};

// The quantized model with scales and biases of its own memory.
class Student final : public GradientObserver {
 public:
  Student(const fs::path& directory, ThreadPool& pool) : pool_(pool) {
    std::unique_ptr<ModelWeights> weights = load_weights(directory);
    weights_ = weights.get();
    for (const CatalogTensor& tensor : tensor_catalog(weights->config)) {
      if (!tensor.quantizable) continue;
      Linear& linear = linear_place(*weights, tensor);
      if (linear.rows.kind != WeightKind::kAffine) continue;
      const MatrixPlace place{tensor.role, tensor.layer};
      TrainedMatrix& matrix = matrices_.try_emplace(place, linear.rows).first->second;
      linear.rows = matrix.rows();
      if (tensor.role == Role::kEmbedding && weights->config.tie_word_embeddings) {
        weights->head.rows = matrix.rows();
      }
      modules_[place] = tensor.module;
    }
    if (matrices_.empty()) {
      fail(directory.string(), "got no quantized matrix, expected some with scales and biases");
    }
    model_ = std::make_unique<CpuModel>(std::move(weights), pool, Precision::kReference);
    pass_ = std::make_unique<GradientPass>(*weights_, pool);
  }

  const ModelConfig& config() const { return weights_->config; }
  std::int64_t groups() const {
    std::int64_t sum = 0;
    for (const auto& [place, matrix] : matrices_) sum += matrix.groups();
    return sum;
  }

  // KL of a window, in its gradients as well.
  double learn(const std::vector<TokenId>& window, std::span<const float> base) {
    return pass_->run(
        window,
        [&](std::span<float> logits) {
          return kl_and_gradient(pool_, base, logits, config().vocab_size);
        },
        *this);
  }
  void step(AdamStep adam) {
    std::vector<TrainedMatrix*> all;
    for (auto& [place, matrix] : matrices_) all.push_back(&matrix);
    pool_.parallel_for(all.size(), 1, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) all[i]->step(adam);
    });
  }
  double divergence(const std::vector<TokenId>& window, std::span<const float> base) {
    forward_window(*model_, window, logits_);
    return kl_and_gradient(pool_, base, logits_, config().vocab_size);
  }

  using Arrays = std::map<std::string, std::vector<std::byte>>;
  Arrays arrays() const {
    Arrays out;
    for (const auto& [place, matrix] : matrices_) {
      out[modules_.at(place) + ".scales"] = matrix.scales();
      out[modules_.at(place) + ".biases"] = matrix.biases();
    }
    return out;
  }

  bool wants_weights(MatrixPlace place) override { return matrices_.contains(place); }
  void weight_rows(MatrixPlace place, std::int64_t first, std::int64_t count, const float* values,
                   int) override {
    matrices_.at(place).add_gradient(first, count, values);
  }

 private:
  ThreadPool& pool_;
  std::map<MatrixPlace, TrainedMatrix> matrices_;
  std::map<MatrixPlace, std::string> modules_;
  ModelWeights* weights_ = nullptr;  // the model's
  std::unique_ptr<CpuModel> model_;
  std::unique_ptr<GradientPass> pass_;
  std::vector<float> logits_;
};

// How the codes were found that it starts from.
Json recorded_fit(const fs::path& directory) {
  Json fit;
  if (const fs::path record = directory / "qx_plan.json"; fs::exists(record)) {
    fit = json_member(read_json_file(record), "fit");
  }
  return fit.is_null() ? Json{{"method", "minmax"}} : fit;
}

class Distillation {
 public:
  Distillation(const DistillRequest& request, ThreadPool& pool)
      : request_(request),
        start_(recorded_fit(request.quantized)),
        teacher_(request.base, pool),
        student_(request.quantized, pool),
        text_(load_text(request, teacher_.config())),
        dealt_(deal(text_, request)) {
    require_same_shape(teacher_.config(), student_.config(), request.quantized);
    require_learnable(text_, dealt_, teacher_.config(), request.base);
  }

  DistillReport run() {
    Progress progress("distilling", static_cast<std::uint64_t>(request_.steps), "steps",
                      request_.quiet);
    report_.groups = student_.groups();
    const std::set<std::int64_t> seen(dealt_.training.begin(), dealt_.training.end());
    report_.windows = static_cast<std::int64_t>(seen.size());
    report_.validation = std::ssize(dealt_.validation);
    report_.start_kl = report_.kl = validate();
    progress.print(fmt::format("step 0: KL {:.5f} on {} validation windows", report_.start_kl,
                               dealt_.validation.size()));
    if (request_.keep_start) best_ = student_.arrays();
    double sum = 0;
    for (std::int64_t step = 1; step <= request_.steps; ++step) {
      const std::vector<TokenId>& window =
          window_at(dealt_.training[static_cast<std::size_t>(step - 1)]);
      sum += student_.learn(window, teacher_.logits(window));
      student_.step({request_.rate * rate_share(step, request_.steps), step});
      progress.advance();
      if (step % kCheckEvery != 0 && step != request_.steps) continue;
      const double kl = validate();
      progress.print(
          fmt::format("step {}: KL {:.5f} on the validation windows, {:.5f} on those of training",
                      step, kl, sum / static_cast<double>((step - 1) % kCheckEvery + 1)));
      sum = 0;
      if (kl < report_.kl) {
        report_.kl = kl;
        report_.kept_step = step;
        best_ = student_.arrays();
      }
    }
    finish();
    return report_;
  }

 private:
  const std::vector<TokenId>& window_at(std::int64_t index) const {
    return text_.windows[static_cast<std::size_t>(index)];
  }
  double validate() {
    double sum = 0;
    for (const std::int64_t index : dealt_.validation) {
      check_interrupt();
      sum += student_.divergence(window_at(index), teacher_.logits(window_at(index)));
    }
    return sum / static_cast<double>(dealt_.validation.size());
  }

  void finish() {
    if (report_.kept_step == 0 && !request_.keep_start) {
      fail(request_.quantized.string(),
           "got no KL below the first {:.5f} on the validation windows, expected one; try a lower "
           "--rate or more --steps",
           report_.start_kl);
    }
    const ModelFacts facts = measure_model(request_.base);
    report_.record = {{"method", "distill"},
                      {"start", start_},
                      {"base", weight_files(facts.files)},
                      {"ctx", text_.ctx},
                      {"steps", request_.steps},
                      {"kept_step", report_.kept_step},
                      {"windows", report_.windows},
                      {"validation_windows", dealt_.validation.size()},
                      {"rate", request_.rate},
                      {"seed", request_.seed},
                      {"validation_kl", {report_.start_kl, report_.kl}}};
    report_.record.update(text_.record);
    write_with_arrays(request_.quantized, request_.target, best_, report_.record, request_.force);
  }

  const DistillRequest& request_;
  const Json start_;
  Teacher teacher_;
  Student student_;
  LearningText text_;
  DistillWindows dealt_;
  DistillReport report_;
  Student::Arrays best_;
};

}  // namespace

double rate_share(std::int64_t step, std::int64_t steps) {
  const double at = static_cast<double>(step), all = static_cast<double>(steps);
  const double rising = std::min(1.0, at / std::max(1.0, kWarmUp * all));
  return rising * 0.5 * (1 + std::cos(std::numbers::pi * (at - 1) / all));
}

DistillWindows deal_windows(std::int64_t count, std::int64_t validation, std::int64_t steps,
                            std::uint64_t seed) {
  QX_CHECK(count >= 1 && validation >= 1 && steps >= 0);
  DistillWindows out;
  const std::int64_t held = std::min(validation, count);
  std::vector<char> validates(static_cast<std::size_t>(count), 0);
  for (std::int64_t i = 0; i < held; ++i) {
    out.validation.push_back(i * count / held);
    validates[static_cast<std::size_t>(out.validation.back())] = 1;
  }
  std::vector<std::int64_t> others;
  for (std::int64_t i = 0; i < count; ++i) {
    if (validates[static_cast<std::size_t>(i)] == 0) others.push_back(i);
  }
  if (others.empty()) return out;
  Random random(seed);
  while (static_cast<std::int64_t>(out.training.size()) < steps) {
    for (std::size_t i = others.size(); i > 1; --i)
      std::swap(others[i - 1], others[random.below(i)]);
    for (const std::int64_t index : others) {
      if (static_cast<std::int64_t>(out.training.size()) < steps) out.training.push_back(index);
    }
  }
  return out;
}

double kl_and_gradient(ThreadPool& pool, std::span<const float> base, std::span<float> logits,
                       std::int64_t vocab) {
  QX_CHECK(base.size() == logits.size() && vocab > 0);
  const auto width = static_cast<std::size_t>(vocab);
  const std::size_t rows = base.size() / width;
  const KernelTable& table = kernels();
  std::vector<double> divergences(rows);
  std::vector<FloatBuffer> scratch(static_cast<std::size_t>(pool.threads()));
  pool.parallel_for(rows, 4, [&](std::size_t begin, std::size_t end, int worker) {
    float* p = scratch[static_cast<std::size_t>(worker)].reserve(vocab);
    for (std::size_t m = begin; m < end; ++m) {
      const float* b = base.data() + m * width;
      float* l = logits.data() + m * width;
      float b_max = 0, l_max = 0;
      std::int64_t at = 0;
      table.max_index(b, vocab, &b_max, &at);
      table.max_index(l, vocab, &l_max, &at);
      const double b_sum = table.sum_exp(b, vocab, b_max), l_sum = table.sum_exp(l, vocab, l_max);
      std::copy_n(b, width, p);
      table.softmax_unnormalized(p, vocab);
      // Sum of p (b - l) with the largest of each taken off, so that the terms are small.
      double sum = 0;
      for (std::size_t v = 0; v < width; ++v) {
        sum += static_cast<double>(p[v]) *
               (static_cast<double>(b[v] - b_max) - static_cast<double>(l[v] - l_max));
      }
      divergences[m] = std::max(0.0, sum / b_sum - std::log(b_sum) + std::log(l_sum));
      table.softmax_unnormalized(l, vocab);
      const auto each = static_cast<double>(rows);
      const auto by_p = static_cast<float>(1 / (b_sum * each));
      const auto by_q = static_cast<float>(1 / (l_sum * each));
      for (std::size_t v = 0; v < width; ++v) l[v] = l[v] * by_q - p[v] * by_p;
    }
  });
  return std::accumulate(divergences.begin(), divergences.end(), 0.0) / static_cast<double>(rows);
}

DistillReport distill(const DistillRequest& request, ThreadPool& pool) {
  require_replaceable(request.target, request.force,
                      {request.base, request.quantized, request.text, request.calibration});
  Distillation distillation(request, pool);
  return distillation.run();
}

void check_calibration_windows(const DistillRequest& request) {
  const ModelConfig config = load_model_config(request.base);
  const Calibration calibration(request.calibration);
  calibration.require_model(config, request.base);
  const LearningText text = calibration_text(calibration, request);
  require_learnable(text, deal(text, request), config, request.base);
}

}  // namespace qx
