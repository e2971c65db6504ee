// GGUF version 3 (and 2): header, metadata, tensor table. Little-endian.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/dtype.h"

namespace qx {

enum class GgufType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kBF16 = 30,
};

std::string_view gguf_type_name(GgufType type);  // "Q4_1"
std::size_t gguf_block_elems(GgufType type);     // 1 or 32

struct GgufValue;
using GgufArray = std::vector<GgufValue>;
struct GgufValue {  // unsigned and signed integers of any width, floats of both
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray> value;
};

struct GgufTensor {
  std::string name;
  GgufType type;
  Shape shape;                      // row-major as ours: GGUF's dimensions reversed
  std::span<const std::byte> data;  // blocks of a row are contiguous
};

// Parsed and bounds-checked before anything is allocated; data spans point into the file's bytes.
// Fails: Error whose place is `origin`: counts, lengths and offsets beyond the file, more than four
// levels of nested arrays, more than 2^22 metadata values, a key or tensor that appears twice, data
// that overlap; a tensor type outside GgufType is named with the types that are read.
struct GgufHeader {
  std::map<std::string, GgufValue> metadata;
  std::vector<GgufTensor> tensors;
};
GgufHeader parse_gguf(std::span<const std::byte> file_bytes, std::string_view origin);

// Typed access to metadata. Fails: Error naming origin and key when a value has another type.
class GgufKeys {
 public:
  GgufKeys(const std::map<std::string, GgufValue>& metadata, std::string_view origin)
      : metadata_(&metadata), origin_(origin) {}

  const std::string& origin() const { return origin_; }
  // Nothing when the key is absent. Integers: 0 to 2^31-1. Numbers: finite; floats that the file
  // holds in 32 bits come as the shortest decimal that names them (1e-05, not 9.99999974737875e-06).
  std::optional<std::int64_t> find_integer(const std::string& key) const;
  std::optional<double> find_number(const std::string& key) const;
  std::optional<bool> find_bool(const std::string& key) const;
  std::optional<std::string> find_text(const std::string& key) const;  // valid UTF-8
  const GgufArray* find_array(const std::string& key) const;           // null when absent
  std::int64_t integer(const std::string& key) const;                  // Fails: also when absent

 private:
  const GgufValue* find(const std::string& key) const;
  const std::map<std::string, GgufValue>* metadata_;
  std::string origin_;
};

// Decodes elements [begin, begin + out.size()) of a tensor; begin and size are multiples of 32 for
// the block types. value = d * (q - 8), d * q + m, .. as ggml defines them, in float32.
void gguf_decode(const GgufTensor& tensor, std::size_t begin_elems, std::span<float> out);

class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);
  const GgufHeader& header() const { return header_; }
  const MappedFile& file() const { return file_; }

 private:
  MappedFile file_;
  GgufHeader header_;
};

}  // namespace qx
