// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/posix_file.h"

namespace qx {
namespace {

constexpr std::uint64_t kLengthBytes = 8;

std::uint64_t load_le64(const std::byte* p) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<std::uint64_t>(p[i]);
  return value;
}

std::string tensor_place(std::string_view origin, std::string_view name) {
  return fmt::format("{}: tensor '{}'", origin, name);
}

const Json& entry_member(const Json& entry, const char* key, const std::string& place) {
  const auto found = entry.find(key);
  if (found == entry.end()) fail(place, "has no '{}'", key);
  return *found;
}

Shape parse_shape(const Json& value, const std::string& place) {
  if (!value.is_array()) fail(place, "shape: got {}, expected an array", value.type_name());
  Shape shape;
  for (const Json& d : value) {
    if (!d.is_number_integer() ||
        (d.is_number_unsigned() ? d.get<std::uint64_t>() > INT64_MAX : d.get<std::int64_t>() < 0)) {
      fail(place, "shape: got {}, expected integers from 0 to 2^63-1", value.dump().substr(0, 100));
    }
    shape.push_back(d.get<std::int64_t>());
  }
  return shape;
}

std::pair<std::uint64_t, std::uint64_t> parse_offsets(const Json& value, const std::string& place) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
      !value[1].is_number_unsigned()) {
    fail(place, "data_offsets: got {}, expected [begin, end] with 0 <= begin <= end",
         value.dump().substr(0, 100));
  }
  return {value[0].get<std::uint64_t>(), value[1].get<std::uint64_t>()};
}

TensorView parse_entry(const std::string& name, const Json& entry, std::span<const std::byte> data,
                       std::string_view origin) {
  const std::string place = tensor_place(origin, name);
  if (!entry.is_object()) fail(place, "got {}, expected an object", entry.type_name());
  const Json& dtype_json = entry_member(entry, "dtype", place);
  const auto dtype =
      dtype_json.is_string() ? dtype_from_name(dtype_json.get<std::string>()) : std::nullopt;
  if (!dtype) {
    fail(place,
         "dtype: got {}, expected one of BOOL U8 I8 F8_E4M3 F8_E8M0 U16 I16 F16 BF16 U32 I32 F32 "
         "U64 I64 C64",
         dtype_json.dump().substr(0, 100));
  }
  const Shape shape = parse_shape(entry_member(entry, "shape", place), place);
  const auto [begin, end] = parse_offsets(entry_member(entry, "data_offsets", place), place);
  const auto count = element_count(shape);
  if (!count || *count > INT64_MAX / static_cast<std::int64_t>(dtype_bytes(*dtype))) {
    fail(place, "shape {} is too large", shape_text(shape));
  }
  const std::uint64_t expected = static_cast<std::uint64_t>(*count) * dtype_bytes(*dtype);
  if (begin > end) fail(place, "data_offsets [{}, {}] are reversed", begin, end);
  if (end > data.size()) {
    fail(place, "data end at byte {} of the data part, expected at most {} (is the file whole?)",
         end, data.size());
  }
  if (end - begin != expected) {
    fail(place, "got {} bytes of data, expected {} for {} {}", end - begin, expected,
         dtype_name(*dtype), shape_text(shape));
  }
  return {name, *dtype, shape, data.subspan(begin, expected)};
}

void check_overlaps(const std::vector<TensorView>& sorted, std::string_view origin) {
  const TensorView* last = nullptr;
  for (const TensorView& t : sorted) {
    if (t.data.empty()) continue;
    if (last != nullptr && t.data.data() < last->data.data() + last->data.size()) {
      fail(tensor_place(origin, t.name), "its data overlap those of '{}'", last->name);
    }
    last = &t;
  }
}

std::map<std::string, std::string> parse_metadata(const Json& value, std::string_view origin) {
  std::map<std::string, std::string> out;
  if (value.is_null()) return out;  // MLX writes null when there is none
  if (!value.is_object()) {
    fail(origin, "__metadata__: got {}, expected an object", value.type_name());
  }
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      fail(origin, "__metadata__: '{}' is {}, expected a string", key, text.type_name());
    }
    out.emplace(key, text.get<std::string>());
  }
  return out;
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file_bytes,
                                    std::string_view origin) {
  if (file_bytes.size() < kLengthBytes) {
    fail(origin, "got {} bytes, expected a safetensors file of at least 8", file_bytes.size());
  }
  const std::uint64_t length = load_le64(file_bytes.data());
  if (length > kMaxSafetensorsHeaderBytes) {
    fail(origin, "got a header of {} bytes, expected at most {} (is it a safetensors file?)",
         length, kMaxSafetensorsHeaderBytes);
  }
  if (length > file_bytes.size() - kLengthBytes) {
    fail(origin, "got a header of {} bytes in a file of {}, expected the file to hold it", length,
         file_bytes.size());
  }
  const auto text = file_bytes.subspan(kLengthBytes, length);
  const Json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()},
                                 fmt::format("{}: header", origin));
  if (!header.is_object()) {
    fail(origin, "header: got {}, expected an object", header.type_name());
  }
  SafetensorsHeader out;
  const auto data = file_bytes.subspan(kLengthBytes + length);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      out.metadata = parse_metadata(entry, origin);
    } else {
      out.tensors.push_back(parse_entry(name, entry, data, origin));
    }
  }
  std::stable_sort(out.tensors.begin(), out.tensors.end(),
                   [](const auto& a, const auto& b) { return a.data.data() < b.data.data(); });
  check_overlaps(out.tensors, origin);
  return out;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(parse_safetensors(file_.bytes(), path.string())) {}

struct SafetensorsWriter::State {
  struct Range {
    std::uint64_t begin = 0, size = 0;  // within the file
  };

  State(const std::filesystem::path& path_in) : path(path_in), file(path_in) {}

  std::filesystem::path path;
  PosixFile file;
  std::vector<Range> ranges;
  std::uint64_t total = 0;
  std::atomic<std::uint64_t> written{0};
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : state_(std::make_unique<State>(path)) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":" + Json(metadata).dump();
  }
  std::unordered_set<std::string_view> names;
  for (const Entry& entry : entries) {
    QX_CHECK(names.insert(entry.name).second);
    const auto count = element_count(entry.shape);
    QX_CHECK(count.has_value());
    const std::uint64_t size = static_cast<std::uint64_t>(*count) * dtype_bytes(entry.dtype);
    header +=
        fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                    header.size() > 1 ? "," : "", Json(entry.name).dump(), dtype_name(entry.dtype),
                    Json(entry.shape).dump(), state_->total, state_->total + size);
    state_->ranges.push_back({state_->total, size});
    state_->total += size;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::byte length[kLengthBytes];
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xFF);
  }
  const std::uint64_t data_start = kLengthBytes + header.size();
  for (State::Range& range : state_->ranges) range.begin += data_start;
  state_->file.allocate(data_start + state_->total);
  state_->file.write_at(0, length);
  state_->file.write_at(kLengthBytes, std::as_bytes(std::span(header)));
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::size_t index, std::uint64_t offset_bytes,
                              std::span<const std::byte> bytes) {
  QX_CHECK(index < state_->ranges.size());
  const State::Range& range = state_->ranges[index];
  QX_CHECK(offset_bytes <= range.size && bytes.size() <= range.size - offset_bytes);
  state_->file.write_at(range.begin + offset_bytes, bytes);
  state_->written += bytes.size();
}

void SafetensorsWriter::finish() {
  QX_CHECK(state_->written == state_->total);
  state_->file.sync_and_close();
}

}  // namespace qx
