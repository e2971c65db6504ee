// SPDX-License-Identifier: Apache-2.0
#include "model/kv_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/posix_file.h"
#include "io/staged.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kFormat = "qx-kv-1";
constexpr const char* kDocument = "0.qx";
constexpr std::int64_t kMostPositions = std::numeric_limits<std::int32_t>::max();

bool has_codes(const KvShape& shape) {
  return kv_groups(shape) > 0;
}

// --- the layout, which reading and writing share ------------------------------------------

// An array of a layer, by what it holds.
struct KvArray {
  enum class Kind { kElements, kScales, kBiases, kNumber };
  std::string name;
  DType dtype;
  Shape shape;
  Kind kind;
  bool values = false;      // not keys
  std::int64_t number = 0;  // kNumber
};

std::vector<KvArray> layer_arrays(const KvShape& shape, std::int64_t layer,
                                  std::int64_t positions) {
  using Kind = KvArray::Kind;
  const auto dims = [&](std::int64_t last) { return Shape{1, shape.kv_heads, positions, last}; };
  const std::int64_t bytes = kv_element_row_bytes(shape);
  std::vector<KvArray> out;
  for (const bool values : {false, true}) {
    const std::string name = fmt::format("{}.{}", layer, values ? 1 : 0);
    if (!has_codes(shape)) {
      const DType dtype = shape.bits == KvBits::k32 ? DType::kF32 : DType::kF16;
      out.push_back({name, dtype, dims(shape.head_dim), Kind::kElements, values});
      continue;
    }
    const bool words = bytes % 4 == 0;
    out.push_back({name + ".0", words ? DType::kU32 : DType::kU8, dims(words ? bytes / 4 : bytes),
                   Kind::kElements, values});
    out.push_back({name + ".1", DType::kBF16, dims(kv_groups(shape)), Kind::kScales, values});
    out.push_back({name + ".2", DType::kBF16, dims(kv_groups(shape)), Kind::kBiases, values});
  }
  const auto add_number = [&](int index, std::int64_t number) {
    out.push_back(
        {fmt::format("{}.{}", layer, index), DType::kI32, {}, Kind::kNumber, false, number});
  };
  add_number(2, positions);
  if (has_codes(shape)) {
    add_number(3, kKvGroup);
    add_number(4, static_cast<int>(shape.bits));
  }
  return out;
}

// --- reading ------------------------------------------------------------------------------

std::int64_t positive(const Json& document, std::string_view key, std::int64_t most,
                      std::string_view origin) {
  const std::int64_t value = json_int(document, key, origin);
  if (value < 1 || value > most) {
    fail(origin, "key '{}': got {}, expected 1 to {}", key, value, most);
  }
  return value;
}

KvShape parse_shape(const Json& document, std::string_view origin) {
  KvShape shape;
  shape.layers = positive(document, "layers", 1 << 20, origin);
  shape.kv_heads = positive(document, "kv_heads", 1 << 20, origin);
  shape.head_dim = positive(document, "head_dim", 1 << 20, origin);
  const std::int64_t bits = json_int(document, "bits", origin);
  if (bits != 4 && bits != 8 && bits != 16 && bits != 32) {
    fail(origin, "key 'bits': got {}, expected 32, 16, 8 or 4", bits);
  }
  shape.bits = static_cast<KvBits>(bits);
  return shape;
}

KvFileSegment parse_segment(const Json& json, std::int64_t index, const std::string& origin) {
  const std::string place = fmt::format("{}, segment {}", origin, index);
  KvFileSegment out;
  out.parent = json_int(json, "parent", place);
  if (out.parent < -1 || out.parent >= index) {
    fail(place, "key 'parent': got {}, expected -1 to {}", out.parent, index - 1);
  }
  out.used = json_int_or(json, "used", 0, place);
  if (out.used < 0) fail(place, "key 'used': got {}, expected 0 or more", out.used);
  const Json& tokens = json_member(json, "tokens");
  if (!tokens.is_array() || tokens.empty()) {
    fail(place, "key 'tokens': got {}, expected an array of one token or more",
         tokens.is_array() ? "none" : tokens.type_name());
  }
  for (const Json& token : tokens) {
    if (!token.is_number_unsigned() ||
        token.get<std::uint64_t>() > std::numeric_limits<TokenId>::max()) {
      fail(place, "key 'tokens': got {}, expected token ids", token.dump().substr(0, 40));
    }
    out.tokens.push_back(token.get<TokenId>());
  }
  return out;
}

const TensorView& find_array(const std::map<std::string_view, const TensorView*>& tensors,
                             const KvArray& expected, std::string_view origin) {
  const auto found = tensors.find(expected.name);
  const std::string place = fmt::format("{}: tensor '{}'", origin, expected.name);
  if (found == tensors.end()) fail(place, "is missing");
  const TensorView& t = *found->second;
  if (t.dtype != expected.dtype || t.shape != expected.shape) {
    fail(place, "got {} {}, expected {} {}", dtype_name(t.dtype), shape_text(t.shape),
         dtype_name(expected.dtype), shape_text(expected.shape));
  }
  if (expected.kind == KvArray::Kind::kNumber) {
    std::int32_t value = 0;
    std::memcpy(&value, t.data.data(), sizeof value);
    if (value != expected.number) fail(place, "got {}, expected {}", value, expected.number);
  }
  return t;
}

// Of the first member that differs: "precision: got "fast", expected "exact""; empty when none is.
std::string identity_difference(const Json& got, const Json& expected, const std::string& path) {
  if (got == expected) return {};
  if (!got.is_object() || !expected.is_object()) {
    return fmt::format("{}: got {}, expected {}", path, got.dump(), expected.dump());
  }
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const auto& [key, value] : expected.items()) {
    std::string difference = identity_difference(json_member(got, key), value, prefix + key);
    if (!difference.empty()) return difference;
  }
  return fmt::format("{}: got more than expected", path.empty() ? "identity" : path);
}

}  // namespace

ParsedKvFile parse_kv_file(const SafetensorsHeader& header, std::string_view origin) {
  const auto found = header.metadata.find(kDocument);
  if (found == header.metadata.end()) {
    fail(origin, "is no prompt cache of qx: its metadata have no '{}'", kDocument);
  }
  const std::string place = fmt::format("{}: metadata '{}'", origin, kDocument);
  const Json document = parse_json(found->second, place);
  if (json_string(document, "format", place) != kFormat) {
    fail(place, "key 'format': got {}, expected \"{}\"", json_member(document, "format").dump(),
         kFormat);
  }
  ParsedKvFile out;
  out.identity = json_member(document, "identity");
  out.notes = json_member(document, "notes");
  out.shape = parse_shape(document, place);
  const Json& segments = json_member(document, "segments");
  if (!segments.is_array() || segments.empty()) {
    fail(place, "key 'segments': got {}, expected an array of one or more",
         segments.is_array() ? "none" : segments.type_name());
  }
  for (const Json& json : segments) {
    KvFileSegment segment =
        parse_segment(json, static_cast<std::int64_t>(out.segments.size()), place);
    segment.first = out.positions;
    out.positions += static_cast<std::int64_t>(segment.tokens.size());
    out.segments.push_back(std::move(segment));
  }
  if (out.positions > kMostPositions) {
    fail(place, "got {} tokens, expected at most {}", out.positions, kMostPositions);
  }
  // Before anything grows with the number of layers.
  const std::size_t arrays = layer_arrays(out.shape, 0, out.positions).size();
  if (header.tensors.size() / arrays != static_cast<std::size_t>(out.shape.layers) ||
      header.tensors.size() % arrays != 0) {
    fail(origin, "got {} tensors, expected {} for each of {} layers", header.tensors.size(), arrays,
         out.shape.layers);
  }
  std::map<std::string_view, const TensorView*> tensors;
  for (const TensorView& t : header.tensors) tensors.emplace(t.name, &t);
  for (std::int64_t layer = 0; layer < out.shape.layers; ++layer) {
    std::array<ParsedKvFile::Rows, 2>& rows = out.layers.emplace_back();
    for (const KvArray& array : layer_arrays(out.shape, layer, out.positions)) {
      const TensorView& t = find_array(tensors, array, origin);
      ParsedKvFile::Rows& of = rows[array.values ? 1 : 0];
      if (array.kind == KvArray::Kind::kElements) of.elements = t;
      if (array.kind == KvArray::Kind::kScales) of.scales = t;
      if (array.kind == KvArray::Kind::kBiases) of.biases = t;
    }
  }
  return out;
}

KvFile::KvFile(const fs::path& path) : place_(path.string()), file_(path) {
  SafetensorsHeader header;
  header.tensors = file_.tensors();
  header.metadata = file_.metadata();
  parsed_ = parse_kv_file(header, place_);
}

void KvFile::require(const Json& identity, const ModelConfig& config) const {
  const std::string difference = identity_difference(parsed_.identity, identity, "");
  if (!difference.empty()) {
    fail(place_, "holds the keys and values of another model or setting, {}", difference);
  }
  const KvShape& s = parsed_.shape;
  if (s.layers != config.num_hidden_layers || s.kv_heads != config.num_key_value_heads ||
      s.head_dim != config.head_dim) {
    fail(place_, "got {} layers of {} heads of {}, expected {} of {} of {}", s.layers, s.kv_heads,
         s.head_dim, config.num_hidden_layers, config.num_key_value_heads, config.head_dim);
  }
  for (const KvFileSegment& segment : parsed_.segments) {
    const TokenId largest = *std::max_element(segment.tokens.begin(), segment.tokens.end());
    if (largest >= config.vocab_size) {
      fail(place_, "got token {}, expected below {}", largest, config.vocab_size);
    }
  }
}

const KvFileSegment& KvFile::only_sequence() const {
  if (parsed_.segments.size() == 1) return parsed_.segments.front();
  fail(place_, "got {} segments, expected one text; it is the cache of a server (qx serve)",
       parsed_.segments.size());
}

namespace {

std::size_t padded(std::int64_t bytes) {
  return static_cast<std::size_t>((bytes + 3) / 4 + 1);
}

}  // namespace

std::shared_ptr<KvSegment> KvFile::load(Model& model, const KvFileSegment& from, std::int64_t first,
                                        std::int64_t count, std::shared_ptr<const KvSegment> parent,
                                        std::int64_t capacity) const {
  QX_CHECK(first >= 0 && count >= 0 && count <= capacity &&
           first + count <= static_cast<std::int64_t>(from.tokens.size()));
  std::shared_ptr<KvSegment> made = model.new_segment(std::move(parent), capacity);
  auto* segment = dynamic_cast<CpuSegment*>(made.get());
  QX_CHECK(segment != nullptr);
  const KvShape &own = segment->shape(), &shape = parsed_.shape;
  if (own.layers != shape.layers || own.kv_heads != shape.kv_heads ||
      own.head_dim != shape.head_dim || own.bits != shape.bits) {
    fail(place_, "got keys and values of {} bits, expected {}", static_cast<int>(shape.bits),
         static_cast<int>(own.bits));
  }
  segment->extend(count);
  const std::int64_t row = kv_element_row_bytes(shape), groups = kv_groups(shape);
  // Tensors may begin at any byte: the rows of a head go through memory that is aligned.
  std::vector<float> elements(padded(count * row));
  std::vector<std::uint16_t> scales(static_cast<std::size_t>(count * groups)), biases = scales;
  const auto take = [&](const TensorView& t, std::int64_t head, std::int64_t bytes, void* to) {
    const std::int64_t at = (head * parsed_.positions + from.first + first) * bytes;
    if (count > 0 && bytes > 0) {
      std::memcpy(to, t.data.data() + at, static_cast<std::size_t>(count * bytes));
    }
  };
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    for (const bool values : {false, true}) {
      const ParsedKvFile::Rows& rows =
          parsed_.layers[static_cast<std::size_t>(layer)][values ? 1 : 0];
      for (std::int64_t h = 0; h < shape.kv_heads; ++h) {
        take(rows.elements, h, row, elements.data());
        take(rows.scales, h, 2 * groups, scales.data());
        take(rows.biases, h, 2 * groups, biases.data());
        segment->set_rows(
            layer, h, values, 0, count,
            {reinterpret_cast<const std::byte*>(elements.data()), scales.data(), biases.data()});
      }
    }
  }
  return made;
}

// --- writing ------------------------------------------------------------------------------

namespace {

std::map<std::string, std::string> file_metadata(const KvFileFacts& facts, const KvShape& shape,
                                                 std::span<const KvFileEntry> entries,
                                                 const std::vector<KvArray>& arrays) {
  Json segments = Json::array();
  for (const KvFileEntry& e : entries) {
    segments.push_back({{"parent", e.parent}, {"tokens", Json(e.tokens)}, {"used", e.used}});
  }
  const Json document = {{"format", kFormat},          {"identity", facts.identity},
                         {"layers", shape.layers},     {"kv_heads", shape.kv_heads},
                         {"head_dim", shape.head_dim}, {"bits", static_cast<int>(shape.bits)},
                         {"notes", facts.notes},       {"segments", std::move(segments)}};
  const auto text = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::map<std::string, std::string> out = {
      {kDocument, text(document)},
      {"0.model", parse_json(text(facts.model), "model").get<std::string>()},
      {"0.tokenizer_config", "{}"},
      {"2.0", ""}};  // before the first of the scalars
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    // mlx-lm has no rotated ones: it shall not take them for its own.
    out[fmt::format("1.{}", layer)] = kv_rotated(shape.bits) ? "QxRotatedKVCache"
                                      : has_codes(shape)     ? "QuantizedKVCache"
                                                             : "KVCache";
  }
  int scalars = 0;
  for (const KvArray& array : arrays) {
    if (array.kind != KvArray::Kind::kNumber) continue;
    ++scalars;
    out[fmt::format("2.{}.0", scalars)] = array.name;
    out[fmt::format("2.{}.1", scalars)] = "scalar";
  }
  return out;
}

// Writes the arrays of a layer that hold keys, or values, head by head and entry by entry.
class RowsWriter {
 public:
  RowsWriter(SafetensorsWriter& writer, const KvShape& shape, std::int64_t positions)
      : writer_(writer), shape_(shape), positions_(positions) {}

  // index: of the first of the arrays: elements, and with codes scales and biases.
  void write(std::size_t index, std::int64_t layer, bool values,
             std::span<const KvFileEntry> entries) {
    const std::int64_t row = kv_element_row_bytes(shape_), groups = kv_groups(shape_);
    for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
      std::int64_t first = h * positions_;
      for (const KvFileEntry& e : entries) {
        const auto count = static_cast<std::int64_t>(e.tokens.size());
        elements_.resize(padded(count * row));
        scales_.resize(static_cast<std::size_t>(count * groups));
        biases_.resize(scales_.size());
        auto* const bytes = reinterpret_cast<std::byte*>(elements_.data());
        static_cast<const CpuSegment*>(e.segment)->copy_rows(
            layer, h, values, 0, count, {bytes, scales_.data(), biases_.data()});
        put(index, first * row, std::span(bytes, static_cast<std::size_t>(count * row)));
        if (groups > 0) {
          put(index + 1, first * groups * 2, std::as_bytes(std::span(scales_)));
          put(index + 2, first * groups * 2, std::as_bytes(std::span(biases_)));
        }
        first += count;
      }
    }
  }

 private:
  void put(std::size_t index, std::int64_t offset, std::span<const std::byte> bytes) {
    writer_.write(index, static_cast<std::uint64_t>(offset), bytes);
  }
  SafetensorsWriter& writer_;
  KvShape shape_;
  std::int64_t positions_;
  std::vector<float> elements_;
  std::vector<std::uint16_t> scales_, biases_;
};

KvShape check_entries(std::span<const KvFileEntry> entries, std::int64_t& positions) {
  QX_CHECK(!entries.empty());
  const auto* first = dynamic_cast<const CpuSegment*>(entries.front().segment);
  QX_CHECK(first != nullptr);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto* segment = dynamic_cast<const CpuSegment*>(entries[i].segment);
    QX_CHECK(segment != nullptr && segment->shape().bits == first->shape().bits);
    QX_CHECK(static_cast<std::int64_t>(entries[i].tokens.size()) <= segment->length());
    QX_CHECK(!entries[i].tokens.empty() && entries[i].parent < static_cast<std::int64_t>(i));
    positions += static_cast<std::int64_t>(entries[i].tokens.size());
  }
  QX_CHECK(positions <= kMostPositions);
  return first->shape();
}

}  // namespace

void require_kv_target(const fs::path& path, bool replace) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(path, ignored))) return;
  if (!replace) {
    fail(path.string(), "exists already, expected a new path; remove it or add --force");
  }
  try {
    const KvFile existing(path);
  } catch (const Error&) {
    fail(path.string(), "exists and is no prompt cache; choose another name");
  }
}

void write_kv_file(const fs::path& path, const KvFileFacts& facts,
                   std::span<const KvFileEntry> entries, bool replace) {
  require_kv_target(path, replace);
  std::int64_t positions = 0;
  const KvShape shape = check_entries(entries, positions);
  std::vector<KvArray> arrays;
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    std::vector<KvArray> own = layer_arrays(shape, layer, positions);
    arrays.insert(arrays.end(), std::make_move_iterator(own.begin()),
                  std::make_move_iterator(own.end()));
  }
  std::vector<SafetensorsWriter::Entry> tensors;
  std::uint64_t bytes = 0;
  for (const KvArray& a : arrays) {
    tensors.push_back({a.name, a.dtype, a.shape});
    bytes += static_cast<std::uint64_t>(*element_count(a.shape)) * dtype_bytes(a.dtype);
  }
  check_disk_space(path, bytes);

  StagedFile staged(path);
  SafetensorsWriter writer(staged.path(), std::move(tensors),
                           file_metadata(facts, shape, entries, arrays));
  RowsWriter rows(writer, shape, positions);
  const std::size_t per_layer = arrays.size() / static_cast<std::size_t>(shape.layers);
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(i / per_layer);
    if (arrays[i].kind == KvArray::Kind::kElements) {
      rows.write(i, layer, arrays[i].values, entries);
    } else if (arrays[i].kind == KvArray::Kind::kNumber) {
      const auto number = static_cast<std::int32_t>(arrays[i].number);
      writer.write(i, 0, std::as_bytes(std::span(&number, 1)));
    }
  }
  writer.finish();
  staged.commit();
}

}  // namespace qx
