// SPDX-License-Identifier: Apache-2.0
#include "serve/api_keys.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/hash.h"

namespace qx {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 20;
constexpr std::size_t kShortestKey = 8;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool equal_to_the_end(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;  // of hashes: never
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

}  // namespace

ApiKeys ApiKeys::parse(std::string_view text, std::string_view place) {
  ApiKeys keys;
  std::size_t line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view key = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (key.empty() || key.front() == '#') continue;
    // The key itself is not shown: it may be a good one with a slip.
    if (key.size() < kShortestKey) {
      fail(fmt::format("{}:{}", place, line), "got a key of {} characters, expected at least {}",
           key.size(), kShortestKey);
    }
    if (!std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; })) {
      fail(fmt::format("{}:{}", place, line),
           "got a key with characters that are not printable ASCII, expected one that can stand in "
           "a header");
    }
    keys.hashes_.push_back(sha256_hex(key));
  }
  if (keys.empty()) fail(place, "got no key, expected one a line");
  return keys;
}

ApiKeys ApiKeys::load(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kLargestFile + 1, '\0');
  if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad())
    fail(file.string(), "cannot read this file, expected one key a line");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kLargestFile) {
    fail(file.string(), "got more than {} bytes, expected a file of keys", kLargestFile);
  }
  return parse(text, file.string());
}

bool ApiKeys::accepts(std::string_view authorization) const {
  if (empty()) return true;
  // The scheme's name is no secret, and has no case (RFC 9110, 11.1).
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return false;
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) return false;
  }
  const std::string hash = sha256_hex(trimmed(authorization.substr(kScheme.size())));
  bool found = false;
  for (const std::string& known : hashes_) found = equal_to_the_end(hash, known) || found;
  return found;
}

}  // namespace qx
