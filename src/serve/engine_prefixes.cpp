// The engine's tree of prefixes in a file.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "serve/engine.h"

namespace qx {
namespace {

// A block of the tree in the file.
struct StoredBlock {
  const KvFileSegment* segment = nullptr;
  std::int64_t first = 0;    // position in the segment
  std::int64_t parent = -1;  // its place in the list
};

// Parents before children. A single text, as qx cache-prompt writes it, is cut into blocks.
std::vector<StoredBlock> stored_blocks(const KvFile& file) {
  const std::vector<KvFileSegment>& segments = file.segments();
  std::vector<StoredBlock> out;
  if (segments.size() == 1) {
    const auto size = static_cast<std::int64_t>(segments.front().tokens.size());
    for (std::int64_t first = 0; first + kPrefixBlock <= size; first += kPrefixBlock) {
      out.push_back({&segments.front(), first, static_cast<std::int64_t>(out.size()) - 1});
    }
    return out;
  }
  for (const KvFileSegment& segment : segments) {
    if (static_cast<std::int64_t>(segment.tokens.size()) != kPrefixBlock) {
      fail(file.place(), "got a segment of {} tokens, expected {}", segment.tokens.size(),
           kPrefixBlock);
    }
    out.push_back({&segment, 0, segment.parent});
  }
  return out;
}

// A block counts as used when one behind it was: parents come before their children.
std::vector<std::size_t> last_used_first(const std::vector<StoredBlock>& blocks) {
  std::vector<std::int64_t> used(blocks.size());
  for (std::size_t i = blocks.size(); i-- > 0;) {
    used[i] = std::max(used[i], blocks[i].segment->used);
    if (blocks[i].parent < 0) continue;
    std::int64_t& of_parent = used[static_cast<std::size_t>(blocks[i].parent)];
    of_parent = std::max(of_parent, used[i]);
  }
  std::vector<std::size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return used[a] > used[b]; });
  return order;
}

}  // namespace

std::int64_t ServeEngine::load_prefixes(const KvFile& file) {
  const std::vector<StoredBlock> blocks = stored_blocks(file);
  const std::vector<std::size_t> order = last_used_first(blocks);
  const std::lock_guard<ComputeTurn> turn(turn_);
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<PrefixTree::Node*> nodes(blocks.size(), nullptr);
  std::int64_t tokens = 0;
  for (const std::size_t i : order) {
    if (tree_.full()) break;
    const StoredBlock& block = blocks[i];
    PrefixTree::Node* parent =
        block.parent < 0 ? nullptr : nodes[static_cast<std::size_t>(block.parent)];
    if (block.parent >= 0 && parent == nullptr) continue;
    auto segment = file.load(model_, *block.segment, block.first, kPrefixBlock,
                             parent != nullptr ? parent->segment : nullptr, kPrefixBlock);
    nodes[i] = tree_.add(parent,
                         std::span(block.segment->tokens)
                             .subspan(static_cast<std::size_t>(block.first), kPrefixBlock),
                         std::move(segment));
    if (nodes[i] == nullptr) continue;
    tree_.set_used(*nodes[i], static_cast<std::uint64_t>(block.segment->used));
    tokens += kPrefixBlock;
  }
  stats_.prefix_bytes = tree_.bytes();
  return tokens;
}

void ServeEngine::save_prefixes(const std::filesystem::path& path, const KvFileFacts& facts) const {
  QX_CHECK(!thread_.joinable());
  const std::vector<PrefixTree::Entry> all = tree_.entries();
  if (all.empty()) return;
  std::vector<KvFileEntry> entries;
  for (const PrefixTree::Entry& e : all) {
    entries.push_back(
        {e.parent, e.tokens, e.node->segment.get(), static_cast<std::int64_t>(e.node->used)});
  }
  write_kv_file(path, facts, entries, true);
}

}  // namespace qx
