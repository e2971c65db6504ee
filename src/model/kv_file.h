// Keys and values in a file, so that a text that was read once need not be read again. Safetensors;
// what is in it in the layout of mlx-lm's prompt caches (mlx_lm/models/cache.py, save_prompt_cache,
// 0.32.2), which reads a file of one sequence therefore (but of 4 bits, whose heads are rotated:
// kv_segment.h). Of layer i, over n positions:
//   32, 16 bits   "i.0" keys and "i.1" values, F32 or F16 [1, kv_heads, n, head_dim]; "i.2" n
//   8, 4 bits     "i.0.0" codes of keys, U32 [1, kv_heads, n, head_dim * bits / 32], lowest bit
//                 first (U8 where a row is no multiple of 4 bytes), "i.0.1" scales and "i.0.2"
//                 biases, BF16 [1, kv_heads, n, groups]; "i.1.0" to "i.1.2" of values; "i.2" n,
//                 "i.3" 64, "i.4" bits
// with integers as I32 []. __metadata__ has what mlx-lm wants there, and under "0.qx" a document:
//   format     "qx-kv-1"
//   identity   all that the values depend on but the tokens
//   layers, kv_heads, head_dim, bits
//   segments   [{"parent": -1, "tokens": [..], "used": 0}, ..]: the positions of the arrays in this
//              order. A parent stands before its children; -1: the beginning of a sequence
//   notes      anything else
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "model/kv_segment.h"
#include "model/model.h"

namespace qx {

struct KvFileSegment {
  std::int64_t parent = -1;
  std::vector<TokenId> tokens;
  std::int64_t used = 0;   // larger: used later
  std::int64_t first = 0;  // of its positions, in the arrays
};

struct ParsedKvFile {
  Json identity, notes;
  KvShape shape;
  std::int64_t positions = 0;
  std::vector<KvFileSegment> segments;
  struct Rows {
    TensorView elements, scales, biases;  // the last two without a name where there are none
  };
  std::vector<std::array<Rows, 2>> layers;  // keys, values
};
// Checks names, types, shapes and the document; not the values. Fails: Error at `origin`.
ParsedKvFile parse_kv_file(const SafetensorsHeader& header, std::string_view origin);

class KvFile {
 public:
  // Fails: Error, as parse_kv_file, or when the file cannot be read.
  explicit KvFile(const std::filesystem::path& path);

  // Fails: Error unless the file's values are those of a model with this config under this
  // identity; it names what differs.
  void require(const Json& identity, const ModelConfig& config) const;

  const std::vector<KvFileSegment>& segments() const { return parsed_.segments; }
  const Json& notes() const { return parsed_.notes; }
  const std::string& place() const { return place_; }

  // The only sequence. Fails: Error for a file of several segments, as a server writes it.
  const KvFileSegment& only_sequence() const;

  // A segment of the model that continues parent (null: begins a sequence) with positions [first,
  // first + count) of a segment of the file, and has room for `capacity`. Fails: Error when the
  // model keeps keys and values of another shape.
  std::shared_ptr<KvSegment> load(Model& model, const KvFileSegment& from, std::int64_t first,
                                  std::int64_t count, std::shared_ptr<const KvSegment> parent,
                                  std::int64_t capacity) const;

 private:
  std::string place_;
  SafetensorsFile file_;
  ParsedKvFile parsed_;
};

// What write_kv_file() takes: a segment of the CPU backend and the tokens of its own positions.
struct KvFileEntry {
  std::int64_t parent = -1;  // an earlier entry
  std::span<const TokenId> tokens;
  const KvSegment* segment = nullptr;
  std::int64_t used = 0;
};
struct KvFileFacts {
  Json identity, notes;
  std::string model;  // how the user named it, for mlx-lm
};
// Whole or absent. At least one entry with a position; all of one shape. replace: an existing file
// makes way if it is one of these. Fails: Error.
void write_kv_file(const std::filesystem::path& path, const KvFileFacts& facts,
                   std::span<const KvFileEntry> entries, bool replace);

// Fails: Error when write_kv_file would not write there for what there is already. Before long
// work.
void require_kv_target(const std::filesystem::path& path, bool replace);

}  // namespace qx
