// Byte-level byte-pair encoding of one word: from bytes to token ids.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qx {

// Texts by id, with holes, in one block of memory.
class TextTable {
 public:
  explicit TextTable(std::size_t ids = 0) : entries_(ids, Entry{0, kHole}) {}
  std::size_t size() const { return entries_.size(); }
  bool has(std::size_t id) const { return id < entries_.size() && entries_[id].length != kHole; }
  std::string_view operator[](std::size_t id) const;  // "" for a hole
  void set(std::size_t id, std::string_view text);    // id < size(), a hole

 private:
  static constexpr std::uint32_t kHole = UINT32_MAX;
  struct Entry {
    std::uint64_t offset;
    std::uint32_t length;
  };
  std::vector<Entry> entries_;
  std::string bytes_;
};

// Finds the id of a text among some ids of a table, which must outlive the index and keep its address.
class TextIndex {
 public:
  TextIndex(const TextTable& table, std::size_t max_entries);
  // False when another id with the same text is there already.
  bool insert(std::int32_t id);
  std::int32_t find(std::string_view text) const;  // -1: none

 private:
  struct Slot {
    std::int32_t id;  // -1: empty
    std::uint32_t
        tag;  // half of the text's hash: most other texts are told apart without a look at them
  };
  const TextTable* table_;
  std::vector<Slot> slots_;
  std::size_t mask_;
};

// Threads: const members may be called from any thread.
class Bpe {
 public:
  struct Merge {
    std::int32_t left, right, result;
  };
  struct Unknown {
    std::int32_t id;
    bool fuse;  // neighbouring unknown bytes become one symbol
  };
  // byte_ids: the id of each single byte, -1 when the vocabulary lacks it. merges: the first has priority;
  // of two with the same parts the later counts.
  Bpe(const std::array<std::int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
      std::optional<Unknown> unknown);

  // Appends the ids of a word: its bytes, then the merge of the lowest rank, leftmost first, until none is
  // left. A byte without id is the unknown token, or is dropped. Time: n log n.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;
  // The merges alone, of the symbols from `begin` on.
  void merge(std::vector<std::int32_t>& ids, std::size_t begin) const;

 private:
  struct Rule {
    std::int32_t rank, result;
  };
  struct Slot {
    std::uint64_t pair;
    Rule rule;
  };
  const Rule* rule(std::int32_t left, std::int32_t right) const;  // null: the two do not merge
  void add_rule(const Merge& merge, std::int32_t rank);
  void merge_short(std::vector<std::int32_t>& ids, std::size_t begin) const;
  void merge_long(std::vector<std::int32_t>& ids, std::size_t begin) const;

  std::array<std::int32_t, 256> byte_ids_;
  std::optional<Unknown> unknown_;
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
};

// The printable stand-ins that GPT-2 gave the 256 bytes: a code point below 512 for each.
const std::array<char32_t, 256>& byte_alphabet();
// A token's text back to bytes. Nothing when some character is outside the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view token_text);
// The same into `out`, whose memory is used again; false for nothing.
bool bytes_of_alphabet(std::string_view token_text, std::string& out);

}  // namespace qx
