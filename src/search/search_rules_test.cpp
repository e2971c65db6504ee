// SPDX-License-Identifier: Apache-2.0
#include "search/search_rules.h"

#include <gtest/gtest.h>

#include "arch/catalog.h"
#include "base/error.h"
#include "search/test_sensitivity.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
TEST(Keep, PatternsWidthsAndGroups) {
  EXPECT_EQ(parse_keep("*v_proj=6").pattern, "*v_proj");
  EXPECT_EQ(parse_keep("*v_proj=6").bits, 6);
  EXPECT_EQ(parse_keep("*v_proj=6").group, 0);
  EXPECT_EQ(parse_keep("a=b=8/64").pattern, "a=b");
  EXPECT_EQ(parse_keep("a=b=8/64").group, 64);
  EXPECT_EQ(parse_keep("lm_head=float").bits, 0);
  for (const char* bad : {"", "x", "=6", "x=", "x=7", "x=6/", "x=6/16", "x=-4", "x=6.0", "x=6 "}) {
    EXPECT_THROW(parse_keep(bad), UsageError) << bad;
  }
}

TEST(Budget, SizesBitsAndRecipes) {
  const ModelConfig config = parse_model_config(tiny_config({}), "test");
  EXPECT_EQ(parse_budget("80.9MB", config, {}), 80'900'000);
  EXPECT_EQ(parse_budget("1GiB", config, {}), std::int64_t{1} << 30);
  EXPECT_EQ(parse_budget("12345", config, {}), 12345);
  const std::int64_t weights = parameter_count(tensor_catalog(config));
  EXPECT_EQ(parse_budget("4bpw", config, {}), weights / 2);
  const std::int64_t plain = plan_named(config, "q4-hi").tensor_bytes;
  EXPECT_EQ(parse_budget("like:q4-hi", config, {}), plain);
  EXPECT_GT(parse_budget("like:q4-hi", config, DType::kF32), plain);
  for (const char* bad : {"", "MB", "-4bpw", "0", "nan", "inf", "4bpwx", "1e300", "nanbpw", "65bpw",
                          "like:", "like:q7"}) {
    EXPECT_THROW(parse_budget(bad, config, {}), UsageError) << bad;
  }
  const auto usage_error = [&](const char* text, std::optional<DType> dtype) -> std::string {
    try {
      parse_budget(text, config, dtype);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "none";
  };
  // Whatever is wrong with it, all forms are named.
  for (const char* bad : {"5bits", "MB", "-4bpw", "0"}) {
    const std::string error = usage_error(bad, {});
    for (const char* form : {bad, "80.9MB", "4.6bpw", "like:RECIPE"}) {
      EXPECT_NE(error.find(form), std::string::npos) << error;
    }
  }
  const std::string error = usage_error("like:f16", DType::kBF16);
  EXPECT_NE(error.find("--budget like:f16: the recipe stores float16"), std::string::npos) << error;
}

}  // namespace
}  // namespace qx
