// What verify, diff and the measured errors say of small models made on the spot.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "convert/convert.h"
#include "convert/diff.h"
#include "convert/quant_errors.h"
#include "convert/verify.h"
#include "io/posix_file.h"
#include "support/test_folder.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

class Checks : public testing::Test {
 protected:
  Checks() : pool_(2) {
    TinyModel options;
    options.layers = 2;
    options.vocab = 300;
    write_tiny_model(folder_ / "src", options);
  }
  fs::path convert_to(const std::string& name, const std::string& recipe,
                      Rounding rounding = Rounding::kCpu) {
    ConvertRequest request;
    request.source = folder_ / "src";
    request.target = folder_ / name;
    request.plan.recipe = recipe;
    request.rounding = rounding;
    request.quiet = true;
    convert(request, pool_);
    return request.target;
  }
  // Flips one bit of the first array whose name ends so.
  void damage(const fs::path& directory, const std::string& ending) {
    const fs::path file = directory / "model.safetensors";
    std::string bytes = read_text(file);
    const SafetensorsFile tensors(file);
    for (const TensorView& t : tensors.tensors()) {
      if (!t.name.ends_with(ending)) continue;
      const auto at = static_cast<std::size_t>(
          t.data.data() - reinterpret_cast<const std::byte*>(tensors.file().text().data()));
      bytes[at + 40] = static_cast<char>(bytes[at + 40] ^ 4);
      fs::remove(file);
      write_text(file, bytes);
      return;
    }
    FAIL() << "no array " << ending;
  }
  TestFolder folder_;
  ThreadPool pool_;
};

TEST_F(Checks, VerifyKnowsTheRounding) {
  const Verification cpu = verify_directory(convert_to("cpu", "q4"), folder_ / "src", pool_, true);
  EXPECT_TRUE(cpu.is_exact(Rounding::kCpu));
  const Verification gpu =
      verify_directory(convert_to("gpu", "q4", Rounding::kGpu), folder_ / "src", pool_, true);
  EXPECT_TRUE(gpu.is_exact(Rounding::kGpu));
  EXPECT_FALSE(gpu.is_exact(Rounding::kCpu));
  EXPECT_TRUE(gpu.holds());
  EXPECT_EQ(gpu.tensors.size(), cpu.tensors.size());
}

TEST_F(Checks, VerifyHoldsForMixedAndFloatDirectories) {
  for (const char* recipe : {"qx63-hi", "q8", "bf16", "f32"}) {
    EXPECT_TRUE(verify_directory(convert_to(recipe, recipe), folder_ / "src", pool_, true).holds())
        << recipe;
  }
}

TEST_F(Checks, VerifyFindsOneDamagedGroupAndOneDamagedValue) {
  const fs::path made = convert_to("made", "q4-hi");
  damage(made, "layers.1.mlp.up_proj.weight");
  damage(made, "layers.0.input_layernorm.weight");
  const Verification v = verify_directory(made, folder_ / "src", pool_, true);
  EXPECT_FALSE(v.holds());
  int found = 0;
  for (const TensorCheck& t : v.tensors) {
    if (t.different[0] == 0) continue;
    ++found;
    EXPECT_EQ(t.different[0], 1) << t.name;
    // Byte 40 of the codes: group 2 of 32 four-bit codes; of the values: number 20 of two bytes each.
    EXPECT_EQ(t.first[0], t.affine ? "row 0, columns from 64" : "row 0, column 20") << t.name;
  }
  EXPECT_EQ(found, 2);
}

TEST_F(Checks, VerifyRefusesAnotherModel) {
  TinyModel options;
  options.layers = 3;
  write_tiny_model(folder_ / "other", options);
  EXPECT_THROW(verify_directory(convert_to("q4", "q4"), folder_ / "other", pool_, true), Error);
}

TEST_F(Checks, ErrorsFallWithTheBitsAndVanishForFloats) {
  double before = std::numeric_limits<double>::infinity();
  for (const char* recipe : {"q2", "q4", "q8"}) {
    const auto errors = measure_errors(convert_to(recipe, recipe), folder_ / "src", pool_, true);
    for (const TensorError& e : errors) {
      if (!e.affine) {
        EXPECT_EQ(e.rms, 0) << e.name;
        EXPECT_TRUE(std::isinf(e.sqnr_db)) << e.name;
        continue;
      }
      EXPECT_GT(e.largest, e.rms);
      EXPECT_GT(e.rms, 0);
      EXPECT_EQ(e.groups, e.weights / e.affine->group);
      EXPECT_EQ(e.flat_groups, 0);
    }
    EXPECT_LT(errors.front().rms, before / 2) << recipe;
    before = errors.front().rms;
  }
}

TEST_F(Checks, ErrorsDoNotDependOnThreads) {
  const fs::path made = convert_to("made", "q4");
  ThreadPool one(1), three(3);
  const auto a = measure_errors(made, folder_ / "src", one, true);
  const auto b = measure_errors(made, folder_ / "src", three, true);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].rms, b[i].rms);
}

TEST_F(Checks, DiffOfACopyIsEmpty) {
  const DirectoryDiff diff =
      diff_directories(convert_to("a", "q4"), convert_to("b", "q4"), pool_, true);
  EXPECT_TRUE(diff.is_empty());
  EXPECT_GT(diff.equal_tensors, 10u);
}

TEST_F(Checks, DiffTellsStorageValuesConfigAndFiles) {
  const fs::path a = convert_to("a", "q4"), b = convert_to("b", "q4"), c = convert_to("c", "q6");
  damage(b, "layers.1.mlp.up_proj.weight");
  write_text(b / "chat_template.jinja", "other");
  const DirectoryDiff values = diff_directories(a, b, pool_, true);
  ASSERT_EQ(values.tensors.size(), 1u);
  EXPECT_EQ(values.tensors[0].kind, TensorDifference::Kind::kValues);
  EXPECT_EQ(values.tensors[0].different_weights, 1);
  EXPECT_GT(values.tensors[0].largest, 0);
  EXPECT_EQ(values.files_different, std::vector<std::string>{"chat_template.jinja"});
  const DirectoryDiff storage = diff_directories(a, c, pool_, true);
  EXPECT_EQ(storage.tensors.front().kind, TensorDifference::Kind::kStorage);
  EXPECT_TRUE(std::any_of(storage.config.begin(), storage.config.end(), [](const KeyDifference& d) {
    return d.key == "quantization.bits" && d.a == 4 && d.b == 6;
  }));
}

TEST_F(Checks, DiffOfOtherLayersNamesThem) {
  TinyModel options;
  options.layers = 3;
  options.vocab = 300;
  write_tiny_model(folder_ / "deep", options);
  const DirectoryDiff diff = diff_directories(folder_ / "src", folder_ / "deep", pool_, true);
  EXPECT_TRUE(std::any_of(diff.tensors.begin(), diff.tensors.end(), [](const TensorDifference& t) {
    return t.kind == TensorDifference::Kind::kOnlyB && t.name.starts_with("model.layers.2.");
  }));
}

}  // namespace
}  // namespace qx
