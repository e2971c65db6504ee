// Grouping, layer lists, memory and sizes in words.
// SPDX-License-Identifier: Apache-2.0
#include "recipe/summary.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

ModelConfig config() {
  return parse_model_config(
      parse_json(R"({"model_type":"qwen3","hidden_size":4096,"intermediate_size":12288,
      "num_hidden_layers":36,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,
      "vocab_size":151936,"tie_word_embeddings":false})",
                 "test"),
      "test");
}

TEST(Summary, LayersText) {
  EXPECT_EQ(layers_text({}, 9), "-");
  EXPECT_EQ(layers_text({0, 1, 2}, 3), "all");
  EXPECT_EQ(layers_text({0, 4, 8, 12, 15}, 16), "0-12 by 4, 15");
  EXPECT_EQ(layers_text({0, 1, 4}, 40), "0, 1, 4");
  EXPECT_EQ(layers_text({0, 1, 2, 3, 7}, 40), "0-3, 7");
  EXPECT_EQ(layers_text({1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14}, 16), "all but 0-12 by 4, 15");
}

TEST(Summary, GroupsOfADeckardPlan) {
  PlanRequest request;
  request.recipe = "qx63-hi";
  const Plan plan = make_plan(config(), request);
  const auto items = summary_items(plan);
  const auto lines = summarize(items);
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0].roles, (std::vector<Role>{Role::kEmbedding, Role::kHead}));
  EXPECT_EQ(lines[1].tensors, 40);
  EXPECT_EQ(lines[1].rule, "attention of every fourth and of the last layer");
  EXPECT_EQ(lines[1].storage, "6 bits, group 32");
  EXPECT_EQ(lines[2].tensors, 108);
  EXPECT_EQ(lines[3].tensors, 104);
  std::int64_t bytes = 0, weights = 0, tensors = 0;
  for (const SummaryLine& line : lines) {
    bytes += line.bytes;
    weights += line.weights;
    tensors += line.tensors;
  }
  EXPECT_EQ(bytes, plan.tensor_bytes);
  EXPECT_EQ(weights, plan.parameters);
  EXPECT_EQ(tensors, static_cast<std::int64_t>(plan.rows.size()));
  const std::string table = summary_table(lines, 36);
  EXPECT_NE(table.find("all but 0-32 by 4, 35"), std::string::npos) << table;
}

TEST(Summary, Memory) {
  const MemoryNeeds needs = memory_needs(config(), 1000, 8192);
  EXPECT_EQ(needs.weights, 1000);
  EXPECT_EQ(needs.cache, 2LL * 36 * 8 * 128 * 4 * 8192);
  EXPECT_EQ(memory_needs(config(), 1000, 8192, 16).cache, needs.cache / 2);
  EXPECT_EQ(memory_needs(config(), 1000, 8192, 8).cache, 2LL * 36 * 8 * (128 + 2 * 4) * 8192);
  EXPECT_EQ(memory_needs(config(), 1000, 8192, 4).cache, 2LL * 36 * 8 * (64 + 2 * 4) * 8192);
  EXPECT_EQ(needs.activations, 4LL * (512 * (4 * 4096 + 2 * 4096 + 2 * 1024 + 2 * 12288) + 151936));
  EXPECT_EQ(memory_needs(config(), 0, 1).activations,
            4LL * (4 * 4096 + 2 * 4096 + 2 * 1024 + 2 * 12288 + 151936));
}

TEST(Summary, MemoryOfImpossibleSizesDoesNotOverflow) {
  ModelConfig huge = config();
  huge.num_key_value_heads = std::int64_t{1} << 36;
  const MemoryNeeds needs = memory_needs(huge, 1000, std::int64_t{1} << 30);
  EXPECT_EQ(needs.cache, std::int64_t{1} << 61);
  EXPECT_GT(needs.total(), needs.cache);
}

TEST(Summary, BytesText) {
  EXPECT_EQ(bytes_text(999), "999 bytes");
  EXPECT_EQ(bytes_text(1500), "1.5 kB");
  EXPECT_EQ(bytes_text(12'300'000), "12.3 MB");
  EXPECT_EQ(bytes_text(4'290'000'000), "4.29 GB");
}

}  // namespace
}  // namespace qx
