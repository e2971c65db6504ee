// SPDX-License-Identifier: Apache-2.0
#include "arch/shapes.h"

#include <gtest/gtest.h>

#include "arch/catalog.h"
#include "base/error.h"

namespace qx {
namespace {

// Published sizes: parameters of the checkpoint, a tied head counted once.
TEST(Shapes, HaveThePublishedParameterCounts) {
  const std::pair<const char*, std::int64_t> expected[] = {
      {"qwen3-0.6b", 596'049'920}, {"qwen3-1.7b", 1'720'574'976},   {"qwen3-4b", 4'022'468'096},
      {"qwen3-8b", 8'190'735'360}, {"llama-3.2-1b", 1'235'814'400}, {"smollm2-135m", 134'515'008},
  };
  for (const auto& [name, parameters] : expected) {
    EXPECT_EQ(parameter_count(tensor_catalog(shape_config(name))), parameters) << name;
    EXPECT_NE(known_shapes().find(name), std::string::npos) << name;
  }
}

TEST(Shapes, AnUnknownOneIsAUsageErrorThatListsThem) {
  try {
    shape_config("qwen3-9b");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("qwen3-8b"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace qx
