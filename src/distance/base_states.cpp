// SPDX-License-Identifier: Apache-2.0
#include "distance/base_states.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace qx {
namespace {

static_assert(std::endian::native == std::endian::little);
constexpr std::string_view kMagic = "QXSTATES";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFixedBytes = 16;  // magic, version, header size
constexpr std::size_t kMaxHeader = 1 << 20;
constexpr std::int64_t kMaxWidth = 1 << 20;

std::uint32_t read_u32(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string hash_bytes(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

// "windows.ctx: got 512, expected 1024" for the first member that differs; empty when none does.
std::string first_difference(const Json& got, const Json& expected, const std::string& path) {
  if (got == expected) return {};
  if (!got.is_object() || !expected.is_object()) {
    return fmt::format("{}: got {}, expected {}", path, got.dump(), expected.dump());
  }
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const auto& [key, value] : expected.items()) {
    const Json other = got.contains(key) ? got[key] : Json();
    const std::string difference = first_difference(other, value, prefix + key);
    if (!difference.empty()) return difference;
  }
  for (const auto& [key, value] : got.items()) {
    if (!expected.contains(key)) {
      return fmt::format("{}: got {}, expected nothing", prefix + key, value.dump());
    }
  }
  return fmt::format("{}: got another order of members", path);
}

}  // namespace

ParsedStates parse_states(std::span<const std::byte> file, std::string_view origin) {
  if (file.size() < kFixedBytes || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(origin,
         "got a file that does not begin with {}, expected states of a base model that qx "
         "divergence --base-cache wrote",
         kMagic);
  }
  const std::uint32_t version = read_u32(file, 8);
  if (version != kVersion) fail(origin, "got version {}, expected {}", version, kVersion);
  const std::size_t header_bytes = read_u32(file, 12);
  if (header_bytes > kMaxHeader || header_bytes > file.size() - kFixedBytes) {
    fail(origin, "got a header of {} bytes in a file of {}, expected one that fits", header_bytes,
         file.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kFixedBytes,
                              header_bytes);
  const Json header = parse_json(text, origin);
  if (!header.is_object() || !header.contains("identity")) {
    fail(origin, "got a header without 'identity', expected one");
  }
  ParsedStates states;
  states.identity = header["identity"];
  states.rows = json_int(header, "rows", origin);
  states.width = json_int(header, "width", origin);
  states.values = file.subspan(kFixedBytes + header_bytes);
  const auto size = static_cast<std::int64_t>(states.values.size());
  // By division, so that no product can overflow.
  if (states.width < 1 || states.width > kMaxWidth || states.rows < 0 ||
      size % (4 * states.width) != 0 || size / (4 * states.width) != states.rows) {
    fail(origin, "got {} bytes for {} rows of {} values, expected 4 bytes a value", size,
         states.rows, states.width);
  }
  if ((kFixedBytes + header_bytes) % 4 != 0) {
    fail(origin, "got values that begin at byte {}, expected a multiple of 4",
         kFixedBytes + header_bytes);
  }
  const std::string expected = json_string(header, "sha256", origin);
  if (const std::string got = hash_bytes(states.values); got != expected) {
    fail(origin,
         "got values with SHA-256 {}, expected {} as the header says; the file is damaged, "
         "remove it",
         got, expected);
  }
  return states;
}

BaseStates::BaseStates(std::vector<float> values, std::int64_t rows, std::int64_t width)
    : owned_(std::move(values)), values_(owned_), rows_(rows), width_(width) {
  QX_CHECK(static_cast<std::int64_t>(owned_.size()) == rows * width);
}

BaseStates BaseStates::load(const std::filesystem::path& file, const Json& identity) {
  BaseStates states;
  states.file_ = MappedFile(file);
  const ParsedStates parsed = parse_states(states.file_.bytes(), file.string());
  const std::string difference = first_difference(parsed.identity, identity, "");
  if (!difference.empty()) {
    fail(file.string(),
         "these states are of another run, {}; give another file, or add --force to replace it",
         difference);
  }
  states.rows_ = parsed.rows;
  states.width_ = parsed.width;
  // A mapping begins at a page, and parse_states checked the offset.
  states.values_ = {reinterpret_cast<const float*>(parsed.values.data()), parsed.values.size() / 4};
  return states;
}

Hidden BaseStates::read(std::int64_t first, std::int64_t count) const {
  QX_CHECK(first >= 0 && count >= 0 && first + count <= rows_);
  const auto rows = values_.subspan(static_cast<std::size_t>(first * width_),
                                    static_cast<std::size_t>(count * width_));
  return {count, width_, {rows.begin(), rows.end()}};
}

StatesWriter::StatesWriter(std::filesystem::path file, const Json& identity, std::int64_t rows,
                           std::int64_t width)
    : target_(std::move(file)), identity_(identity), rows_(rows), width_(width) {
  if (target_.empty()) {
    values_.reserve(static_cast<std::size_t>(rows * width));
    return;
  }
  const std::string hash(64, '0');
  offset_ = header(hash).size();
  const std::uint64_t size = offset_ + static_cast<std::uint64_t>(rows * width) * 4;
  check_disk_space(target_, size);
  staged_ = std::make_unique<StagedFile>(target_);
  out_ = std::make_unique<PosixFile>(staged_->path());
  out_->allocate(size);
}

std::string StatesWriter::header(const std::string& hash) const {
  Json json;
  json["identity"] = identity_;
  json["rows"] = rows_;
  json["width"] = width_;
  json["sha256"] = hash;
  std::string text = json.dump();
  text.append((64 - (kFixedBytes + text.size()) % 64) % 64, ' ');
  const std::uint32_t numbers[] = {kVersion, static_cast<std::uint32_t>(text.size())};
  std::string bytes(kMagic);
  bytes.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  return bytes + text;
}

void StatesWriter::append(const Hidden& hidden) {
  QX_CHECK(hidden.rows == 0 || hidden.width == width_);
  done_ += hidden.rows;
  QX_CHECK(done_ <= rows_);
  if (!out_) {
    values_.insert(values_.end(), hidden.values.begin(), hidden.values.end());
    return;
  }
  const auto bytes = std::as_bytes(std::span(hidden.values));
  hash_.update(bytes);
  out_->write_at(offset_, bytes);
  offset_ += bytes.size();
}

BaseStates StatesWriter::commit() {
  QX_CHECK(done_ == rows_);
  if (!out_) return {std::move(values_), rows_, width_};
  const std::string head = header(hash_.hex());
  out_->write_at(0, std::as_bytes(std::span(head)));
  out_->sync_and_close();
  staged_->commit();
  return BaseStates::load(target_, identity_);
}

}  // namespace qx
