// SPDX-License-Identifier: Apache-2.0
#include "convert/journal.h"

#include <cstring>

#include "base/error.h"

namespace qx {
namespace {

constexpr int kJournalVersion = 1;
constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;  // 2^64 / golden ratio

std::uint64_t mix(std::uint64_t h) {
  h = (h ^ (h >> 32)) * kMultiplier;
  return h ^ (h >> 29);
}

bool is_tensor_line(const Json& line) {
  return line.is_object() && line.contains("tensor") && line["tensor"].is_string() &&
         line.contains("checksum") && line["checksum"].is_number_unsigned();
}

}  // namespace

void BlockChecksum::update(std::span<const std::byte> bytes) {
  std::uint64_t h = mix(state_ + bytes.size());
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    h = (h ^ word) * kMultiplier;
    h ^= h >> 32;
  }
  std::uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  state_ = mix(h ^ tail);
}

std::uint64_t BlockChecksum::value() const {
  return mix(state_);
}

std::optional<std::map<std::string, std::uint64_t>> ConversionJournal::read(
    const std::filesystem::path& file, const Json& identity, std::string& difference) {
  difference.clear();
  std::ifstream in(file);
  std::string line;
  if (!in || !std::getline(in, line)) return std::nullopt;
  const Json first = Json::parse(line, nullptr, false);
  if (!first.is_object() || first.value("qx_journal", 0) != kJournalVersion) {
    difference = "its journal cannot be read";
    return std::nullopt;
  }
  for (const auto& [key, value] : identity.items()) {
    if (first.contains(key) && first[key] == value) continue;
    difference = fmt::format("its {} differs", key);
    return std::nullopt;
  }
  std::map<std::string, std::uint64_t> tensors;
  while (std::getline(in, line)) {
    // The last line may be torn.
    const Json entry = Json::parse(line, nullptr, false);
    if (is_tensor_line(entry)) tensors[entry["tensor"]] = entry["checksum"];
  }
  return tensors;
}

void ConversionJournal::start(const Json& identity) {
  QX_CHECK(!started());
  out_.open(file_, std::ios::trunc);
  Json first{{"qx_journal", kJournalVersion}};
  first.update(identity);
  out_ << first.dump() << '\n';
  for (const auto& [tensor, checksum] : waiting_) append(tensor, checksum);
  waiting_.clear();
  if (!out_.flush()) fail(file_.string(), "cannot write the journal");
}

void ConversionJournal::append(const std::string& tensor, std::uint64_t checksum) {
  out_ << Json{{"tensor", tensor}, {"checksum", checksum}}.dump() << '\n';
}

void ConversionJournal::note(const std::string& tensor, std::uint64_t checksum) {
  if (!started()) {
    waiting_[tensor] = checksum;
    return;
  }
  append(tensor, checksum);
  if (!out_.flush()) fail(file_.string(), "cannot write the journal");
}

}  // namespace qx
