// SPDX-License-Identifier: Apache-2.0
#include "distill/distill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/hash.h"
#include "base/random.h"
#include "convert/convert.h"
#include "io/safetensors.h"
#include "io/test_files.h"
#include "model/model.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using testing_files::error_of;

TEST(DealWindows, NoneBothTrainsAndValidates) {
  const DistillWindows dealt = deal_windows(20, 4, 40, 7);
  EXPECT_EQ(dealt.validation, (std::vector<std::int64_t>{0, 5, 10, 15}));
  ASSERT_EQ(dealt.training.size(), 40U);
  // Every other window once before one comes again, in another order.
  std::set<std::int64_t> round(dealt.training.begin(), dealt.training.begin() + 16);
  EXPECT_EQ(round.size(), 16U);
  for (const std::int64_t index : dealt.validation) EXPECT_FALSE(round.contains(index));
  EXPECT_FALSE(
      std::equal(dealt.training.begin(), dealt.training.begin() + 16, dealt.training.begin() + 16));
  EXPECT_EQ(deal_windows(20, 4, 40, 7).training, dealt.training);
  EXPECT_NE(deal_windows(20, 4, 40, 8).training, dealt.training);
  EXPECT_TRUE(deal_windows(3, 4, 10, 1).training.empty());
}

TEST(RateShare, RisesOverATenthAndFallsToZero) {
  EXPECT_NEAR(rate_share(1, 100), 0.1, 1e-12);
  EXPECT_NEAR(rate_share(5, 100), 0.5, 0.01);
  EXPECT_GT(rate_share(10, 100), 0.97);
  for (std::int64_t step = 11; step <= 100; ++step) {
    EXPECT_LT(rate_share(step, 100), rate_share(step - 1, 100));
  }
  EXPECT_GT(rate_share(100, 100), 0);
  EXPECT_LT(rate_share(100, 100), 0.001);
  EXPECT_EQ(rate_share(1, 1), 1);
}

double reference_kl(std::span<const float> base, std::span<const float> logits, std::size_t vocab) {
  double sum = 0;
  for (std::size_t m = 0; m < base.size() / vocab; ++m) {
    double p_sum = 0, q_sum = 0;
    for (std::size_t v = 0; v < vocab; ++v) {
      p_sum += std::exp(double(base[m * vocab + v]));
      q_sum += std::exp(double(logits[m * vocab + v]));
    }
    for (std::size_t v = 0; v < vocab; ++v) {
      const double b = double(base[m * vocab + v]) - std::log(p_sum);
      sum += std::exp(b) * (b - double(logits[m * vocab + v]) + std::log(q_sum));
    }
  }
  return sum / static_cast<double>(base.size() / vocab);
}

TEST(KlAndGradient, AreThoseOfTheDefinition) {
  constexpr std::size_t kRows = 9, kVocab = 1037;
  Random random(3);
  std::vector<float> base(kRows * kVocab), logits(base.size());
  for (std::size_t i = 0; i < base.size(); ++i) {
    base[i] = static_cast<float>(3 * random.gaussian());
    logits[i] = base[i] + static_cast<float>(0.5 * random.gaussian());
  }
  ThreadPool one(1), three(3);
  std::vector<float> gradient = logits, again = logits, none = base;
  const double kl = kl_and_gradient(one, base, gradient, kVocab);
  EXPECT_NEAR(kl, reference_kl(base, logits, kVocab), 1e-6);
  EXPECT_EQ(kl_and_gradient(three, base, again, kVocab), kl);
  EXPECT_EQ(again, gradient);
  for (int trial = 0; trial < 30; ++trial) {
    const auto at = static_cast<std::size_t>(random.below(base.size()));
    std::vector<float> up = logits, down = logits;
    up[at] += 0.0625f;
    down[at] -= 0.0625f;
    const double step = double(up[at]) - double(down[at]);
    const double slope = (reference_kl(base, up, kVocab) - reference_kl(base, down, kVocab)) / step;
    ASSERT_NEAR(double(gradient[at]), slope, 1e-6 + 2e-3 * std::abs(slope));
  }
  EXPECT_LT(kl_and_gradient(one, base, none, kVocab), 1e-6);
  for (const float slope : none) ASSERT_LT(std::abs(slope), 1e-8f);
}

class Distill : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(dir_ / "m", {.family = "llama", .tied = true, .layers = 2});
    write_text(dir_ / "text.txt", tiny_text(400));
    quantize("m", "q");
  }
  void quantize(const std::string& from, const std::string& to) {
    ThreadPool pool(1);
    ConvertRequest r;
    r.source = dir_ / from;
    r.target = dir_ / to;
    r.plan.recipe = "q3-hi";
    r.quiet = true;
    convert(r, pool);
  }
  DistillRequest request(const std::string& target) const {
    DistillRequest r;
    r.base = dir_ / "m";
    r.quantized = dir_ / "q";
    r.text = dir_ / "text.txt";
    r.target = dir_ / target;
    r.ctx = 64;
    r.steps = 30;
    r.validation = 4;
    r.rate = 0.02;
    r.quiet = true;
    return r;
  }
  TestFolder dir_;
};

TEST_F(Distill, ComesCloserWithTheSameCodes) {
  ThreadPool one(1), three(3);
  const DistillReport report = distill(request("d"), one);
  EXPECT_LT(report.kl, 0.8 * report.start_kl);
  EXPECT_GT(report.kept_step, 0);
  const SafetensorsFile before(dir_ / "q/model.safetensors"), after(dir_ / "d/model.safetensors");
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  std::int64_t changed = 0, groups = 0;
  for (std::size_t i = 0; i < before.tensors().size(); ++i) {
    const TensorView &a = before.tensors()[i], &b = after.tensors()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.shape, b.shape);
    const bool trained = a.name.ends_with(".scales") || a.name.ends_with(".biases");
    const bool equal = std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end());
    if (!trained) {
      EXPECT_TRUE(equal) << a.name;
    }
    if (trained && !equal) ++changed;
    if (a.name.ends_with(".scales")) groups += *element_count(a.shape);
  }
  EXPECT_EQ(changed, 2 * (2 * 7 + 1));
  EXPECT_EQ(report.groups, groups);
  EXPECT_EQ(before.metadata(), after.metadata());
  const Json record = read_json_file(dir_ / "d/qx_plan.json");
  EXPECT_EQ(record["fit"], report.record);
  EXPECT_EQ(record["fit"]["start"]["method"], "minmax");
  EXPECT_EQ(record["fit"]["text"]["sha256"], sha256_file(dir_ / "text.txt"));
  EXPECT_EQ(record["plan_hash"], read_json_file(dir_ / "q/qx_plan.json")["plan_hash"]);
  EXPECT_TRUE(fs::exists(dir_ / "d/tokenizer.json"));

  distill(request("d3"), three);
  EXPECT_EQ(sha256_file(dir_ / "d/model.safetensors"), sha256_file(dir_ / "d3/model.safetensors"));
  // From where the first stopped: the directory holds what was measured.
  DistillRequest on = request("e");
  on.quantized = dir_ / "d";
  EXPECT_EQ(distill(on, one).start_kl, report.kl);
  EXPECT_EQ(read_json_file(dir_ / "e/qx_plan.json")["fit"]["start"]["method"], "distill");
}

TEST_F(Distill, AnUntiedModelOfAnotherFamilyToo) {
  write_tiny_model(dir_ / "m2", {.family = "qwen3", .tied = false, .layers = 2});
  quantize("m2", "q2");
  ThreadPool pool(2);
  DistillRequest r = request("d");
  r.base = dir_ / "m2";
  r.quantized = dir_ / "q2";
  const DistillReport report = distill(r, pool);
  EXPECT_LT(report.kl, 0.9 * report.start_kl);
}

TEST_F(Distill, BadRequestsLeaveNothing) {
  ThreadPool pool(1);
  const auto error = [&](const DistillRequest& r) {
    const std::string message = error_of([&] { distill(r, pool); });
    EXPECT_FALSE(fs::exists(r.target));
    return message;
  };
  DistillRequest r = request("x");
  r.quantized = dir_ / "m";
  EXPECT_NE(error(r).find("no quantized matrix"), std::string::npos);
  r = request("x");
  r.share = 0.001;
  EXPECT_NE(error(r).find("at least one window"), std::string::npos);
  r = request("x");
  r.validation = 1000;
  EXPECT_NE(error(r).find("that validate"), std::string::npos);
  r = request("x");
  r.rate = 0;
  EXPECT_NE(error(r).find("no KL below"), std::string::npos);
  r = request("x");
  r.ctx = 513;
  r.text = dir_ / "long.txt";
  write_text(r.text, std::string(5000, 'a'));
  EXPECT_NE(error(r).find("positions"), std::string::npos);
  write_tiny_model(dir_ / "other", {.family = "llama", .tied = true, .layers = 3});
  r = request("x");
  r.base = dir_ / "other";
  EXPECT_NE(error(r).find("expected the base's"), std::string::npos);
  r = request("q");
  EXPECT_NE(error_of([&] { distill(r, pool); }).find("exists already"), std::string::npos);
}

}  // namespace
}  // namespace qx
