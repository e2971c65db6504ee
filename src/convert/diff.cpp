// SPDX-License-Identifier: Apache-2.0
#include "convert/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/progress.h"
#include "convert/row_blocks.h"
#include "convert/source.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

using Kind = TensorDifference::Kind;

std::string storage_text(const SourceTensor& t) {
  if (!t.affine) return fmt::format("float {}", dtype_name(t.weight->dtype));
  return fmt::format("affine {} bits, group {}, {}", t.affine->bits, t.affine->group,
                     dtype_name(t.scales->dtype));
}

struct BlockSums {
  double squared = 0, largest = 0;
  std::int64_t different = 0;
};

struct Scratch {
  SourceScratch a, b;
};

void flatten(const Json& value, const std::string& key, std::map<std::string, Json>& out) {
  if (!value.is_object() || value.empty()) {
    out[key] = value;
    return;
  }
  for (const auto& [name, member] : value.items()) {
    flatten(member, key.empty() ? name : key + "." + name, out);
  }
}

std::vector<KeyDifference> config_differences(const Json& a, const Json& b) {
  std::map<std::string, Json> left, right;
  flatten(a, "", left);
  flatten(b, "", right);
  std::set<std::string> keys;
  for (const auto& [key, value] : left) keys.insert(key);
  for (const auto& [key, value] : right) keys.insert(key);
  std::vector<KeyDifference> differences;
  for (const std::string& key : keys) {
    const Json x = left.contains(key) ? left[key] : Json();
    const Json y = right.contains(key) ? right[key] : Json();
    if (x != y) differences.push_back({key, x, y});
  }
  return differences;
}

std::set<std::string> other_files(const fs::path& directory) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".index.json");
    if (!entry.is_regular_file() || weights || name == "config.json" || name == "qx_plan.json" ||
        name == "README.md" || name.starts_with('.')) {
      continue;
    }
    names.insert(name);
  }
  return names;
}

void compare_files(const fs::path& a, const fs::path& b, DirectoryDiff& diff) {
  const std::set<std::string> left = other_files(a), right = other_files(b);
  for (const std::string& name : left) {
    if (!right.contains(name)) {
      diff.files_only_a.push_back(name);
    } else if (MappedFile(a / name).text() != MappedFile(b / name).text()) {
      diff.files_different.push_back(name);
    }
  }
  for (const std::string& name : right) {
    if (!left.contains(name)) diff.files_only_b.push_back(name);
  }
}

// Pairs of tensors that both have in one shape, to be compared weight by weight unless their bytes are equal.
struct Pair {
  const SourceTensor* a = nullptr;
  const SourceTensor* b = nullptr;
  TensorDifference difference;
};

bool same_bytes(const SourceModel& a, const SourceTensor& x, const SourceModel& b,
                const SourceTensor& y, RowRange rows) {
  const auto left = a.stored_rows(x, rows), right = b.stored_rows(y, rows);
  return left.size() == right.size() &&
         std::equal(left.begin(), left.end(), right.begin(), [](const auto& l, const auto& r) {
           return std::equal(l.begin(), l.end(), r.begin(), r.end());
         });
}

BlockSums compare_weights(const std::vector<float>& a, const std::vector<float>& b) {
  BlockSums sums;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    ++sums.different;
    sums.squared += d * d;
    sums.largest = std::max(sums.largest, std::fabs(d));
  }
  return sums;
}

std::vector<Pair> match(const SourceModel& a, const SourceModel& b, DirectoryDiff& diff) {
  std::map<std::string, const SourceTensor*> right;
  for (const SourceTensor& t : b.tensors()) right[t.name] = &t;
  std::vector<Pair> pairs;
  for (const SourceTensor& x : a.tensors()) {
    const auto found = right.find(x.name);
    if (found == right.end()) {
      diff.tensors.push_back({x.name, Kind::kOnlyA, storage_text(x), "", false, 0, 0, 0});
      continue;
    }
    const SourceTensor& y = *found->second;
    right.erase(found);
    TensorDifference d{x.name, Kind::kValues, storage_text(x), storage_text(y), false, 0, 0, 0};
    if (x.shape.rows != y.shape.rows || x.shape.cols != y.shape.cols) {
      d.kind = Kind::kShape;
      d.a += fmt::format(", [{}, {}]", x.shape.rows, x.shape.cols);
      d.b += fmt::format(", [{}, {}]", y.shape.rows, y.shape.cols);
      diff.tensors.push_back(std::move(d));
      continue;
    }
    if (d.a != d.b) d.kind = Kind::kStorage;
    pairs.push_back({&x, &y, std::move(d)});
  }
  for (const auto& [name, tensor] : right) {
    diff.tensors.push_back({name, Kind::kOnlyB, "", storage_text(*tensor), false, 0, 0, 0});
  }
  return pairs;
}

}  // namespace

DirectoryDiff diff_directories(const fs::path& a, const fs::path& b, ThreadPool& pool, bool quiet) {
  const SourceModel left(a), right(b);
  DirectoryDiff diff;
  diff.config = config_differences(left.config_json(), right.config_json());
  compare_files(a, b, diff);
  std::vector<Pair> pairs = match(left, right, diff);
  std::vector<SourceTensor> tensors;
  for (const Pair& pair : pairs) tensors.push_back(*pair.a);
  const std::vector<RowBlock> blocks = row_blocks(tensors);
  std::vector<BlockSums> sums(blocks.size());
  std::vector<char> equal(blocks.size(), 0);
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.threads()));
  Progress progress("comparing", blocks.size(), "blocks", quiet);
  for_each_block(pool, blocks, [&](std::size_t i, int worker) {
    const Pair& pair = pairs[blocks[i].tensor];
    progress.advance();
    equal[i] = pair.difference.kind == Kind::kValues &&
               same_bytes(left, *pair.a, right, *pair.b, blocks[i].rows);
    if (equal[i] != 0) return;
    Scratch& mine = scratch[static_cast<std::size_t>(worker)];
    sums[i] = compare_weights(decoded_rows(left, *pair.a, blocks[i].rows, mine.a),
                              decoded_rows(right, *pair.b, blocks[i].rows, mine.b));
  });
  std::vector<char> all_equal(pairs.size(), 1);
  std::vector<double> squared(pairs.size(), 0);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    TensorDifference& d = pairs[blocks[i].tensor].difference;
    if (equal[i] == 0) all_equal[blocks[i].tensor] = 0;
    d.different_weights += sums[i].different;
    d.largest = std::max(d.largest, sums[i].largest);
    squared[blocks[i].tensor] += sums[i].squared;
  }
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    if (all_equal[p] != 0) {
      ++diff.equal_tensors;
      continue;
    }
    TensorDifference& d = pairs[p].difference;
    d.compared = true;
    d.rms = std::sqrt(squared[p] /
                      static_cast<double>(pairs[p].a->shape.rows * pairs[p].a->shape.cols));
    diff.tensors.push_back(std::move(d));
  }
  std::sort(diff.tensors.begin(), diff.tensors.end(),
            [](const TensorDifference& x, const TensorDifference& y) { return x.name < y.name; });
  return diff;
}

}  // namespace qx
