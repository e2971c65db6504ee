// Writes tiny random models for tests: a whole directory with config.json, model.safetensors, and,
// when asked, a byte-level tokenizer and a chat template. For tests only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "quant/affine.h"
#include "tensor/dtype.h"

namespace qx {

struct TinyModel {
  std::string family = "qwen3";  // "qwen3", "qwen2" or "llama"; llama with every optional bias
  bool tied = false;
  DType dtype = DType::kBF16;
  std::uint64_t seed = 1;
  std::int64_t layers = 3, vocab = 384, hidden = 128, intermediate = 256, context = 512;
  std::optional<AffineSpec> quantized = {};        // every matrix and the embedding
  std::map<std::string, AffineSpec> modules = {};  // by module, instead of the above; bits 0: float
  Json config_changes = Json::object();            // merged into config.json last
  bool list_in_config = true;                      // whether config.json has "quantization"
  bool tokenizer = true, chat_template = true;
};

// Creates the directory. Ids 0 to 255 of the tokenizer are the bytes, then a few merges, then
// <|endoftext|>, <|im_start|> and <|im_end|> (end of sequence).
void write_tiny_model(const std::filesystem::path& directory, const TinyModel& options);

// A tensor to be written.
struct TestTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;
};
// A safetensors file without the checks and the sync to disk that the program's own writer does:
// tests write broken ones too, and many. Not padded, so that data start unaligned, as in mlx-lm's.
void write_test_tensors(const std::filesystem::path& path, const std::vector<TestTensor>& tensors);

// The weights' config.json as written.
Json tiny_config(const TinyModel& options);
// tokenizer.json of the tiny tokenizer.
std::string tiny_tokenizer_json();

// "word0 word1 word4 ..": so many words of a hundred, in paragraphs of nine.
std::string tiny_text(int words);

}  // namespace qx
