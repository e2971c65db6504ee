// SPDX-License-Identifier: Apache-2.0
#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/half.h"
#include "io/json.h"

namespace qx {
namespace {

constexpr std::uint64_t kMaxDims = 4;
constexpr int kMaxArrayDepth = 4;
// A value of one byte in the file takes 40 in memory; this bounds them to about 170 MB.
constexpr std::uint64_t kMaxValues = std::uint64_t{1} << 22;
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 20;
constexpr std::uint64_t kDefaultAlignment = 32;

struct TypeRow {
  GgufType type;
  std::string_view name;
  std::uint64_t block_elems, block_bytes;
};
constexpr std::array kTypes = {
    TypeRow{GgufType::kF32, "F32", 1, 4},     TypeRow{GgufType::kF16, "F16", 1, 2},
    TypeRow{GgufType::kBF16, "BF16", 1, 2},   TypeRow{GgufType::kQ4_0, "Q4_0", 32, 18},
    TypeRow{GgufType::kQ4_1, "Q4_1", 32, 20}, TypeRow{GgufType::kQ5_0, "Q5_0", 32, 22},
    TypeRow{GgufType::kQ5_1, "Q5_1", 32, 24}, TypeRow{GgufType::kQ8_0, "Q8_0", 32, 34},
};

// Types that exist but are not read, so that the message can name them.
std::string_view other_type_name(std::uint32_t type) {
  constexpr std::array<std::pair<std::uint32_t, std::string_view>, 22> kOthers = {{
      {9, "Q8_1"},   {10, "Q2_K"},   {11, "Q3_K"},    {12, "Q4_K"},   {13, "Q5_K"},
      {14, "Q6_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
      {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
      {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
      {29, "IQ1_M"}, {39, "MXFP4"},
  }};
  for (const auto& [id, name] : kOthers) {
    if (id == type) return name;
  }
  return "unknown";
}

const TypeRow* find_type(std::uint32_t type) {
  for (const TypeRow& row : kTypes) {
    if (static_cast<std::uint32_t>(row.type) == type) return &row;
  }
  return nullptr;
}

enum class ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Bytes in the file of one value; of strings and arrays, the least.
std::uint64_t least_bytes(ValueType type) {
  constexpr std::array<std::uint64_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return kBytes[static_cast<std::size_t>(type)];
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view origin)
      : bytes_(bytes), origin_(origin) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }
  std::string_view origin() const { return origin_; }

  std::span<const std::byte> take(std::uint64_t n, std::string_view what) {
    if (n > remaining()) {
      fail(origin_, "byte {}: {} needs {} bytes, the file has {} left (is it whole?)", position_,
           what, n, remaining());
    }
    const auto out = bytes_.subspan(position_, n);
    position_ += n;
    return out;
  }

  std::uint64_t integer(int n_bytes, std::string_view what) {
    const auto raw = take(static_cast<std::uint64_t>(n_bytes), what);
    std::uint64_t value = 0;
    for (int i = n_bytes - 1; i >= 0; --i) {
      value = value << 8 | std::to_integer<std::uint64_t>(raw[static_cast<std::size_t>(i)]);
    }
    return value;
  }

  // A count of things that take at least least_bytes each.
  std::uint64_t count(std::uint64_t least_bytes, std::string_view what) {
    const std::uint64_t at = position_;
    const std::uint64_t n = integer(8, what);
    if (n > remaining() / least_bytes) {
      fail(origin_, "byte {}: got {} {}, more than the {} bytes left can hold", at, n, what,
           remaining());
    }
    return n;
  }

  std::string string(std::string_view what) {
    const std::uint64_t n = count(1, what);
    const auto raw = take(n, what);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  // A string that messages will show.
  std::string name(std::string_view what) {
    const std::uint64_t at = position_;
    std::string text = string(what);
    if (text.size() > 65535 || !is_valid_utf8(text) || text.find('\0') != std::string::npos) {
      fail(origin_, "byte {}: {} is not UTF-8 text of at most 65535 bytes without NUL", at, what);
    }
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view origin_;
  std::uint64_t position_ = 0;
};

template <typename T>
std::int64_t sign_extend(std::uint64_t raw) {
  return static_cast<T>(raw);
}

// Reads metadata values; counts them over the whole file.
class ValueReader {
 public:
  ValueReader(Reader& in, std::string_view key) : in_(in), key_(key) {}

  GgufValue read(std::uint64_t& budget) {
    budget_ = &budget;
    return value(type(), 0);
  }

 private:
  ValueType type() {
    const std::uint64_t raw = in_.integer(4, "a value type");
    if (raw > static_cast<std::uint64_t>(ValueType::kF64)) {
      fail(in_.origin(), "key '{}': got value type {}, expected 0 to 12", key_, raw);
    }
    return static_cast<ValueType>(raw);
  }

  GgufValue value(ValueType type, int depth) {
    if (*budget_ == 0) {
      fail(in_.origin(), "key '{}': the metadata hold more than {} values", key_, kMaxValues);
    }
    --*budget_;
    const auto raw = [&] { return in_.integer(static_cast<int>(least_bytes(type)), key_); };
    switch (type) {
      case ValueType::kU8:
      case ValueType::kU16:
      case ValueType::kU32:
      case ValueType::kU64:
        return {raw()};
      case ValueType::kI8:
        return {sign_extend<std::int8_t>(raw())};
      case ValueType::kI16:
        return {sign_extend<std::int16_t>(raw())};
      case ValueType::kI32:
        return {sign_extend<std::int32_t>(raw())};
      case ValueType::kI64:
        return {sign_extend<std::int64_t>(raw())};
      case ValueType::kF32:
        return {static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(raw())))};
      case ValueType::kF64:
        return {std::bit_cast<double>(raw())};
      case ValueType::kBool:
        return {boolean(raw())};
      case ValueType::kString:
        return {in_.string(key_)};
      case ValueType::kArray:
        return {array(depth)};
    }
    QX_CHECK(false);
    return {};
  }

  bool boolean(std::uint64_t raw) {
    if (raw > 1) fail(in_.origin(), "key '{}': got {} for a boolean, expected 0 or 1", key_, raw);
    return raw == 1;
  }

  GgufArray array(int depth) {
    if (depth >= kMaxArrayDepth) {
      fail(in_.origin(), "key '{}': arrays are nested deeper than {} levels", key_, kMaxArrayDepth);
    }
    const ValueType element = type();
    const std::uint64_t n = in_.count(least_bytes(element), "array elements");
    if (n > *budget_) {
      fail(in_.origin(), "key '{}': the metadata hold more than {} values", key_, kMaxValues);
    }
    GgufArray out;
    out.reserve(n);
    for (std::uint64_t i = 0; i < n; ++i) out.push_back(value(element, depth + 1));
    return out;
  }

  Reader& in_;
  std::string_view key_;
  std::uint64_t* budget_ = nullptr;
};

struct TensorInfo {
  GgufTensor tensor;
  std::uint64_t offset = 0, bytes = 0;
};

TensorInfo read_tensor_info(Reader& in) {
  TensorInfo info;
  info.tensor.name = in.name("a tensor name");
  const std::string place = fmt::format("{}: tensor '{}'", in.origin(), info.tensor.name);
  const std::uint64_t n_dims = in.integer(4, "a number of dimensions");
  if (n_dims < 1 || n_dims > kMaxDims) {
    fail(place, "got {} dimensions, expected 1 to {}", n_dims, kMaxDims);
  }
  for (std::uint64_t i = 0; i < n_dims; ++i) {
    const std::uint64_t d = in.integer(8, "a dimension");
    if (d > INT64_MAX) fail(place, "got dimension {}, expected at most 2^63-1", d);
    info.tensor.shape.insert(info.tensor.shape.begin(), static_cast<std::int64_t>(d));
  }
  const std::uint64_t raw_type = in.integer(4, "a tensor type");
  info.offset = in.integer(8, "a tensor offset");
  const TypeRow* type = find_type(static_cast<std::uint32_t>(raw_type));
  if (type == nullptr) {
    fail(place, "got type {} ({}), expected one of F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0", raw_type,
         other_type_name(static_cast<std::uint32_t>(raw_type)));
  }
  info.tensor.type = type->type;
  const auto row = static_cast<std::uint64_t>(info.tensor.shape.back());
  if (row % type->block_elems != 0) {
    fail(place, "got rows of {} values, expected a multiple of {} for {}", row, type->block_elems,
         type->name);
  }
  const auto count = element_count(info.tensor.shape);
  if (!count || static_cast<std::uint64_t>(*count) > UINT64_MAX / 8) {
    fail(place, "shape {} is too large", shape_text(info.tensor.shape));
  }
  info.bytes = static_cast<std::uint64_t>(*count) / type->block_elems * type->block_bytes;
  return info;
}

std::uint64_t read_alignment(const GgufHeader& header, std::string_view origin) {
  const auto found = header.metadata.find("general.alignment");
  if (found == header.metadata.end()) return kDefaultAlignment;
  const auto* value = std::get_if<std::uint64_t>(&found->second.value);
  if (value == nullptr || !std::has_single_bit(*value) || *value > kMaxAlignment) {
    fail(origin, "key 'general.alignment': expected a power of two up to {}", kMaxAlignment);
  }
  return *value;
}

void check_overlaps(const std::vector<GgufTensor>& tensors, std::string_view origin) {
  std::vector<const GgufTensor*> sorted;
  for (const GgufTensor& t : tensors) {
    if (!t.data.empty()) sorted.push_back(&t);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->data.data() < b->data.data(); });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i]->data.data() < sorted[i - 1]->data.data() + sorted[i - 1]->data.size()) {
      fail(fmt::format("{}: tensor '{}'", origin, sorted[i]->name),
           "its data overlap those of '{}'", sorted[i - 1]->name);
    }
  }
}

void read_magic(Reader& in) {
  const auto magic = in.take(4, "the magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    fail(in.origin(), "does not start with 'GGUF', expected a GGUF file");
  }
  const std::uint64_t version = in.integer(4, "the version");
  if (version != 0 && (version & 0xFFFF) == 0) {
    fail(in.origin(), "got a big-endian GGUF file, expected little-endian");
  }
  if (version != 2 && version != 3) {
    fail(in.origin(), "got GGUF version {}, expected 2 or 3", version);
  }
}

void place_tensors(std::vector<TensorInfo>& infos, std::span<const std::byte> data,
                   std::uint64_t alignment, std::string_view origin) {
  for (TensorInfo& info : infos) {
    const std::string place = fmt::format("{}: tensor '{}'", origin, info.tensor.name);
    if (info.offset % alignment != 0) {
      fail(place, "got offset {}, expected a multiple of {}", info.offset, alignment);
    }
    if (info.offset > data.size() || info.bytes > data.size() - info.offset) {
      fail(place,
           "got {} bytes at offset {}, expected them within the {} bytes of data (is the file "
           "whole?)",
           info.bytes, info.offset, data.size());
    }
    info.tensor.data = data.subspan(info.offset, info.bytes);
  }
}

std::uint16_t load16(const std::byte* p) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(p[0]) |
                                    std::to_integer<unsigned>(p[1]) << 8);
}
std::uint32_t load32(const std::byte* p) {
  return static_cast<std::uint32_t>(load16(p)) | static_cast<std::uint32_t>(load16(p + 2)) << 16;
}

// The 32 codes of a block of 4 or 5 bits: element j < 16 is the low half of byte j, element 16 + j
// the high half; the fifth bits are bits 0..31 of `high`.
void unpack_codes(const std::byte* nibbles, std::uint32_t high, std::array<int, 32>& codes) {
  for (std::size_t j = 0; j < 16; ++j) {
    const int byte = std::to_integer<int>(nibbles[j]);
    codes[j] = (byte & 15) | static_cast<int>(high >> j & 1u) << 4;
    codes[j + 16] = byte >> 4 | static_cast<int>(high >> (j + 16) & 1u) << 4;
  }
}

void decode_block(GgufType type, const std::byte* block, float* out) {
  const float d = f16_to_f32(load16(block));
  std::array<int, 32> codes{};
  float m = 0;
  int offset = 0;
  switch (type) {
    case GgufType::kQ4_0:
      unpack_codes(block + 2, 0, codes);
      offset = 8;
      break;
    case GgufType::kQ5_0:
      unpack_codes(block + 6, load32(block + 2), codes);
      offset = 16;
      break;
    case GgufType::kQ4_1:
      m = f16_to_f32(load16(block + 2));
      unpack_codes(block + 4, 0, codes);
      break;
    case GgufType::kQ5_1:
      m = f16_to_f32(load16(block + 2));
      unpack_codes(block + 8, load32(block + 4), codes);
      break;
    default:
      for (std::size_t j = 0; j < 32; ++j) codes[j] = std::to_integer<std::int8_t>(block[2 + j]);
  }
  const bool has_minimum = type == GgufType::kQ4_1 || type == GgufType::kQ5_1;
  for (std::size_t j = 0; j < 32; ++j) {
    const float product = d * static_cast<float>(codes[j] - offset);
    out[j] = has_minimum ? product + m : product;
  }
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  const TypeRow* row = find_type(static_cast<std::uint32_t>(type));
  QX_CHECK(row != nullptr);
  return row->name;
}

std::size_t gguf_block_elems(GgufType type) {
  const TypeRow* row = find_type(static_cast<std::uint32_t>(type));
  QX_CHECK(row != nullptr);
  return row->block_elems;
}

GgufHeader parse_gguf(std::span<const std::byte> file_bytes, std::string_view origin) {
  Reader in(file_bytes, origin);
  read_magic(in);
  const std::uint64_t n_tensors = in.count(24, "tensors");
  const std::uint64_t n_keys = in.count(13, "metadata keys");
  GgufHeader header;
  std::uint64_t budget = kMaxValues;
  for (std::uint64_t i = 0; i < n_keys; ++i) {
    const std::string key = in.name("a metadata key");
    GgufValue value = ValueReader(in, key).read(budget);
    if (!header.metadata.emplace(key, std::move(value)).second) {
      fail(origin, "key '{}' appears twice", key);
    }
  }
  const std::uint64_t alignment = read_alignment(header, origin);
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < n_tensors; ++i) {
    infos.push_back(read_tensor_info(in));
    if (!names.insert(infos.back().tensor.name).second) {
      fail(origin, "tensor '{}' appears twice", infos.back().tensor.name);
    }
  }
  const std::uint64_t data_start = (in.position() + alignment - 1) / alignment * alignment;
  const auto data = data_start <= file_bytes.size() ? file_bytes.subspan(data_start)
                                                    : std::span<const std::byte>{};
  place_tensors(infos, data, alignment, origin);
  for (TensorInfo& info : infos) header.tensors.push_back(std::move(info.tensor));
  check_overlaps(header.tensors, origin);
  return header;
}

const GgufValue* GgufKeys::find(const std::string& key) const {
  const auto found = metadata_->find(key);
  return found == metadata_->end() ? nullptr : &found->second;
}

std::optional<std::int64_t> GgufKeys::find_integer(const std::string& key) const {
  const GgufValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  constexpr std::uint64_t kMax = 0x7FFFFFFF;
  if (const auto* u = std::get_if<std::uint64_t>(&found->value); u != nullptr && *u <= kMax) {
    return static_cast<std::int64_t>(*u);
  }
  const auto* i = std::get_if<std::int64_t>(&found->value);
  if (i == nullptr || *i < 0 || *i > static_cast<std::int64_t>(kMax)) {
    fail(origin_, "key '{}': expected an integer from 0 to {}", key, kMax);
  }
  return *i;
}

std::optional<double> GgufKeys::find_number(const std::string& key) const {
  const GgufValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (const auto* u = std::get_if<std::uint64_t>(&found->value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<std::int64_t>(&found->value)) return static_cast<double>(*i);
  const auto* d = std::get_if<double>(&found->value);
  if (d == nullptr || !std::isfinite(*d)) {
    fail(origin_, "key '{}': expected a finite number", key);
  }
  const auto single = static_cast<float>(*d);
  return static_cast<double>(single) == *d ? std::stod(fmt::format("{}", single)) : *d;
}

std::optional<bool> GgufKeys::find_bool(const std::string& key) const {
  const GgufValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  const auto* b = std::get_if<bool>(&found->value);
  if (b == nullptr) fail(origin_, "key '{}': expected a boolean", key);
  return *b;
}

std::optional<std::string> GgufKeys::find_text(const std::string& key) const {
  const GgufValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  const auto* text = std::get_if<std::string>(&found->value);
  if (text == nullptr || !is_valid_utf8(*text)) {
    fail(origin_, "key '{}': expected UTF-8 text", key);
  }
  return *text;
}

const GgufArray* GgufKeys::find_array(const std::string& key) const {
  const GgufValue* found = find(key);
  if (found == nullptr) return nullptr;
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (array == nullptr) fail(origin_, "key '{}': expected an array", key);
  return array;
}

std::int64_t GgufKeys::integer(const std::string& key) const {
  const auto value = find_integer(key);
  if (!value) fail(origin_, "key '{}' is missing", key);
  return *value;
}

void gguf_decode(const GgufTensor& tensor, std::size_t begin_elems, std::span<float> out) {
  const TypeRow* type = find_type(static_cast<std::uint32_t>(tensor.type));
  QX_CHECK(type != nullptr);
  const std::size_t total = tensor.data.size() / type->block_bytes * type->block_elems;
  QX_CHECK(begin_elems % type->block_elems == 0 && out.size() % type->block_elems == 0);
  QX_CHECK(begin_elems <= total && out.size() <= total - begin_elems);
  if (out.empty()) return;
  const std::byte* block = tensor.data.data() + begin_elems / type->block_elems * type->block_bytes;
  switch (tensor.type) {
    case GgufType::kF32:
      return load_floats(DType::kF32, tensor.data.data(), begin_elems, out);
    case GgufType::kF16:
      return load_floats(DType::kF16, tensor.data.data(), begin_elems, out);
    case GgufType::kBF16:
      return load_floats(DType::kBF16, tensor.data.data(), begin_elems, out);
    default:
      for (std::size_t i = 0; i < out.size(); i += 32, block += type->block_bytes) {
        decode_block(tensor.type, block, out.data() + i);
      }
  }
}

GgufFile::GgufFile(const std::filesystem::path& path)
    : file_(path), header_(parse_gguf(file_.bytes(), path.string())) {}

}  // namespace qx
