// Sensitivity on tiny models, and its parts against their definitions.
// SPDX-License-Identifier: Apache-2.0
#include "sensitivity/measure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/half.h"
#include "base/random.h"
#include "calibrate/calibrate.h"
#include "convert/convert.h"
#include "fit/calibration_file.h"
#include "io/safetensors.h"
#include "io/test_files.h"
#include "kernels/api.h"
#include "model/buffer.h"
#include "model/reference_forward.h"
#include "sensitivity/code_costs.h"
#include "sensitivity/direct_cost.h"
#include "sensitivity/gradient_samples.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using testing_files::error_of;

std::vector<float> gaussians(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> out(count);
  for (float& v : out) v = static_cast<float>(random.gaussian());
  return out;
}

TEST(Spread, TakesEvenDistances) {
  EXPECT_EQ(spread(4, 10), (std::vector<std::int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(spread(10, 2), (std::vector<std::int64_t>{2, 7}));
  EXPECT_EQ(sampled_rows(40).size(), 40u);
  EXPECT_EQ(sampled_rows(100).size(), 64u);
  EXPECT_EQ(sampled_rows(1000).size(), 250u);
}

TEST(WeightedOutputError, IsItsDefinition) {
  constexpr std::int64_t kRows = 5, kCols = 64, kSamples = 300;  // more than one cut
  const auto errors = gaussians(kRows * kCols, 1), inputs = gaussians(kSamples * kCols, 2),
             slopes = gaussians(kSamples * kRows, 3);
  double expected = 0;
  for (std::int64_t m = 0; m < kSamples; ++m) {
    for (std::int64_t j = 0; j < kRows; ++j) {
      double move = 0;
      for (std::int64_t k = 0; k < kCols; ++k) {
        move += double(errors[static_cast<std::size_t>(j * kCols + k)]) *
                double(inputs[static_cast<std::size_t>(m * kCols + k)]);
      }
      expected += std::pow(move * double(slopes[static_cast<std::size_t>(m * kRows + j)]), 2);
    }
  }
  FloatBuffer scratch;
  const double got = weighted_output_error(errors, {kRows, kCols}, slopes, inputs,
                                           scratch.reserve(linear_scratch_floats(kCols)));
  EXPECT_NEAR(got / expected, 1.0, 1e-5);
}

TEST(Statistics, OfPairs) {
  std::vector<SensitivityPair> pairs;
  for (const double x : {1.0, 2.0, 4.0, 8.0}) pairs.push_back({"t", {4, 64}, x, 3 * x * x});
  EXPECT_NEAR(*log_pearson(pairs), 1.0, 1e-12);
  EXPECT_NEAR(*median_ratio(pairs), 9.0, 1e-12);
  pairs[0].direct = 0;  // has no logarithm
  EXPECT_NEAR(*log_pearson(pairs), 1.0, 1e-12);
  pairs.resize(2);
  EXPECT_FALSE(log_pearson(pairs).has_value());
  EXPECT_FALSE(median_ratio({}).has_value());
}

class SensitivityTest : public ::testing::Test {
 protected:
  void make(const TinyModel& options) {
    write_tiny_model(dir_ / "m", options);
    calibrate_model();
  }
  void calibrate_model() const {
    write_text(dir_ / "text.txt", tiny_text(400));
    fs::remove(dir_ / "cal");  // of other weights
    CalibrateRequest r;
    r.model = dir_ / "m";
    r.text = dir_ / "text.txt";
    r.target = dir_ / "cal";
    r.windows = 8;
    r.ctx = 64;
    r.quiet = true;
    ThreadPool pool(2);
    calibrate(r, pool);
  }
  // Puts a value in the place of a weight of the bfloat16 model.
  void poke(const std::string& tensor, std::int64_t row, float value) const {
    const fs::path file = dir_ / "m/model.safetensors";
    std::string bytes = read_text(file);
    const SafetensorsFile model(file);
    for (const TensorView& view : model.tensors()) {
      if (view.name != tensor) continue;
      const std::uint16_t stored = f32_to_bf16(value);
      std::memcpy(bytes.data() + (view.data.data() - model.file().bytes().data()) +
                      row * view.shape.back() * 2,
                  &stored, sizeof stored);
    }
    write_text(file, bytes);
  }
  SensitivityRequest request() const {
    SensitivityRequest r;
    r.model = dir_ / "m";
    r.calibration = dir_ / "cal";
    r.validate = 0;
    r.bits = {3, 4, 8};
    r.groups = {32, 64};
    r.quiet = true;
    return r;
  }
  TestFolder dir_;
};

// KL by its definition, in double.
double plain_divergence(const fs::path& base, const fs::path& variant,
                        const std::vector<std::vector<TokenId>>& windows) {
  const auto a = load_weights(base), b = load_weights(variant);
  double sum = 0;
  std::size_t tokens = 0;
  for (const auto& window : windows) {
    const auto p = reference_forward(*a, window), q = reference_forward(*b, window);
    for (std::size_t m = 0; m < p.size(); ++m) {
      double zp = 0, zq = 0;
      for (std::size_t v = 0; v < p[m].size(); ++v) {
        zp += std::exp(p[m][v]);
        zq += std::exp(q[m][v]);
      }
      for (std::size_t v = 0; v < p[m].size(); ++v) {
        sum += std::exp(p[m][v]) / zp * (p[m][v] - q[m][v] - std::log(zp / zq));
      }
    }
    tokens += window.size();
  }
  return sum / static_cast<double>(tokens);
}

TEST_F(SensitivityTest, DirectCostIsTheDivergenceOfAConversion) {
  for (const bool tied : {false, true}) {
    SCOPED_TRACE(tied);
    make({.family = "qwen3", .tied = tied, .layers = 2});
    ThreadPool pool(2);
    const auto weights = load_weights(dir_ / "m");
    const Calibration calibration(dir_ / "cal");
    const auto all = calibration.windows();
    const std::vector<std::vector<TokenId>> windows(all.begin(), all.begin() + 2);
    GradientPass pass(*weights, pool);
    DirectCost direct(*weights, windows, pass, pool);
    struct Case {
      MatrixPlace place;
      const char* pattern;
    };
    const Case cases[] = {{{Role::kMlpDown, 1}, "model.layers.1.mlp.down_proj"},
                          {{Role::kEmbedding, -1}, "model.embed_tokens"}};
    for (const Case& c : cases) {
      SCOPED_TRACE(c.pattern);
      const fs::path recipe = dir_ / "one.json";
      write_text(recipe, fmt::format(R"({{"name": "one", "bits": 8, "rules": [
          {{"match": "{}", "bits": 3, "group_size": 32, "why": "t"}},
          {{"match": "*", "float": true, "why": "t"}}]}})",
                                     c.pattern));
      ConvertRequest r;
      r.source = dir_ / "m";
      r.target = dir_ / "made";
      r.plan.recipe = recipe.string();
      r.force = r.quiet = true;
      convert(r, pool);
      const WeightRows& w = linear_at(*weights, c.place).rows;
      std::vector<float> values(static_cast<std::size_t>(w.rows * w.cols));
      for (std::int64_t n = 0; n < w.rows; ++n) {
        kernels().decode_row(w, n, 0, w.cols, values.data() + n * w.cols);
      }
      CodedRows coded({w.rows, w.cols}, {3, 32}, DType::kBF16);
      CodeMaker{}.encode(values, coded.shape, coded.spec, coded.out());
      const double expected = plain_divergence(dir_ / "m", dir_ / "made", windows);
      ASSERT_GT(expected, 1e-6);
      EXPECT_NEAR(direct.measure(c.place, coded) / expected, 1.0, 0.01);
      EXPECT_NEAR(direct.measure(c.place, coded) / expected, 1.0, 0.01);  // it puts back
    }
    fs::remove(dir_ / "cal");
    fs::remove_all(dir_ / "m");
  }
}

TEST_F(SensitivityTest, PredictsWhatIsMeasured) {
  make({.family = "llama", .tied = true, .layers = 2});
  ThreadPool one(1), three(3);
  SensitivityRequest r = request();
  r.windows = 8;
  r.direct_windows = 8;
  r.validate = 30;
  const Sensitivity s = measure_sensitivity(r, one).result;
  ASSERT_TRUE(s.validation);
  EXPECT_EQ(s.validation->pairs.size(), 30u);
  EXPECT_GT(s.validation->log_pearson.value(), 0.95);
  EXPECT_GT(s.validation->median_ratio.value(), 1 / 1.5);
  EXPECT_LT(s.validation->median_ratio.value(), 1.5);
  EXPECT_EQ(s.tensors.size(), 15u);
  for (const SensitivityTensor& t : s.tensors) {
    EXPECT_EQ(t.measured, t.role == "embedding");
    EXPECT_EQ(t.options.size(), 6u);
    std::map<std::pair<int, int>, double> costs;
    for (const SensitivityOption& o : t.options) costs[{o.spec.bits, o.spec.group}] = o.cost;
    EXPECT_GT((costs[{3, 64}]), (costs[{4, 64}])) << t.name;
    EXPECT_GT((costs[{4, 64}]), (costs[{8, 64}])) << t.name;
    EXPECT_GT((costs[{3, 64}]), (costs[{3, 32}])) << t.name;
    EXPECT_GT((costs[{8, 64}]), 0) << t.name;
  }
  // The same from any number of threads, and as a file.
  Json first = sensitivity_json(s), second = sensitivity_json(measure_sensitivity(r, three).result);
  first.erase("created");
  second.erase("created");
  EXPECT_EQ(first, second);
  EXPECT_EQ(sensitivity_json(parse_sensitivity(sensitivity_json(s), "s")), sensitivity_json(s));
}

TEST_F(SensitivityTest, EveryFitAndAnUntiedHead) {
  make({.family = "qwen2", .layers = 2});
  ThreadPool pool(2);
  double sums[3] = {};
  for (const FitMethod fit : {FitMethod::kMinMax, FitMethod::kMse, FitMethod::kGptq}) {
    SensitivityRequest r = request();
    r.fit = fit;
    const Sensitivity s = measure_sensitivity(r, pool).result;
    EXPECT_EQ(s.fit, fit_method_name(fit));
    EXPECT_EQ(s.tensors.back().role, "head");
    EXPECT_TRUE(s.tensors.back().measured);
    for (const SensitivityTensor& t : s.tensors) {
      if (!t.measured) sums[static_cast<int>(fit)] += t.options[0].cost;
    }
  }
  EXPECT_GT(sums[0], sums[1]);
  EXPECT_GT(sums[0], sums[2]);
}

TEST_F(SensitivityTest, WeightsThatAreNoNumbersAreNamed) {
  ThreadPool pool(2);
  const auto error = [&](const SensitivityRequest& r) {
    return error_of([&] { measure_sensitivity(r, pool); });
  };
  // A row of an embedding that no text reads, so that the model runs all the same.
  make({.family = "llama", .layers = 2});
  poke("model.embed_tokens.weight", 0, std::numeric_limits<float>::quiet_NaN());
  calibrate_model();
  for (const FitMethod fit : {FitMethod::kMinMax, FitMethod::kGptq}) {
    SensitivityRequest r = request();
    r.fit = fit;
    EXPECT_NE(error(r).find("'model.embed_tokens.weight', row 0, column 0] got the weight nan"),
              std::string::npos)
        << error(r);
  }
  // One that the type asked for cannot hold.
  make({.family = "llama", .layers = 2});
  poke("model.layers.1.mlp.up_proj.weight", 3, 1e5f);
  calibrate_model();
  for (const FitMethod fit : {FitMethod::kMinMax, FitMethod::kMse, FitMethod::kGptq}) {
    SensitivityRequest r = request();
    r.fit = fit;
    r.dtype = DType::kF16;
    EXPECT_NE(
        error(r).find("up_proj.weight', row 3, column 0] got the weight 99840, which float16"),
        std::string::npos)
        << error(r);
  }
  make({.family = "qwen2", .layers = 2, .hidden = 120, .intermediate = 200});
  EXPECT_NE(error(request()).find("no matrix whose columns a group divides"), std::string::npos)
      << error(request());
}

TEST_F(SensitivityTest, BadInputIsAnError) {
  make({.family = "llama", .layers = 2});
  ThreadPool pool(1);
  const auto error = [&](const SensitivityRequest& r) {
    return error_of([&] { measure_sensitivity(r, pool); });
  };
  write_tiny_model(dir_ / "other", {.family = "llama", .seed = 2, .layers = 2});
  SensitivityRequest r = request();
  r.model = dir_ / "other";
  EXPECT_NE(error(r).find("other weights"), std::string::npos);
  write_tiny_model(dir_ / "wider", {.family = "llama", .layers = 2, .intermediate = 320});
  r.model = dir_ / "wider";
  EXPECT_NE(error(r).find("another model"), std::string::npos);
  ::setenv("QX_MEMORY_LIMIT", "1MB", 1);
  EXPECT_NE(error(request()).find("beside the weights"), std::string::npos);
  ::unsetenv("QX_MEMORY_LIMIT");
  r = request();
  r.calibration = dir_ / "text.txt";
  EXPECT_NE(error(r), "");
}

}  // namespace
}  // namespace qx
