// SPDX-License-Identifier: Apache-2.0
#include "search/plan_meter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "calibrate/calibrate.h"
#include "io/test_files.h"
#include "search/plan_space.h"
#include "search/test_sensitivity.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
using testing_files::error_of;

class Meter : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(dir_ / "m", {.family = "llama", .tied = true, .layers = 2});
    std::string words;
    for (int i = 0; i < 600; ++i) {
      words += "word" + std::to_string(i * i % 97) + (i % 9 != 0 ? " " : "\n");
    }
    write_text(dir_ / "text.txt", words);
    CalibrateRequest calibration;
    calibration.model = dir_ / "m";
    calibration.text = dir_ / "text.txt";
    calibration.target = dir_ / "cal";
    calibration.windows = 8;
    calibration.ctx = 64;
    calibration.share = 0.4;
    calibration.quiet = true;
    calibrate(calibration, pool_);
    config_ = load_model_config(dir_ / "m");
  }
  MeterRequest request(FitMethod method) const {
    MeterRequest out;
    out.model = dir_ / "m";
    out.fit.method = method;
    if (method != FitMethod::kMinMax) out.fit.calibration = dir_ / "cal";
    out.text.text.file = dir_ / "text.txt";
    out.text.text.rules.ctx = 64;
    out.text.skip = 0.5;
    out.text.share = 0.5;
    out.text.windows = 6;
    out.quiet = true;
    return out;
  }
  // A plan with many codes in it.
  Plan mixed_plan() const {
    const PlanSpace space(config_, made_up_sensitivity(config_), {}, "s.json");
    const std::int64_t budget = (2 * space.smallest() + space.largest()) / 3;
    return space.solve(std::span(&budget, 1), {})[0]->plan;
  }

  TestFolder dir_;
  ThreadPool pool_{2};
  ModelConfig config_;
};

// What qx convert and qx divergence would find for the same plan.
TEST_F(Meter, MeasuresWhatAConversionGives) {
  const Plan plan = mixed_plan();
  write_text(dir_ / "mine.json", recipe_of_plan(plan, config_, "mine", "", "w").dump());
  for (const FitMethod method : {FitMethod::kMinMax, FitMethod::kMse, FitMethod::kGptq}) {
    PlanMeter meter(request(method), pool_);
    const PlanMeasure got = meter.measure(plan, method);

    const std::string target = "made" + std::string(fit_method_name(method));
    ConvertRequest convert_request;
    convert_request.source = dir_ / "m";
    convert_request.target = dir_ / target;
    convert_request.plan.recipe = (dir_ / "mine.json").string();
    convert_request.fit = request(method).fit;
    convert_request.quiet = true;
    convert(convert_request, pool_);
    const auto base = load_model(dir_ / "m", pool_, Precision::kReference);
    const auto made = load_model(dir_ / target, pool_, Precision::kExact);
    Model* variant = made.get();
    const std::string name = "made";
    const Divergence expected = measure_divergence(*base, nullptr, {&variant, 1}, {&name, 1},
                                                   meter.text(), {}, pool_, [](std::int64_t) {})
                                    .front();
    double sum = 0;
    for (const double kl : expected.kl) sum += kl;
    EXPECT_GT(got.kl, 0);
    EXPECT_DOUBLE_EQ(got.kl, sum / static_cast<double>(expected.kl.size()));
    EXPECT_EQ(got.kl_windows.size(), meter.text().windows.size());
  }
}

TEST_F(Meter, CodesThatAreKeptChangeNothing) {
  const Plan a = mixed_plan(), b = plan_named(config_, "q3-hi");
  PlanMeter meter(request(FitMethod::kGptq), pool_);
  const PlanMeasure first = meter.measure(a, FitMethod::kGptq);
  const PlanMeasure plain = meter.measure(b, FitMethod::kMinMax);
  const PlanMeasure other = meter.measure(b, FitMethod::kGptq);
  const PlanMeasure again = meter.measure(a, FitMethod::kGptq);
  EXPECT_EQ(first.kl_windows, again.kl_windows);
  EXPECT_NE(plain.kl, other.kl);
  PlanMeter fresh(request(FitMethod::kGptq), pool_);
  EXPECT_EQ(fresh.measure(b, FitMethod::kGptq).kl_windows, other.kl_windows);
  const PairedDifference d = paired_difference(first, other);
  EXPECT_NEAR(d.mean, other.kl - first.kl, 1e-12);
  EXPECT_GT(d.error, 0);
}

TEST_F(Meter, WindowsOfThePartAloneAndOverlapIsSeen) {
  PlanMeter meter(request(FitMethod::kGptq), pool_);
  const auto tokens = static_cast<double>(meter.text().tokens.size());
  EXPECT_EQ(meter.text().windows.size(), 6U);
  for (const Window& w : meter.text().windows) {
    EXPECT_GE(static_cast<double>(w.begin), tokens * 0.5);
    EXPECT_EQ(w.end - w.begin, 64);
  }
  EXPECT_FALSE(meter.overlaps_calibration());
  MeterRequest wide = request(FitMethod::kGptq);
  wide.text.skip = 0.3;
  wide.text.share = 0.7;
  EXPECT_TRUE(PlanMeter(wide, pool_).overlaps_calibration());
  MeterRequest tiny = request(FitMethod::kMinMax);
  tiny.text.share = 0.001;
  EXPECT_NE(error_of([&] { PlanMeter(tiny, pool_); }).find("at least one window"),
            std::string::npos);
}

}  // namespace
}  // namespace qx
