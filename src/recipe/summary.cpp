// SPDX-License-Identifier: Apache-2.0
#include "recipe/summary.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

std::string affine_text(int bits, int group) {
  return fmt::format("{} bits, group {}", bits, group);
}

// The rule without the recipe's name, which stands above the table.
std::string short_rule(const std::string& rule, const std::string& recipe) {
  return rule.starts_with(recipe + ": ") ? rule.substr(recipe.size() + 2) : rule;
}

// Runs of equal steps of at least three layers as one piece.
std::string runs_text(const std::vector<int>& layers) {
  std::string out;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i + 1;
    const int step = end < layers.size() ? layers[end] - layers[i] : 0;
    while (end < layers.size() && layers[end] - layers[end - 1] == step) ++end;
    if (end - i < 3) end = i + 1;
    if (!out.empty()) out += ", ";
    out += fmt::format("{}", layers[i]);
    if (end - i >= 3) {
      out += fmt::format("-{}", layers[end - 1]);
      if (step != 1) out += fmt::format(" by {}", step);
    }
    i = end;
  }
  return out;
}

}  // namespace

std::vector<SummaryItem> summary_items(const Plan& plan) {
  std::vector<SummaryItem> items;
  for (const PlanRow& row : plan.rows) {
    items.push_back({row.tensor.role, row.tensor.layer, *element_count(row.tensor.shape), row.bytes,
                     row.affine ? affine_text(row.affine->bits, row.affine->group)
                                : std::string(float_dtype_config_name(row.dtype)),
                     short_rule(row.rule, plan.recipe)});
  }
  return items;
}

std::vector<SummaryItem> summary_items(const MeasuredDirectory& directory) {
  std::vector<SummaryItem> items;
  for (const MeasuredRow& row : directory.rows) {
    std::string storage = "missing or broken";
    if (row.is_stored && row.mode == "float") {
      storage = float_dtype_config_name(*row.dtype);
    } else if (row.is_stored) {
      storage = affine_text(row.bits, row.group_size.value_or(0));
      if (row.mode != "affine") storage += " " + row.mode;
    }
    items.push_back({row.tensor.role, row.tensor.layer, *element_count(row.tensor.shape), row.bytes,
                     storage, ""});
  }
  return items;
}

std::vector<SummaryLine> summarize(std::span<const SummaryItem> items) {
  std::vector<SummaryLine> lines;  // one role each at first
  for (const SummaryItem& item : items) {
    auto line = std::find_if(lines.begin(), lines.end(), [&](const SummaryLine& l) {
      return l.roles.front() == item.role && l.storage == item.storage && l.rule == item.rule &&
             l.layers.empty() == (item.layer < 0);
    });
    if (line == lines.end()) {
      line = lines.insert(lines.end(), {{item.role}, {}, 0, 0, 0, item.storage, item.rule});
    }
    if (item.layer >= 0 && (line->layers.empty() || line->layers.back() != item.layer)) {
      line->layers.push_back(item.layer);
    }
    ++line->tensors;
    line->weights += item.weights;
    line->bytes += item.bytes;
  }
  std::vector<SummaryLine> merged;
  for (SummaryLine& line : lines) {
    const auto twin = std::find_if(merged.begin(), merged.end(), [&](const SummaryLine& m) {
      return m.storage == line.storage && m.rule == line.rule && m.layers == line.layers;
    });
    if (twin == merged.end()) {
      merged.push_back(std::move(line));
      continue;
    }
    twin->roles.push_back(line.roles.front());
    twin->tensors += line.tensors;
    twin->weights += line.weights;
    twin->bytes += line.bytes;
  }
  // Norms and biases matter least to a reader.
  std::stable_partition(merged.begin(), merged.end(), [](const SummaryLine& line) {
    return line.roles.front() != Role::kNorm && line.roles.front() != Role::kBias;
  });
  return merged;
}

std::string layers_text(const std::vector<int>& layers, std::int64_t total) {
  if (layers.empty()) return "-";
  if (static_cast<std::int64_t>(layers.size()) == total) return "all";
  std::vector<int> others;
  for (std::int64_t i = 0, k = 0; i < total; ++i) {
    if (k < static_cast<std::int64_t>(layers.size()) && layers[static_cast<std::size_t>(k)] == i) {
      ++k;
    } else {
      others.push_back(static_cast<int>(i));
    }
  }
  std::string direct = runs_text(layers);
  std::string by_others = "all but " + runs_text(others);
  return by_others.size() < direct.size() ? by_others : direct;
}

std::string summary_table(std::span<const SummaryLine> lines, std::int64_t layers) {
  struct Row {
    std::string roles, layers, tensors, weights, storage, bytes, rule;
  };
  std::vector<Row> rows{{"role", "layers", "tensors", "weights", "stored as", "size", "rule"}};
  for (const SummaryLine& line : lines) {
    std::string roles;
    for (const Role role : line.roles) {
      roles += (roles.empty() ? "" : " ") + std::string(role_name(role));
    }
    rows.push_back({roles, layers_text(line.layers, layers), fmt::format("{}", line.tensors),
                    fmt::format("{:.1f} M", static_cast<double>(line.weights) / 1e6), line.storage,
                    bytes_text(line.bytes), line.rule});
  }
  const bool has_rules = std::any_of(lines.begin(), lines.end(),
                                     [](const SummaryLine& line) { return !line.rule.empty(); });
  const auto width = [&](std::string Row::*column) {
    std::size_t w = 0;
    for (const Row& row : rows) w = std::max(w, (row.*column).size());
    return w;
  };
  const std::size_t w_roles = width(&Row::roles), w_layers = width(&Row::layers),
                    w_tensors = width(&Row::tensors), w_weights = width(&Row::weights),
                    w_storage = width(&Row::storage), w_bytes = width(&Row::bytes);
  std::string out;
  for (const Row& r : rows) {
    out += fmt::format("{:<{}}  {:<{}}  {:>{}}  {:>{}}  {:<{}}  {:>{}}", r.roles, w_roles, r.layers,
                       w_layers, r.tensors, w_tensors, r.weights, w_weights, r.storage, w_storage,
                       r.bytes, w_bytes);
    if (has_rules) out += "  " + r.rule;
    out += "\n";
  }
  return out;
}

MemoryNeeds memory_needs(const ModelConfig& config, std::int64_t weight_bytes, std::int64_t context,
                         int kv_bits, std::int64_t rows) {
  constexpr std::int64_t kFloat = 4;
  const std::int64_t q = config.num_attention_heads * config.head_dim;
  const std::int64_t kv = config.num_key_value_heads * config.head_dim;
  MemoryNeeds needs;
  needs.weights = weight_bytes;
  // Hostile sizes times a long context exceed int64; the config's own limits bound all else here.
  // A scale and a bias of 2 bytes each for 64 elements (model/kv_segment.h).
  const std::int64_t scales = kv_bits <= 8 ? (config.head_dim + 63) / 64 * 4 : 0;
  const std::int64_t heads = 2 * config.num_hidden_layers * config.num_key_value_heads;
  const std::int64_t head = (config.head_dim * kv_bits + 7) / 8 + scales;
  const double cache =
      static_cast<double>(heads) * static_cast<double>(head) * static_cast<double>(context);
  needs.cache = cache < 0x1p61 ? heads * head * context : std::int64_t{1} << 61;
  // The residual, its normed copy, the outputs of attention and MLP, q k v and the heads' outputs,
  // gate and up; and one row of logits.
  const std::int64_t row = 4 * config.hidden_size + 2 * q + 2 * kv + 2 * config.intermediate_size;
  needs.activations = (std::min(context, rows) * row + config.vocab_size) * kFloat;
  return needs;
}

std::string bytes_text(std::int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", b / 1e3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", b / 1e6);
  return fmt::format("{:.2f} GB", b / 1e9);
}

}  // namespace qx
