// SPDX-License-Identifier: Apache-2.0
#include "convert/journal.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "io/staged.h"

namespace qx {
namespace {

constexpr int kJournalVersion = 2;
constexpr std::size_t kLanes = 8;
constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio

std::uint64_t mix(std::uint64_t h) {
  h = (h ^ (h >> 32)) * kMultiplier;
  return h ^ (h >> 29);
}

std::optional<std::uint64_t> unsigned_member(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

std::string tensor_line(const std::string& tensor, TensorChecksums c) {
  Json line{{"tensor", tensor}, {"source", c.source}, {"output", c.output}};
  if (c.fell_back) line["mse_instead"] = true;
  return line.dump() + "\n";
}

}  // namespace

void BlockChecksum::update(std::span<const std::byte> bytes) {
  // Independent chains, enough to keep the multiplier busy: one alone would wait for its own products.
  std::array<std::uint64_t, kLanes> lanes{};
  for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = mix(state_ + bytes.size() + l * kMultiplier);
  std::size_t i = 0;
  for (; i + 8 * kLanes <= bytes.size(); i += 8 * kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data() + i + 8 * l, 8);
      lanes[l] = (lanes[l] ^ word) * kMultiplier;
      lanes[l] ^= lanes[l] >> 32;
    }
  }
  for (std::size_t l = 0; i < bytes.size(); ++l) {
    const std::size_t n = std::min<std::size_t>(8, bytes.size() - i);
    std::uint64_t tail = 0;
    std::memcpy(&tail, bytes.data() + i, n);
    lanes[l] = mix(lanes[l] ^ tail);
    i += n;
  }
  state_ = 0;
  for (const std::uint64_t lane : lanes) state_ = mix(state_ ^ lane);
}

std::uint64_t BlockChecksum::value() const {
  return mix(state_);
}

std::optional<ConversionJournal::Tensors> ConversionJournal::read(const std::filesystem::path& file,
                                                                  const Json& identity,
                                                                  std::string& difference) {
  difference = "it has no journal";
  std::ifstream in(file);
  std::string line;
  if (!in || !std::getline(in, line)) return std::nullopt;
  const Json first = Json::parse(line, nullptr, false);
  if (!first.is_object() || first.value("qx_journal", Json()) != kJournalVersion) {
    difference = "its journal cannot be read";
    return std::nullopt;
  }
  for (const auto& [key, value] : identity.items()) {
    if (first.contains(key) && first[key] == value) continue;
    difference = fmt::format("its {} differs", key);
    return std::nullopt;
  }
  Tensors tensors;
  while (std::getline(in, line)) {
    // The last line may be torn.
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.contains("tensor") || !entry["tensor"].is_string()) continue;
    const auto source = unsigned_member(entry, "source"), output = unsigned_member(entry, "output");
    if (source && output) {
      tensors[entry["tensor"]] = {*source, *output, entry.contains("mse_instead")};
    }
  }
  return tensors;
}

ConversionJournal::ConversionJournal(const std::filesystem::path& file, const Json& identity,
                                     const Tensors& tensors)
    : file_(file) {
  Json first{{"qx_journal", kJournalVersion}};
  first.update(identity);
  std::string text = first.dump() + "\n";
  for (const auto& [tensor, checksums] : tensors) text += tensor_line(tensor, checksums);
  write_file_atomic(file_, text, true);
  out_.open(file_, std::ios::app);
  if (!out_) fail(file_.string(), "cannot write the journal");
}

void ConversionJournal::note(const std::string& tensor, TensorChecksums checksums) {
  out_ << tensor_line(tensor, checksums);
  if (!out_.flush()) fail(file_.string(), "cannot write the journal");
}

}  // namespace qx
