// Helpers of tests: scratch folders and files written by hand. Not part of the program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace qx::testing_files {

// A fresh folder, removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::path(::testing::TempDir()) / "qx_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw Error(pattern, "cannot create");
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string le(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

// A safetensors file from its header text and data.
inline std::string safetensors_text(const std::string& header, const std::string& data) {
  return le(header.size(), 8) + header + data;
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The message of the Error that body throws; fails the test when it throws none.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "expected an error";
  return "";
}

inline void expect_error(const std::function<void()>& body, const std::string& part) {
  const std::string message = error_of(body);
  EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nwanted: " << part;
}

}  // namespace qx::testing_files
