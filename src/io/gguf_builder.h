// Writes GGUF files for tests, right or wrong ones. Not part of the program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/test_files.h"

namespace qx::testing_files {

inline std::string gguf_text(const std::string& text) {
  return le(text.size(), 8) + text;
}

class GgufBuilder {
 public:
  std::uint64_t alignment = 32;

  // A metadata value of this type number with these raw bytes.
  GgufBuilder& key(const std::string& name, std::uint32_t type, const std::string& raw) {
    keys_ += gguf_text(name) + le(type, 4) + raw;
    ++n_keys_;
    return *this;
  }
  GgufBuilder& text(const std::string& name, const std::string& value) {
    return key(name, 8, gguf_text(value));
  }
  GgufBuilder& u32(const std::string& name, std::uint32_t value) {
    return key(name, 4, le(value, 4));
  }
  GgufBuilder& texts(const std::string& name, const std::vector<std::string>& values) {
    std::string raw = le(8, 4) + le(values.size(), 8);
    for (const std::string& v : values) raw += gguf_text(v);
    return key(name, 9, raw);
  }
  GgufBuilder& i32s(const std::string& name, const std::vector<int>& values) {
    std::string raw = le(5, 4) + le(values.size(), 8);
    for (const int v : values) raw += le(static_cast<std::uint32_t>(v), 4);
    return key(name, 9, raw);
  }
  // shape is row-major; the file holds it reversed. offset: instead of the next free one.
  GgufBuilder& tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                      std::uint32_t type, const std::string& data,
                      std::optional<std::uint64_t> offset = {}) {
    pad(data_);
    tensors_ += gguf_text(name) + le(shape.size(), 4);
    for (auto d = shape.rbegin(); d != shape.rend(); ++d)
      tensors_ += le(static_cast<std::uint64_t>(*d), 8);
    tensors_ += le(type, 4) + le(offset.value_or(data_.size()), 8);
    data_ += data;
    ++n_tensors_;
    return *this;
  }
  std::string build() const {
    std::string file = "GGUF" + le(3, 4) + le(n_tensors_, 8) + le(n_keys_, 8) + keys_ + tensors_;
    pad(file);
    return file + data_;
  }

 private:
  void pad(std::string& text) const {
    text.resize((text.size() + alignment - 1) / alignment * alignment);
  }

  std::string keys_, tensors_, data_;
  std::uint64_t n_keys_ = 0, n_tensors_ = 0;
};

}  // namespace qx::testing_files
