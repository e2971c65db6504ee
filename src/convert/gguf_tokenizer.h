// From a GGUF file's tokenizer metadata to the files of a Hugging Face tokenizer. Does not tokenize.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/gguf.h"

namespace qx {

struct GgufTokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  std::optional<std::string> chat_template;
  std::optional<std::int64_t> bos_id, eos_id, eot_id, pad_id;
  std::int64_t n_tokens = 0;
};

// Byte-level BPE only (tokenizer.ggml.model "gpt2"). tokenizer.ggml.pre decides normalizer and
// pre-tokenizer; the known ones are the rows of kPreTokenizers in gguf_tokenizer.cpp.
// Fails: Error for another model or an unknown `pre` (with those that are known), tokens that are not
// UTF-8 or occur twice, merges of unknown tokens, ids out of range.
GgufTokenizerFiles make_tokenizer_files(const GgufKeys& keys, std::int64_t model_max_length);

}  // namespace qx
