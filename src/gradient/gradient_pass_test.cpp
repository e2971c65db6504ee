// Gradients against finite differences of the plain forward pass in double.
// SPDX-License-Identifier: Apache-2.0
#include "gradient/gradient_pass.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "model/model.h"
#include "model/reference_forward.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr Role kLinearRoles[] = {Role::kAttentionQ, Role::kAttentionK, Role::kAttentionV,
                                 Role::kAttentionO, Role::kMlpGate,    Role::kMlpUp,
                                 Role::kMlpDown};

// Keeps everything.
class Recorder : public GradientObserver {
 public:
  void observe(const MatrixGradient& g) override {
    order.push_back(g.place);
    outputs[g.place].assign(g.output_gradients, g.output_gradients + g.rows * g.out);
    if (g.inputs != nullptr) inputs[g.place].assign(g.inputs, g.inputs + g.rows * g.in);
    width[g.place] = g.in;
    weights[g.place].resize(static_cast<std::size_t>((g.in > 0 ? g.out * g.in : vocab * g.out)));
  }
  bool wants_weights(MatrixPlace) override { return true; }
  void weight_rows(MatrixPlace place, std::int64_t first, std::int64_t count, const float* values,
                   int) override {
    std::vector<float>& to = weights.at(place);
    const std::int64_t in = width.at(place) > 0 ? width.at(place) : hidden;
    ASSERT_LE((first + count) * in, static_cast<std::int64_t>(to.size()));
    std::copy_n(values, count * in, to.begin() + first * in);
  }
  std::int64_t vocab = 0, hidden = 0;
  std::vector<MatrixPlace> order;
  std::map<MatrixPlace, std::int64_t> width;
  std::map<MatrixPlace, std::vector<float>> inputs, outputs, weights;
};

class GradientPassTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_gradient_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  std::unique_ptr<ModelWeights> make(TinyModel options) {
    options.tokenizer = options.chat_template = false;
    options.layers = 2;
    options.vocab = 96;
    options.hidden = 64;
    options.intermediate = 96;
    const fs::path directory = root_ / std::to_string(count_++);
    write_tiny_model(directory, options);
    return load_weights(directory);
  }
  fs::path root_;
  int count_ = 0;
};

std::vector<TokenId> some_tokens(std::size_t count) {
  Random random(5);
  std::vector<TokenId> out(count);
  for (TokenId& t : out) t = static_cast<TokenId>(random.below(96));
  return out;
}

// A smooth loss that is not alike for any two logits: sum a l + b l^2 / 2.
struct TestLoss {
  explicit TestLoss(std::size_t size) : a(size), b(size) {
    Random random(11);
    for (std::size_t i = 0; i < size; ++i) {
      a[i] = random.gaussian();
      b[i] = random.gaussian();
    }
  }
  double of(const std::vector<std::vector<double>>& logits) const {
    double sum = 0;
    std::size_t i = 0;
    for (const auto& row : logits) {
      for (const double l : row) {
        sum += a[i] * l + 0.5 * b[i] * l * l;
        ++i;
      }
    }
    return sum;
  }
  // Of its terms, as if they were independent.
  double size(const std::vector<std::vector<double>>& logits) const {
    double squares = 0;
    std::size_t i = 0;
    for (const auto& row : logits) {
      for (const double l : row) {
        const double term = a[i] * l + 0.5 * b[i] * l * l;
        squares += term * term;
        ++i;
      }
    }
    return std::sqrt(squares);
  }
  double operator()(std::span<float> logits) const {
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double l = logits[i];
      sum += a[i] * l + 0.5 * b[i] * l * l;
      logits[i] = static_cast<float>(a[i] + b[i] * l);
    }
    return sum;
  }
  std::vector<double> a, b;
};

// dL/dvalue by central differences of fourth order; value is a float that the weights refer to.
double slope(const ModelWeights& weights, std::span<const TokenId> tokens, const TestLoss& loss,
             float& value, float step) {
  const float old = value;
  double sum = 0;
  for (const auto& [times, factor] :
       {std::pair{1.0f, 8.0}, {-1.0f, -8.0}, {2.0f, -1.0}, {-2.0f, 1.0}}) {
    value = old + times * step;
    sum += factor * loss.of(reference_forward(weights, tokens));
  }
  value = old;
  return sum / (12.0 * static_cast<double>(step));
}

Linear& linear_of(ModelWeights& weights, MatrixPlace place) {
  return const_cast<Linear&>(linear_at(weights, place));
}

double root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// A step of 2^-7 about a bias of zero is exact; the error of the fourth order formula is some
// 1e-8 of the fifth derivative. Float32 sums of some hundred terms through two layers: 1e-5 of
// the size of the gradient.
constexpr double kBound = 3e-5;
constexpr float kStep = 0x1p-7f;

struct Case {
  const char* family;
  bool tied;
  AffineSpec spec;  // bits 0: float32
};
const Case kCases[] = {{"llama", false, {0, 0}},
                       {"qwen2", true, {0, 0}},
                       {"qwen3", false, {0, 0}},
                       {"qwen3", true, {4, 32}},
                       {"llama", true, {3, 32}}};

TinyModel tiny(const Case& c) {
  TinyModel options{.family = c.family, .tied = c.tied, .dtype = DType::kF32};
  if (c.spec.bits > 0) options.quantized = c.spec;
  return options;
}

TEST_F(GradientPassTest, OutputGradientsAreDerivativesByTheBias) {
  ThreadPool pool(2);
  const auto tokens = some_tokens(9);
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} {} bits", c.family, c.spec.bits));
    const auto weights = make(tiny(c));
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      for (const Role role : kLinearRoles) {
        Linear& linear = linear_of(*weights, {role, layer});
        linear.bias.resize(static_cast<std::size_t>(linear.rows.rows));
      }
    }
    const TestLoss loss(tokens.size() * 96);
    Recorder recorder;
    recorder.vocab = 96, recorder.hidden = 64;
    GradientPass pass(*weights, pool);
    const double value = pass.run(tokens, loss, recorder);
    const auto logits = reference_forward(*weights, tokens);
    EXPECT_NEAR(value, loss.of(logits), kBound * loss.size(logits));
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      for (const Role role : kLinearRoles) {
        SCOPED_TRACE(fmt::format("{} of layer {}", role_name(role), layer));
        Linear& linear = linear_of(*weights, {role, layer});
        const std::vector<float>& dy = recorder.outputs.at({role, layer});
        const auto width = static_cast<std::size_t>(linear.rows.rows);
        ASSERT_EQ(dy.size(), tokens.size() * width);
        const double size = root_mean_square(dy) * std::sqrt(static_cast<double>(tokens.size()));
        ASSERT_GT(size, 1e-4);
        for (const std::size_t n : {std::size_t{0}, width / 3, width - 1}) {
          double sum = 0;
          for (std::size_t m = 0; m < tokens.size(); ++m) {
            sum += static_cast<double>(dy[m * width + n]);
          }
          EXPECT_NEAR(slope(*weights, tokens, loss, linear.bias[n], kStep), sum, kBound * size);
        }
      }
    }
  }
}

// Replaces a matrix by float32 rows that can be changed, kept in `values`.
void open_rows(Linear& linear, std::vector<float>& values) {
  values.resize(static_cast<std::size_t>(linear.rows.rows * linear.rows.cols));
  for (std::int64_t n = 0; n < linear.rows.rows; ++n) {
    kernels().decode_row(linear.rows, n, 0, linear.rows.cols, values.data() + n * linear.rows.cols);
  }
  WeightRows rows;
  rows.rows = linear.rows.rows;
  rows.cols = linear.rows.cols;
  rows.values = reinterpret_cast<const std::byte*>(values.data());
  linear.rows = rows;
}

TEST_F(GradientPassTest, WeightGradientsAreDerivativesByTheWeights) {
  ThreadPool pool(2);
  const auto tokens = some_tokens(9);
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} {} bits", c.family, c.spec.bits));
    const auto weights = make(tiny(c));
    const TestLoss loss(tokens.size() * 96);
    Recorder recorder;
    recorder.vocab = 96, recorder.hidden = 64;
    GradientPass(*weights, pool).run(tokens, loss, recorder);
    std::vector<MatrixPlace> places = {{Role::kEmbedding, -1}};
    if (!c.tied) places.push_back({Role::kHead, -1});
    for (const Role role : kLinearRoles) places.push_back({role, 0});
    std::map<MatrixPlace, std::vector<float>> opened;
    for (const MatrixPlace place : places) {
      SCOPED_TRACE(role_name(place.role));
      std::vector<float>& values = opened[place];
      open_rows(linear_of(*weights, place), values);
      if (c.tied && place.role == Role::kEmbedding) weights->head.rows = weights->embedding.rows;
      const std::vector<float>& dw = recorder.weights.at(place);
      ASSERT_EQ(dw.size(), values.size());
      const double size = root_mean_square(dw);
      ASSERT_GT(size, 1e-5);
      const std::int64_t cols = linear_of(*weights, place).rows.cols;
      const std::int64_t rows = static_cast<std::int64_t>(dw.size()) / cols;
      // A row that was looked up, and others; first and last column.
      for (const std::int64_t row : {tokens[4] % rows, std::int64_t{1}, rows - 1}) {
        for (const std::int64_t col : {std::int64_t{0}, cols - 1}) {
          const auto at = static_cast<std::size_t>(row * cols + col);
          // The step is what float32 makes of it.
          const float step = (values[at] + 0x1p-8f) - values[at];
          EXPECT_NEAR(slope(*weights, tokens, loss, values[at], step), dw[at], 3 * kBound * size)
              << row << ", " << col;
        }
      }
    }
  }
}

TEST_F(GradientPassTest, DoesNotDependOnThreads) {
  const auto weights = make({.family = "qwen3", .tied = true, .quantized = AffineSpec{4, 32}});
  const auto tokens = some_tokens(150);  // more than one block of queries
  const TestLoss loss(tokens.size() * 96);
  Recorder recorders[2];
  for (const int threads : {1, 3}) {
    Recorder& r = recorders[threads / 3];
    r.vocab = 96, r.hidden = 64;
    ThreadPool pool(threads);
    GradientPass pass(*weights, pool);
    pass.run(some_tokens(20), TestLoss(20 * 96), r);  // a pass leaves nothing behind
    r.order.clear();
    pass.run(tokens, loss, r);
  }
  EXPECT_EQ(recorders[0].order, recorders[1].order);
  EXPECT_EQ(recorders[0].order.size(), 2u * 7 + 2);
  EXPECT_EQ(recorders[0].order.front().role, Role::kHead);
  EXPECT_EQ(recorders[0].order.back().role, Role::kEmbedding);
  EXPECT_EQ(recorders[0].outputs, recorders[1].outputs);
  EXPECT_EQ(recorders[0].inputs, recorders[1].inputs);
  EXPECT_EQ(recorders[0].weights, recorders[1].weights);
}

TEST_F(GradientPassTest, LongSequencesToo) {
  const auto weights = make({.family = "qwen3", .dtype = DType::kF32});
  const auto tokens = some_tokens(130);
  const TestLoss loss(tokens.size() * 96);
  Recorder recorder;
  recorder.vocab = 96, recorder.hidden = 64;
  ThreadPool pool(2);
  GradientPass(*weights, pool).run(tokens, loss, recorder);
  std::map<Role, std::vector<float>> opened;
  for (const Role role : {Role::kAttentionQ, Role::kAttentionK, Role::kAttentionV}) {
    SCOPED_TRACE(role_name(role));
    const MatrixPlace place{role, 0};
    std::vector<float>& values = opened[role];
    open_rows(linear_of(*weights, place), values);
    const std::vector<float>& dw = recorder.weights.at(place);
    const float step = (values[70] + 0x1p-9f) - values[70];
    EXPECT_NEAR(slope(*weights, tokens, loss, values[70], step), dw[70],
                1e-4 * root_mean_square(dw));
  }
}

TEST_F(GradientPassTest, ForwardIsTheModels) {
  ThreadPool pool(2);
  const auto tokens = some_tokens(70);
  const auto weights = make({.family = "qwen3", .quantized = AffineSpec{4, 32}});
  GradientPass pass(*weights, pool);
  const std::span<float> logits = pass.forward(tokens);
  const std::vector<float> ours(logits.begin(), logits.end());
  const std::span<const float> state = pass.layer_input(1);
  const std::vector<float> middle(state.begin(), state.end());
  const auto model = load_model(root_ / "0", pool, Precision::kReference);
  const auto segment = model->new_segment(nullptr, 70);
  std::vector<std::int32_t> outputs(tokens.size());
  std::iota(outputs.begin(), outputs.end(), 0);
  const Chunk chunk{segment.get(), tokens, outputs};
  const Hidden hidden = model->forward({&chunk, 1});
  std::vector<float> theirs(ours.size());
  model->logits_rows(hidden, 0, hidden.rows, theirs);
  EXPECT_EQ(ours, theirs);  // bit for bit
  pass.forward(some_tokens(5));
  const std::span<float> again = pass.resume(1, middle);
  EXPECT_TRUE(std::equal(again.begin(), again.end(), ours.begin(), ours.end()));
}

TEST_F(GradientPassTest, RefusesWhatIsNotFinite) {
  ThreadPool pool(2);
  const auto weights = make({.family = "llama"});
  GradientPass pass(*weights, pool);
  GradientObserver nobody;
  const auto zero = [](std::span<float>) { return 0.0; };
  EXPECT_THROW(pass.run({}, zero, nobody), Error);
  const std::vector<TokenId> beyond = {3, 96};
  EXPECT_THROW(pass.run(beyond, zero, nobody), Error);
  const auto nan = [](std::span<float>) { return std::numeric_limits<double>::quiet_NaN(); };
  EXPECT_THROW(pass.run(some_tokens(3), nan, nobody), Error);
  weights->norm[5] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(pass.run(some_tokens(3), zero, nobody), Error);
}

}  // namespace
}  // namespace qx
