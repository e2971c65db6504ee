// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibrate.h"
#include "calibrate/text_windows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/hash.h"
#include "base/random.h"
#include "calibrate/second_moments.h"
#include "calibrate/token_weights.h"
#include "convert/convert.h"
#include "convert/verify.h"
#include "fit/calibration_file.h"
#include "gradient/sampled_loss.h"
#include "io/staged.h"
#include "io/test_files.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using testing_files::error_of;

TEST(SecondMoments, AreTheSumsOfProducts) {
  constexpr std::int64_t kRows = 1100, kWidth = 200;  // more than one cut, ragged tiles
  Random random(3);
  std::vector<float> x(static_cast<std::size_t>(kRows * kWidth));
  for (float& v : x) v = static_cast<float>(random.gaussian());
  const std::vector<LinearInputShape> inputs = {{"layers.4.down", kWidth}};
  std::vector<std::vector<double>> sums;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    SecondMoments moments(inputs, pool);
    moments.observe({LinearInputKind::kDown, 4}, x.data(), kRows, kWidth);
    moments.observe({LinearInputKind::kDown, 5}, x.data(), kRows, kWidth);  // not asked for
    EXPECT_EQ(moments.count("layers.4.down"), kRows);
    const auto sum = moments.sum("layers.4.down");
    sums.emplace_back(sum.begin(), sum.end());
  }
  EXPECT_EQ(sums[0], sums[1]);
  for (std::int64_t i = 0; i < kWidth; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double expected = 0;
      for (std::int64_t m = 0; m < kRows; ++m) {
        expected += double(x[static_cast<std::size_t>(m * kWidth + i)]) *
                    double(x[static_cast<std::size_t>(m * kWidth + j)]);
      }
      ASSERT_NEAR(sums[0][static_cast<std::size_t>(triangle_size(i) + j)], expected, 1e-3);
    }
  }
  x[777] = std::nanf("");
  ThreadPool pool(1);
  SecondMoments moments(inputs, pool);
  EXPECT_NE(error_of([&] {
              moments.observe({LinearInputKind::kDown, 4}, x.data(), kRows, kWidth);
            }).find("layers.4.down"),
            std::string::npos);
}

TEST(ChooseWindows, SpreadOverThePartThatIsUsed) {
  EXPECT_EQ(choose_windows(0, 100, 10, 5, "t"), (std::vector<std::int64_t>{0, 20, 40, 60, 80}));
  EXPECT_EQ(choose_windows(7, 39, 10, 100, "t"), (std::vector<std::int64_t>{7, 17, 27}));
  EXPECT_NE(error_of([] { choose_windows(5, 14, 10, 1, "t"); }).find("9 tokens"),
            std::string::npos);
}

// Of the last array: a scale, a bias, a code or a float.
void damage_one_byte(const fs::path& file) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(-7, std::ios::end);
  const int byte = stream.get();
  stream.seekp(-7, std::ios::end);
  stream.put(static_cast<char>(byte ^ 1));
}

class Calibrate : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(dir_ / "m", {.family = "llama", .tied = true, .layers = 2});
    write_text(dir_ / "text.txt", tiny_text(400));
  }
  CalibrateRequest request(const std::string& target) const {
    CalibrateRequest r;
    r.model = dir_ / "m";
    r.text = dir_ / "text.txt";
    r.target = dir_ / target;
    r.windows = 6;
    r.ctx = 64;
    r.quiet = true;
    return r;
  }
  TestFolder dir_;
};

TEST_F(Calibrate, TheFileDependsNeitherOnThreadsNorOnMemory) {
  ThreadPool one(1), three(3);
  const CalibrateReport report = calibrate(request("a.safetensors"), one);
  EXPECT_EQ(report.tokens, 6 * 64);
  EXPECT_EQ(report.passes, 1);
  calibrate(request("b.safetensors"), three);
  CalibrateRequest tight = request("c.safetensors");
  tight.memory_bytes = 300'000;
  EXPECT_GT(calibrate(tight, three).passes, 2);
  const std::string hash = sha256_file(dir_ / "a.safetensors");
  EXPECT_EQ(hash, sha256_file(dir_ / "b.safetensors"));
  EXPECT_EQ(hash, sha256_file(dir_ / "c.safetensors"));
  const Calibration c(dir_ / "a.safetensors");
  c.require_model(load_model_config(dir_ / "m"), "m");
  const auto windows = c.windows();
  ASSERT_EQ(windows.size(), 6u);
  std::vector<TokenId> tokens;
  for (const auto& window : windows) tokens.insert(tokens.end(), window.begin(), window.end());
  EXPECT_EQ(json_string(json_member(c.info(), "text"), "used_sha256", ""), hash_tokens(tokens));
  // After an RMS norm the squares' mean is that of the norm's weights, about one.
  double sum = 0;
  for (const float v : c.mean_square("final")) sum += double(v);
  EXPECT_NEAR(sum / 128, 1.0, 0.2);
}

// Of one input, its rows and the squared gradients of the outputs that read them.
class InputRows final : public GradientObserver {
 public:
  explicit InputRows(std::string input) : input_(std::move(input)) {}
  void begin_window() { first_ = slopes.size(); }
  void observe(const MatrixGradient& g) override {
    if (g.inputs == nullptr || linear_input_of(g.place.role, g.place.layer, false) != input_)
      return;
    if (slopes.size() == first_) {  // the first of the matrices that share it
      width = static_cast<std::size_t>(g.in);
      x.insert(x.end(), g.inputs, g.inputs + g.rows * g.in);
      slopes.resize(first_ + static_cast<std::size_t>(g.rows));
    }
    for (std::int64_t m = 0; m < g.rows; ++m) {
      for (std::int64_t j = 0; j < g.out; ++j) {
        slopes[first_ + static_cast<std::size_t>(m)] +=
            std::pow(double(g.output_gradients[m * g.out + j]), 2);
      }
    }
  }
  std::size_t width = 0;
  std::vector<float> x;
  std::vector<double> slopes;

 private:
  std::string input_;
  std::size_t first_ = 0;
};

TEST_F(Calibrate, TokensCountByTheirGradients) {
  ThreadPool one(1), three(3);
  CalibrateRequest r = request("a");
  r.token_weights = TokenWeighting::kGradient;
  calibrate(r, three);
  CalibrateRequest tight = request("b");
  tight.token_weights = TokenWeighting::kGradient;
  tight.memory_bytes = 300'000;
  EXPECT_GT(calibrate(tight, one).passes, 2);
  EXPECT_EQ(sha256_file(dir_ / "a"), sha256_file(dir_ / "b"));
  calibrate(request("equal"), one);
  EXPECT_EQ(json_member(Calibration(dir_ / "a").info(), "token_weights")["kind"], "gradient");
  EXPECT_TRUE(json_member(Calibration(dir_ / "equal").info(), "token_weights").is_null());
  const Calibration weighted(dir_ / "a"), equal(dir_ / "equal");
  const auto weights = load_weights(dir_ / "m");
  for (const std::string name : {"layers.0.qkv", "layers.1.gate_up", "layers.1.down", "final"}) {
    InputRows rows(name);
    GradientPass pass(*weights, one);
    std::size_t window = 0;
    for (const auto& tokens : weighted.windows()) {
      rows.begin_window();
      pass.run(tokens, SampledLogProbability(1, window++, weights->config.vocab_size, one), rows);
    }
    const std::size_t count = rows.slopes.size(), width = rows.width;
    ASSERT_EQ(count, 6u * 64u);
    double trace = 0, weighted_trace = 0;
    for (std::size_t t = 0; t < count; ++t) {
      double norm = 0;
      for (std::size_t i = 0; i < width; ++i) norm += std::pow(double(rows.x[t * width + i]), 2);
      trace += norm;
      weighted_trace += rows.slopes[t] * norm;
    }
    const std::vector<float> moment = weighted.moment(name), plain = equal.moment(name);
    double difference = 0;
    for (std::size_t i = 0; i < width; i += 7) {
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t < count; ++t) {
          sum += (1 + rows.slopes[t] * trace / weighted_trace) / 2 * double(rows.x[t * width + i]) *
                 double(rows.x[t * width + j]);
        }
        const auto at = static_cast<std::size_t>(triangle_size(static_cast<std::int64_t>(i))) + j;
        const double scale = trace / double(count) / double(width);
        ASSERT_NEAR(moment[at], sum / double(count), 1e-4 * scale) << name << " " << i << " " << j;
        difference = std::max(difference, std::abs(double(moment[at]) - double(plain[at])) / scale);
      }
    }
    // Of a model of random weights all next tokens are alike, and so are the head's gradients.
    if (name != "final") {
      EXPECT_GT(difference, 0.05) << name;
    }
  }
  const auto convert_with = [&](const std::string& calibration) {
    ConvertRequest c;
    c.source = dir_ / "m";
    c.target = dir_ / ("by-" + calibration);
    c.plan.recipe = "q4-hi";
    c.quiet = true;
    c.fit = {FitMethod::kGptq, dir_ / calibration, 0.01};
    convert(c, one);
    return read_json_file(c.target / "qx_plan.json")["fit"]["calibration"];
  };
  EXPECT_EQ(convert_with("a")["token_weights"]["kind"], "gradient");
  EXPECT_FALSE(convert_with("equal").contains("token_weights"));
}

TEST(TokenWeights, NoGradientsCountAllRowsOnceAndBadOnesAreErrors) {
  ThreadPool pool(1);
  const std::vector<LinearInputShape> inputs = {{"final", 2}};
  const float x[] = {1, 2, 3, 4}, none[] = {0, 0};
  TokenWeights weights(inputs, 2, pool);
  MatrixGradient gradient{{Role::kHead, -1}, 2, 2, 1, x, none};
  weights.observe(gradient);
  weights.finish();
  EXPECT_EQ(weights.roots("final")[0], 1.0f);
  EXPECT_EQ(weights.roots("final")[1], 1.0f);
  const float bad[] = {1, std::nanf("")};
  gradient.output_gradients = bad;
  weights.observe(gradient);
  EXPECT_NE(error_of([&] { weights.finish(); }).find("'final'"), std::string::npos);
}

TEST_F(Calibrate, BadRequestsLeaveNothing) {
  ThreadPool pool(1);
  const auto error = [&](const CalibrateRequest& r) {
    const std::string message = error_of([&] { calibrate(r, pool); });
    EXPECT_FALSE(fs::exists(r.target));
    EXPECT_FALSE(fs::exists(dir_ / ".x.qx-partial"));
    return message;
  };
  CalibrateRequest r = request("x");
  r.share = 0.001;
  EXPECT_NE(error(r).find("at least one window"), std::string::npos);
  r = request("x");
  r.memory_bytes = 1000;
  EXPECT_NE(error(r).find("--memory"), std::string::npos);
  r = request("x");
  r.ctx = 100000;
  EXPECT_NE(error(r).find("positions"), std::string::npos);
  write_text(dir_ / "text.txt", "");
  EXPECT_NE(error(request("x")), "");
}

TEST_F(Calibrate, ASecondProcessAndADirectoryInItsPlaceAreRefused) {
  ThreadPool pool(1);
  {
    const OutputFileLock other(dir_ / "x", false);
    EXPECT_NE(error_of([&] { calibrate(request("x"), pool); }).find("another qx process"),
              std::string::npos);
  }
  EXPECT_FALSE(fs::exists(dir_ / ".x.qx-lock"));
  fs::create_directory(dir_ / "d");
  CalibrateRequest r = request("d/");
  r.force = true;
  EXPECT_NE(error_of([&] { calibrate(r, pool); }).find("is a directory"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(dir_ / "d"));
  calibrate(request("new/folder/x"), pool);
  EXPECT_TRUE(fs::exists(dir_ / "new/folder/x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "new/folder"), {}), 1);
}

TEST_F(Calibrate, ConvertFitsWithItAndSaysSo) {
  ThreadPool one(1), three(3);
  calibrate(request("cal"), one);
  const auto convert_to = [&](const std::string& target, FitMethod method, ThreadPool& pool) {
    ConvertRequest r;
    r.source = dir_ / "m";
    r.target = dir_ / target;
    r.plan.recipe = "q4-hi";
    r.quiet = true;
    r.fit = {method, method == FitMethod::kMinMax ? fs::path() : dir_ / "cal", 0.01};
    return convert(r, pool);
  };
  const auto weights = [&](const std::string& target) {
    return sha256_file(dir_ / target / "model.safetensors");
  };
  convert_to("plain", FitMethod::kMinMax, one);
  for (const FitMethod method : {FitMethod::kMse, FitMethod::kGptq}) {
    const std::string name(fit_method_name(method));
    convert_to(name, method, one);
    convert_to(name + "3", method, three);
    EXPECT_EQ(weights(name), weights(name + "3"));
    EXPECT_NE(weights(name), weights("plain"));
    EXPECT_EQ(fs::file_size(dir_ / name / "model.safetensors"),
              fs::file_size(dir_ / "plain/model.safetensors"));
    const Json fit = read_json_file(dir_ / name / "qx_plan.json")["fit"];
    EXPECT_EQ(fit["method"], name);
    EXPECT_EQ(fit["calibration"]["sha256"], sha256_file(dir_ / "cal"));
  }
  EXPECT_NE(weights("mse"), weights("gptq"));
  EXPECT_NE(error_of([&] {
              verify_directory(dir_ / "mse", dir_ / "m", one, true);
            }).find("fitted codes (mse"),
            std::string::npos);
  EXPECT_TRUE(verify_directory(dir_ / "plain", dir_ / "m", one, true).holds());
  for (const std::string name : {"mse", "gptq"}) {
    const Verification v = verify_fitted(dir_ / name, dir_ / "m", dir_ / "cal", 0, three, true);
    EXPECT_TRUE(v.holds()) << name;
    EXPECT_EQ(v.fit, name);
  }
  const auto verify_error = [&](const std::string& made, const std::string& calibration) {
    return error_of(
        [&] { verify_fitted(dir_ / made, dir_ / "m", dir_ / calibration, 0, one, true); });
  };
  EXPECT_NE(verify_error("plain", "cal").find("without fitted codes"), std::string::npos);
  CalibrateRequest other = request("cal2");
  other.windows = 5;
  calibrate(other, one);
  EXPECT_NE(verify_error("gptq", "cal2").find("expected the one"), std::string::npos);
  damage_one_byte(dir_ / "gptq/model.safetensors");
  const Verification damaged = verify_fitted(dir_ / "gptq", dir_ / "m", dir_ / "cal", 0, one, true);
  EXPECT_FALSE(damaged.holds());
  EXPECT_TRUE(json_member(read_json_file(dir_ / "plain/qx_plan.json"), "fit").is_null());
  // The same shapes with other values: not this calibration's model.
  fs::remove_all(dir_ / "m");
  write_tiny_model(dir_ / "m", {.family = "llama", .tied = true, .seed = 9, .layers = 2});
  EXPECT_NE(error_of([&] { convert_to("other", FitMethod::kMse, one); }).find("other weights"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ / "other"));
}

TEST_F(Calibrate, FactorsTakeNoMoreMemoryThanTheyMay) {
  ThreadPool three(3);
  calibrate(request("cal"), three);
  ConvertRequest r;
  r.source = dir_ / "m";
  r.plan.recipe = "q4-hi";
  r.quiet = true;
  std::vector<std::string> hashes;
  for (const auto order : {ColumnOrder::kNatural, ColumnOrder::kImportance}) {
    for (const std::int64_t memory : {std::int64_t{0}, factor_work_bytes(256)}) {
      r.target = dir_ / ("out" + std::to_string(hashes.size()));
      r.fit = {FitMethod::kGptq, dir_ / "cal", 0.01, order, memory};
      convert(r, three);
      hashes.push_back(sha256_file(r.target / "model.safetensors"));
      EXPECT_EQ(read_json_file(r.target / "qx_plan.json")["fit"]["column_order"],
                column_order_name(order));
      EXPECT_TRUE(verify_fitted(r.target, dir_ / "m", dir_ / "cal", memory, three, true).holds());
    }
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(hashes[2], hashes[3]);
  EXPECT_NE(hashes[0], hashes[2]);
  r.target = dir_ / "refused";
  r.fit.memory_bytes = factor_work_bytes(256) - 1;
  EXPECT_NE(error_of([&] { convert(r, three); }).find("--fit-memory"), std::string::npos);
  EXPECT_FALSE(fs::exists(r.target));
  EXPECT_FALSE(fs::exists(dir_ / ".refused.qx-partial"));
}

TEST_F(Calibrate, ASingularMomentFallsBackToMse) {
  // One window of two tokens: two rows for 128 columns, and no damping.
  ThreadPool pool(2);
  CalibrateRequest tiny = request("cal");
  tiny.windows = 1;
  tiny.ctx = 2;
  calibrate(tiny, pool);
  ConvertRequest r;
  r.source = dir_ / "m";
  r.target = dir_ / "out";
  r.plan.recipe = "q4-hi";
  r.quiet = true;
  r.fit = {FitMethod::kGptq, dir_ / "cal", 0.0};
  const ConvertResult result = convert(r, pool);
  ASSERT_FALSE(result.notes.empty());
  EXPECT_NE(result.notes[0].find("singular"), std::string::npos);
  EXPECT_FALSE(read_json_file(dir_ / "out/qx_plan.json")["fit"]["mse_instead"].empty());
}

}  // namespace
}  // namespace qx
