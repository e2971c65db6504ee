// The order of channels leaves a model's function as it is: every family, with every optional bias,
// in double.
// SPDX-License-Identifier: Apache-2.0
#include "convert/permute_channels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "io/checkpoint.h"
#include "io/test_files.h"
#include "model/reference_forward.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// Writes a copy in the other order; returns how many tensors changed.
int write_permuted(const fs::path& from, const fs::path& to, std::uint64_t seed) {
  const ModelConfig config = load_model_config(from);
  const ChannelPermutation permutation(config, seed);
  const Checkpoint files(from);
  std::vector<TestTensor> tensors;
  int changed = 0;
  for (const CatalogTensor& t : tensor_catalog(config)) {
    const TensorView& view = files.at(t.name);
    const TensorOrder& order = permutation.order(t.name);
    const std::int64_t rows = t.shape.size() == 2 ? t.shape[0] : 1, cols = t.shape.back();
    const auto size = static_cast<std::int64_t>(dtype_bytes(view.dtype));
    std::vector<std::byte> bytes(view.data.size());
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t row = order.rows.empty() ? r : order.rows[static_cast<std::size_t>(r)];
      for (std::int64_t c = 0; c < cols; ++c) {
        const std::int64_t col = order.cols.empty() ? c : order.cols[static_cast<std::size_t>(c)];
        std::memcpy(bytes.data() + (r * cols + c) * size,
                    view.data.data() + (row * cols + col) * size, static_cast<std::size_t>(size));
      }
    }
    changed += std::memcmp(bytes.data(), view.data.data(), bytes.size()) != 0 ? 1 : 0;
    tensors.push_back({t.name, view.dtype, t.shape, std::move(bytes)});
  }
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json");
  write_test_tensors(to / "model.safetensors", tensors);
  return changed;
}

TEST(PermuteChannels, TheFunctionStays) {
  const TestFolder dir;
  const std::vector<TokenId> tokens = {5, 100, 7, 300, 42, 42, 9};
  for (const std::string family : {"qwen3", "qwen2", "llama"}) {
    for (const bool tied : {false, true}) {
      const fs::path from = dir / (family + (tied ? "t" : "u")), to = from.string() + "p";
      write_tiny_model(
          from, {.family = family, .tied = tied, .tokenizer = false, .chat_template = false});
      const auto catalog = tensor_catalog(load_model_config(from));
      int stay = 0;  // q's and k's biases and norms
      for (const CatalogTensor& t : catalog) {
        const bool of_qk = t.module.ends_with("q_proj") || t.module.ends_with("k_proj");
        stay += (of_qk && t.role == Role::kBias) || t.module.ends_with("q_norm") ||
                        t.module.ends_with("k_norm")
                    ? 1
                    : 0;
      }
      EXPECT_EQ(write_permuted(from, to, 11), static_cast<int>(catalog.size()) - stay);
      const auto a = reference_forward(*load_weights(from), tokens);
      const auto b = reference_forward(*load_weights(to), tokens);
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        for (std::size_t v = 0; v < a[t].size(); ++v) {
          ASSERT_NEAR(a[t][v], b[t][v], 1e-9 * (1 + std::fabs(a[t][v]))) << family;
        }
      }
    }
  }
}

TEST(PermuteChannels, OrdersArePermutationsThatTheSeedDecides) {
  const TestFolder dir;
  write_tiny_model(dir / "m", {.tokenizer = false, .chat_template = false});
  const ModelConfig config = load_model_config(dir / "m");
  const ChannelPermutation a(config, 1), same(config, 1), other(config, 2);
  for (const CatalogTensor& t : tensor_catalog(config)) {
    for (const auto& order : {a.order(t.name).rows, a.order(t.name).cols}) {
      const std::set<std::int64_t> values(order.begin(), order.end());
      EXPECT_EQ(values.size(), order.size());
      if (order.empty()) continue;
      EXPECT_EQ(*values.rbegin() + 1, static_cast<std::int64_t>(order.size()));
    }
    EXPECT_EQ(a.order(t.name).cols, same.order(t.name).cols);
  }
  EXPECT_NE(a.order("model.norm.weight").cols, other.order("model.norm.weight").cols);
}

}  // namespace
}  // namespace qx
