// SPDX-License-Identifier: Apache-2.0
#include "distill/convert_distilled.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/hash.h"
#include "base/interrupt.h"
#include "calibrate/calibrate.h"
#include "fit/fitted_with.h"
#include "io/safetensors.h"
#include "io/staged.h"
#include "io/test_files.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using testing_files::error_of;

class ConvertDistilled : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(dir_ / "m", {.family = "llama", .tied = true, .layers = 2});
    write_text(dir_ / "text.txt", tiny_text(600));
    calibrate_windows("cal", 18);
  }
  void calibrate_windows(const std::string& target, std::int64_t windows) const {
    CalibrateRequest r;
    r.model = dir_ / "m";
    r.text = dir_ / "text.txt";
    r.target = dir_ / target;
    r.windows = windows;
    r.ctx = 64;
    r.quiet = true;
    ThreadPool pool(2);
    calibrate(r, pool);
  }
  ConvertRequest request(const std::string& target) const {
    ConvertRequest r;
    r.source = dir_ / "m";
    r.target = dir_ / target;
    r.plan.recipe = "q3-hi";
    r.fit.method = FitMethod::kGptq;
    r.fit.calibration = dir_ / "cal";
    r.quiet = true;
    return r;
  }
  static DistillRequest training() {
    DistillRequest r;
    r.steps = 30;
    r.rate = 0.02;
    return r;
  }
  std::string weights(const std::string& name) const {
    return sha256_file(dir_ / name / "model.safetensors");
  }
  TestFolder dir_;
};

TEST_F(ConvertDistilled, KeepsTheCodesOfGptqAndLowersItsDivergence) {
  ThreadPool one(1), three(3);
  convert(request("gptq"), one);
  const DistilledConversion made = convert_distilled(request("d"), training(), one);
  EXPECT_LT(made.distilled.kl, 0.95 * made.distilled.start_kl);
  EXPECT_EQ(made.distilled.validation, 3);  // a sixth of the calibration's windows
  EXPECT_EQ(made.distilled.windows, 15);
  EXPECT_TRUE(made.converted.notes.empty());
  const SafetensorsFile before(dir_ / "gptq/model.safetensors"),
      after(dir_ / "d/model.safetensors");
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  for (std::size_t i = 0; i < before.tensors().size(); ++i) {
    const TensorView &a = before.tensors()[i], &b = after.tensors()[i];
    ASSERT_EQ(a.name, b.name);
    if (a.name.ends_with(".scales") || a.name.ends_with(".biases")) continue;
    EXPECT_TRUE(std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end())) << a.name;
  }
  const Json fit = read_json_file(dir_ / "d/qx_plan.json")["fit"];
  EXPECT_EQ(fit["method"], "distill");
  EXPECT_EQ(fit["start"], read_json_file(dir_ / "gptq/qx_plan.json")["fit"]);
  EXPECT_EQ(fit["calibration"]["sha256"], sha256_file(dir_ / "cal"));
  EXPECT_EQ(fitted_with(dir_ / "d").sha256, sha256_file(dir_ / "cal"));
  EXPECT_FALSE(fs::exists(dir_ / ".d.qx-start"));
  convert_distilled(request("d3"), training(), three);
  EXPECT_EQ(weights("d"), weights("d3"));

  // Distilled once more with a text: the calibration is still known by what it started from.
  DistillRequest more = training();
  more.base = dir_ / "m";
  more.quantized = dir_ / "d";
  more.text = dir_ / "text.txt";
  more.target = dir_ / "e";
  more.ctx = 64;
  more.keep_start = more.quiet = true;
  distill(more, one);
  EXPECT_TRUE(read_json_file(dir_ / "e/qx_plan.json")["fit"]["calibration"].is_null());
  EXPECT_EQ(fitted_with(dir_ / "e").sha256, sha256_file(dir_ / "cal"));
}

TEST_F(ConvertDistilled, GivesTheCodesWhereNothingIsGained) {
  ThreadPool pool(2);
  DistillRequest still = training();
  still.steps = 2;
  still.rate = 0;
  const DistilledConversion made = convert_distilled(request("d/"), still, pool);
  EXPECT_EQ(made.distilled.kept_step, 0);
  ASSERT_EQ(made.converted.notes.size(), 1U);
  EXPECT_NE(made.converted.notes[0].find("their own scales"), std::string::npos);
  convert(request("gptq"), pool);
  EXPECT_EQ(weights("d"), weights("gptq"));
  EXPECT_FALSE(fs::exists(dir_ / ".d.qx-start"));
}

// What is available for gptq's factors is what QX_MEMORY_LIMIT leaves, where the request does not say.
TEST_F(ConvertDistilled, TheMemoryLimitHoldsForFactors) {
  ThreadPool pool(1);
  ::setenv("QX_MEMORY_LIMIT", "2MB", 1);
  const std::string error = error_of([&] { convert(request("x"), pool); });
  ConvertRequest more = request("x");
  more.fit.memory_bytes = 2'000'000;
  convert(more, pool);
  ::unsetenv("QX_MEMORY_LIMIT");
  EXPECT_NE(error.find("to factor, expected no more than the 1 MB"), std::string::npos) << error;
}

TEST_F(ConvertDistilled, AnotherOneOfTheSameTargetIsToldAndSpoilsNothing) {
  ThreadPool pool(1);
  const SideDirectory others(dir_ / "d", ".qx-start");
  fs::create_directories(others.path());
  write_text(others.path() / "config.json", "codes of another process");
  for (const bool force : {false, true}) {
    ConvertRequest r = request("d");
    r.force = force;
    EXPECT_NE(error_of([&] { convert_distilled(r, training(), pool); }).find("another qx process"),
              std::string::npos);
  }
  EXPECT_EQ(read_text(others.path() / "config.json"), "codes of another process");
  EXPECT_FALSE(fs::exists(dir_ / "d"));
}

// Interrupted while it distils, it goes on with the codes that were fitted, to the same bytes.
TEST_F(ConvertDistilled, AnInterruptKeepsTheCodesForAResume) {
  ThreadPool pool(1);
  DistillRequest brief = training();
  brief.steps = 3;
  convert_distilled(request("whole"), brief, pool);
  const fs::path codes = dir_ / ".d.qx-start/model/model.safetensors";
  const auto interrupted = [&](ConvertRequest r) {
    fs::remove_all(dir_ / "d");
    DistillRequest endless = training();
    endless.steps = std::int64_t{1} << 20;
    std::atomic<bool> ended = false;
    std::thread signal([&] {
      while (!ended && !fs::exists(codes))
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      request_interrupt();
    });
    std::string hint = "not interrupted";
    try {
      convert_distilled(r, endless, pool);
    } catch (const Interrupted& e) {
      hint = e.hint;
    }
    ended = true;
    signal.join();
    clear_interrupt();
    return hint;
  };
  EXPECT_NE(interrupted(request("d")).find("the fitted codes were kept"), std::string::npos);
  ASSERT_TRUE(fs::exists(codes));
  ConvertRequest again = request("d");
  again.resume = true;
  const DistilledConversion made = convert_distilled(again, brief, pool);
  EXPECT_EQ(made.converted.resumed_tensors, made.converted.tensors);
  EXPECT_EQ(weights("d"), weights("whole"));
  EXPECT_EQ(read_text(dir_ / "d/qx_plan.json"), read_text(dir_ / "whole/qx_plan.json"));
  EXPECT_FALSE(fs::exists(dir_ / ".d.qx-start"));
  // Codes of another request are made again.
  interrupted(request("d"));
  again.fit.damping = 0.5;
  EXPECT_EQ(convert_distilled(again, brief, pool).converted.resumed_tensors, 0);
  EXPECT_NE(weights("d"), weights("whole"));
  // So are those of a source that has changed since, though its calibration has not.
  interrupted(request("d"));
  write_text(dir_ / "m/LICENSE", "x");
  again.fit.damping = request("d").fit.damping;
  EXPECT_EQ(convert_distilled(again, brief, pool).converted.resumed_tensors, 0);
  EXPECT_EQ(read_text(dir_ / "d/LICENSE"), "x");
}

// One window cannot both train and validate: said before the fit, whose codes lie beside the target.
TEST_F(ConvertDistilled, TooFewWindowsAreSeenBeforeTheFit) {
  ThreadPool pool(1);
  calibrate_windows("one", 1);
  ConvertRequest r = request("d");
  r.fit.calibration = dir_ / "one";
  // With a source whose weights cannot be read, the fit would fail first.
  write_tiny_model(dir_ / "torn", {.family = "llama", .tied = true, .layers = 2});
  write_text(dir_ / "torn/model.safetensors", "torn");
  r.source = dir_ / "torn";
  EXPECT_NE(error_of([&] {
              convert_distilled(r, training(), pool);
            }).find("got 1 windows of 64 tokens, expected more than the 1 that validate"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ / ".d.qx-start"));
}

// A mistake behind the fit, here a target in a place that cannot be written, costs no codes.
TEST_F(ConvertDistilled, AFailureKeepsTheCodesForAResume) {
  ThreadPool pool(1);
  ConvertRequest r = request("d");
  write_text(dir_ / ".d.qx-partial", "in the way of the distilled directory");
  EXPECT_FALSE(error_of([&] { convert_distilled(r, training(), pool); }).empty());
  ASSERT_TRUE(fs::exists(dir_ / ".d.qx-start/model/model.safetensors"));
  r.resume = true;
  ConvertRequest wrong = r;
  wrong.fit.calibration = dir_ / "absent";
  EXPECT_FALSE(error_of([&] { convert_distilled(wrong, training(), pool); }).empty());
  wrong = r;
  write_tiny_model(dir_ / "other", {.family = "llama", .tied = true, .seed = 9, .layers = 2});
  wrong.source = dir_ / "other";
  EXPECT_NE(error_of([&] { convert_distilled(wrong, training(), pool); }).find("other weights"),
            std::string::npos);
  fs::remove(dir_ / ".d.qx-partial");
  const DistilledConversion made = convert_distilled(r, training(), pool);
  EXPECT_EQ(made.converted.resumed_tensors, made.converted.tensors);
  EXPECT_FALSE(fs::exists(dir_ / ".d.qx-start"));
}

TEST_F(ConvertDistilled, BadRequestsLeaveNothing) {
  ThreadPool pool(1);
  write_text(dir_ / "d", "x");
  EXPECT_NE(error_of([&] { convert_distilled(request("d"), training(), pool); }).find("exists"),
            std::string::npos);
  // A calibration of other weights.
  write_tiny_model(dir_ / "other", {.family = "llama", .tied = true, .seed = 9, .layers = 2});
  ConvertRequest r = request("x");
  r.source = dir_ / "other";
  EXPECT_FALSE(error_of([&] { convert_distilled(r, training(), pool); }).empty());
  EXPECT_FALSE(fs::exists(dir_ / "x"));
  EXPECT_FALSE(fs::exists(dir_ / ".x.qx-start"));
  DistillRequest direct = training();
  direct.base = dir_ / "other";
  direct.calibration = dir_ / "cal";
  direct.target = dir_ / "x";
  convert(request("q"), pool);
  direct.quantized = dir_ / "q";
  EXPECT_NE(error_of([&] { distill(direct, pool); }).find("other weights"), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ / "x"));
}

}  // namespace
}  // namespace qx
