// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibration_state.h"

#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "io/posix_file.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr int kStateVersion = 2;
constexpr std::size_t kHashDigits = 64;

Json state_json(const CalibrationState& state) {
  return {{"qx_calibration_state", kStateVersion},
          {"identity", state.identity},
          {"passes", state.passes},
          {"pass", state.pass},
          {"windows", state.windows},
          {"checksums", state.checksums},
          {"weighed", state.weighed},
          {"weights", state.weights.size()},
          {"samples", state.samples},
          {"attempt", state.attempt}};
}

CalibrationState state_of(const Json& json) {
  CalibrationState out;
  out.identity = json.at("identity");
  out.passes = json.at("passes").get<std::vector<std::int64_t>>();
  out.attempt = json.at("attempt").get<std::int64_t>();
  out.pass = json.at("pass").get<std::size_t>();
  out.windows = json.at("windows").get<std::size_t>();
  out.checksums = json.at("checksums").get<std::vector<std::string>>();
  out.samples = json.at("samples").get<std::vector<std::vector<TokenId>>>();
  out.weighed = json.at("weighed").get<std::size_t>();
  return out;
}

// Takes the weights off the front of what follows the first line. Whether they are all there.
bool take_weights(const Json& json, std::string_view& content, std::vector<float>& weights) {
  const auto count = json.at("weights").get<std::size_t>();
  if (count > content.size() / sizeof(float)) return false;
  weights.resize(count);
  if (count > 0) std::memcpy(weights.data(), content.data(), count * sizeof(float));
  content.remove_prefix(count * sizeof(float));
  return true;
}

}  // namespace

void write_calibration_state(const fs::path& file, const CalibrationState& state,
                             const SecondMoments* sums) {
  const fs::path making = file.string() + ".new";
  PosixFile out(making);
  Sha256 hash;
  std::uint64_t offset = 0;
  const auto write = [&](std::string_view bytes) {
    out.write_at(offset, std::as_bytes(std::span(bytes.data(), bytes.size())));
    offset += bytes.size();
    hash.update(bytes);
  };
  write(state_json(state).dump() + "\n");
  const auto write_values = [&](const auto& values) {
    write({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0])});
  };
  write_values(state.weights);
  if (sums != nullptr) sums->for_each_sum(write_values);
  const std::string hex = hash.hex();
  out.write_at(offset, std::as_bytes(std::span(hex.data(), hex.size())));
  out.sync_and_close();
  fs::rename(making, file);
}

std::optional<StateFile> StateFile::read(const fs::path& file, const Json& identity,
                                         std::string& difference) {
  difference = "nothing was kept";
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  MappedFile map(file);
  const std::string_view text = map.text();
  const std::size_t line = text.find('\n');
  difference = "what was kept is damaged";
  if (line == std::string_view::npos || text.size() < line + 1 + kHashDigits) return std::nullopt;
  const std::string_view content = text.substr(0, text.size() - kHashDigits);
  if (sha256_hex(content) != text.substr(content.size())) return std::nullopt;
  const Json json = Json::parse(text.substr(0, line), nullptr, false);
  if (!json.is_object() || json.value("qx_calibration_state", 0) != kStateVersion) {
    return std::nullopt;
  }
  CalibrationState state;
  std::string_view sums = content.substr(line + 1);
  try {
    state = state_of(json);
    if (!take_weights(json, sums, state.weights)) return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  for (const auto& [key, value] : identity.items()) {
    if (json_member(state.identity, key) == value) continue;
    difference = fmt::format("its {} differs", key);
    return std::nullopt;
  }
  return StateFile(std::move(map), std::move(state), sums);
}

void StateFile::load_sums(SecondMoments& sums) const {
  std::size_t offset = 0;
  bool whole = true;
  sums.for_each_sum([&](std::span<double> sum) {
    whole = whole && sum.size_bytes() <= sums_.size() - offset;
    if (!whole) return;
    std::memcpy(sum.data(), sums_.data() + offset, sum.size_bytes());
    offset += sum.size_bytes();
  });
  if (!whole || offset != sums_.size()) {
    fail(file_.path().string(), "got {} bytes of sums, expected those of this model's inputs",
         sums_.size());
  }
}

}  // namespace qx
