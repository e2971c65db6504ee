// A GGUF file seen as a Hugging Face model: config, tensors under their Hugging Face names and in their
// order of rows, tokenizer files; and the writer of the whole directory (docs/import.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "io/gguf.h"
#include "io/json.h"

namespace qx {

class GgufModel {
 public:
  struct Tensor {
    std::string name;  // "model.layers.0.self_attn.q_proj.weight"
    Shape shape;       // [out, in], or [n] for norms and biases
    const GgufTensor* source = nullptr;
    // GGUF stores the rows of a llama's q and k with the two halves of every head interleaved; then
    // this is the number of heads, else 0.
    std::int64_t interleaved_heads = 0;

    // Sizes of the matrix that read_rows() reads. A norm is one row; an interleaved bias has one
    // column.
    std::int64_t rows() const;
    std::int64_t cols() const;
  };

  // Fails: Error for anything but a whole dense llama, qwen2 or qwen3 model: another architecture,
  // experts, unknown, missing or misshapen tensors, settings that Hugging Face's class cannot express.
  explicit GgufModel(const std::filesystem::path& path);

  const std::vector<Tensor>& tensors() const { return tensors_; }  // in mlx-lm's module order
  std::int64_t parameters() const;
  // config.json for weights stored as dtype; readable by mlx-lm and transformers.
  Json config(DType dtype) const;
  // Name and content of the other files: tokenizer.json, tokenizer_config.json,
  // generation_config.json and, when the GGUF has a template, chat_template.jinja.
  const std::vector<std::pair<std::string, std::string>>& side_files() const { return side_files_; }

  // Rows [begin, begin + n) in Hugging Face's order, in float32; out holds n * cols() values.
  // Threads: pure.
  void read_rows(const Tensor& tensor, std::int64_t begin, std::int64_t n,
                 std::span<float> out) const;
  // A hint that a tensor's pages are not needed again soon.
  void release(const Tensor& tensor) const;

 private:
  GgufFile file_;
  Json config_;
  std::vector<Tensor> tensors_;
  std::vector<std::pair<std::string, std::string>> side_files_;
};

struct ImportOptions {
  DType dtype = DType::kBF16;  // of every tensor: F32, F16 or BF16, rounded to nearest even
  bool force = false;          // replace an existing target
  bool quiet = false;          // no progress
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
  // Seed of another order of channels (permute_channels.h); nothing: the file's own.
  std::optional<std::uint64_t> permute_channels = std::nullopt;
};

struct ImportReport {
  std::string model_type;
  std::int64_t parameters = 0;
  std::uint64_t tensor_bytes = 0;
  std::vector<std::string> files;  // written, sorted
};

// Writes `target`: whole, or absent when anything fails. Memory: a few row blocks per thread beyond
// the map. The same bytes for any number of threads.
// Fails: Error; a weight that is NaN or infinite, or that dtype cannot hold, is named with its index.
ImportReport import_gguf(const std::filesystem::path& source, const std::filesystem::path& target,
                         const ImportOptions& options, ThreadPool& pool);

}  // namespace qx
