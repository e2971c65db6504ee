// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <queue>

#include "base/error.h"
#include "text/unicode.h"

namespace qx {
namespace {

constexpr std::uint64_t kEmptyPair = UINT64_MAX;
constexpr std::size_t kShortWord = 24;  // up to here a scan for the lowest rank beats a queue

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15ull;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9ull;
  return x ^ (x >> 32);
}

std::uint64_t hash_text(std::string_view text) {
  std::uint64_t h = text.size();
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    h = mix(h ^ word);
  }
  std::uint64_t rest = 0;
  if (i < text.size()) std::memcpy(&rest, text.data() + i, text.size() - i);
  return mix(h + rest);
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

std::string_view TextTable::operator[](std::size_t id) const {
  if (!has(id)) return {};
  return std::string_view(bytes_).substr(entries_[id].offset, entries_[id].length);
}

void TextTable::set(std::size_t id, std::string_view text) {
  QX_CHECK(id < entries_.size() && entries_[id].length == kHole && text.size() < kHole);
  entries_[id] = {bytes_.size(), static_cast<std::uint32_t>(text.size())};
  bytes_ += text;
}

TextIndex::TextIndex(const TextTable& table, std::size_t max_entries)
    : table_(&table),
      slots_(std::bit_ceil(max_entries * 2 + 1), Slot{-1, 0}),
      mask_(slots_.size() - 1) {}

bool TextIndex::insert(std::int32_t id) {
  const std::string_view text = (*table_)[static_cast<std::size_t>(id)];
  const std::uint64_t hash = hash_text(text);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::size_t at = hash & mask_;
  for (; slots_[at].id >= 0; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.tag == tag && (*table_)[static_cast<std::size_t>(slot.id)] == text) {
      return slot.id == id;
    }
  }
  slots_[at] = {id, tag};
  return true;
}

std::int32_t TextIndex::find(std::string_view text) const {
  const std::uint64_t hash = hash_text(text);
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.id < 0) return -1;
    if (slot.tag == tag && (*table_)[static_cast<std::size_t>(slot.id)] == text) return slot.id;
  }
}

Bpe::Bpe(const std::array<std::int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
         std::optional<Unknown> unknown)
    : byte_ids_(byte_ids), unknown_(unknown) {
  slots_.assign(std::bit_ceil(merges.size() * 3 / 2 + 2), Slot{kEmptyPair, {0, 0}});
  mask_ = slots_.size() - 1;
  for (std::size_t i = 0; i < merges.size(); ++i) add_rule(merges[i], static_cast<std::int32_t>(i));
}

void Bpe::add_rule(const Merge& merge, std::int32_t rank) {
  const std::uint64_t key = pair_key(merge.left, merge.right);
  std::size_t at = mix(key) & mask_;
  while (slots_[at].pair != kEmptyPair && slots_[at].pair != key) at = (at + 1) & mask_;
  slots_[at] = {key, {rank, merge.result}};
}

const Bpe::Rule* Bpe::rule(std::int32_t left, std::int32_t right) const {
  const std::uint64_t key = pair_key(left, right);
  std::size_t at = mix(key) & mask_;
  while (slots_[at].pair != key) {
    if (slots_[at].pair == kEmptyPair) return nullptr;
    at = (at + 1) & mask_;
  }
  return &slots_[at].rule;
}

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t begin = ids.size();
  bool last_unknown = false;
  for (const char c : word) {
    const std::int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      ids.push_back(id);
      last_unknown = false;
    } else if (unknown_) {
      if (!(unknown_->fuse && last_unknown)) ids.push_back(unknown_->id);
      last_unknown = true;
    }
  }
  merge(ids, begin);
}

void Bpe::merge(std::vector<std::int32_t>& ids, std::size_t begin) const {
  const std::size_t symbols = ids.size() - begin;
  if (symbols < 2) return;
  symbols <= kShortWord ? merge_short(ids, begin) : merge_long(ids, begin);
}

void Bpe::merge_short(std::vector<std::int32_t>& ids, std::size_t begin) const {
  constexpr Rule kNone{INT32_MAX, -1};
  std::int32_t* symbol = ids.data() + begin;
  std::size_t n = ids.size() - begin;
  Rule rules[kShortWord];  // rules[i] merges symbols i and i + 1
  const auto look_up = [&](std::size_t i) {
    const Rule* r = rule(symbol[i], symbol[i + 1]);
    return r != nullptr ? *r : kNone;
  };
  for (std::size_t i = 0; i + 1 < n; ++i) rules[i] = look_up(i);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i) {
      if (rules[i].rank < rules[best].rank) best = i;
    }
    if (rules[best].rank == INT32_MAX) break;
    symbol[best] = rules[best].result;
    for (std::size_t i = best + 1; i + 1 < n; ++i) {
      symbol[i] = symbol[i + 1];
      rules[i - 1] = rules[i];
    }
    --n;
    // The shift above put the rule of the pair to the right of the old one at `best`: both neighbours'
    // pairs have changed.
    if (best + 1 < n) rules[best] = look_up(best);
    if (best > 0) rules[best - 1] = look_up(best - 1);
  }
  ids.resize(begin + n);
}

void Bpe::merge_long(std::vector<std::int32_t>& ids, std::size_t begin) const {
  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;  // -1: none; a merged-away symbol has id -1
  };
  struct Candidate {
    std::int32_t rank, position, result;
    bool operator>(const Candidate& o) const {
      return rank != o.rank ? rank > o.rank : position > o.position;
    }
  };
  const auto n = static_cast<std::int32_t>(ids.size() - begin);
  std::vector<Symbol> symbols(static_cast<std::size_t>(n));
  for (std::int32_t i = 0; i < n; ++i) {
    symbols[static_cast<std::size_t>(i)] = {ids[begin + static_cast<std::size_t>(i)], i - 1,
                                            i + 1 < n ? i + 1 : -1};
  }
  std::vector<Candidate> storage;
  storage.reserve(static_cast<std::size_t>(n));
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{},
                                                                               std::move(storage));
  const auto at = [&](std::int32_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  const auto propose = [&](std::int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    if (const Rule* r = rule(at(left).id, at(at(left).next).id))
      queue.push({r->rank, left, r->result});
  };
  for (std::int32_t i = 0; i + 1 < n; ++i) propose(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.position);
    if (left.id < 0 || left.next < 0) continue;
    const std::int32_t right_at = left.next;
    const Rule* r = rule(left.id, at(right_at).id);
    if (r == nullptr || r->result != top.result) continue;  // the pair has changed since
    left.id = top.result;
    left.next = at(right_at).next;
    at(right_at).id = -1;
    if (left.next >= 0) at(left.next).previous = top.position;
    propose(left.previous);
    propose(top.position);
  }
  ids.resize(begin);
  for (std::int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
}

const std::array<char32_t, 256>& byte_alphabet() {
  static const std::array<char32_t, 256> kAlphabet = [] {
    std::array<char32_t, 256> alphabet{};
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      alphabet[b] = printable ? b : next++;
    }
    return alphabet;
  }();
  return kAlphabet;
}

bool bytes_of_alphabet(std::string_view token_text, std::string& out) {
  static const std::array<std::int16_t, 512> kBytes = [] {
    std::array<std::int16_t, 512> bytes;
    bytes.fill(-1);
    for (std::size_t b = 0; b < 256; ++b) bytes[byte_alphabet()[b]] = static_cast<std::int16_t>(b);
    return bytes;
  }();
  // Code points below 512 are one byte, or two of which the first is 0xC2 to 0xC7.
  out.resize(token_text.size());
  std::size_t length = 0;
  for (std::size_t i = 0; i < token_text.size(); ++i) {
    std::size_t code = static_cast<unsigned char>(token_text[i]);
    if (code >= 0x80) {
      if (code < 0xC2 || code > 0xC7 || ++i == token_text.size()) return false;
      const std::size_t next = static_cast<unsigned char>(token_text[i]);
      if ((next & 0xC0) != 0x80) return false;
      code = (code & 0x1F) << 6 | (next & 0x3F);
    }
    if (kBytes[code] < 0) return false;
    out[length++] = static_cast<char>(kBytes[code]);
  }
  out.resize(length);
  return true;
}

std::optional<std::string> bytes_of_alphabet(std::string_view token_text) {
  std::string out;
  if (!bytes_of_alphabet(token_text, out)) return std::nullopt;
  return out;
}

}  // namespace qx
