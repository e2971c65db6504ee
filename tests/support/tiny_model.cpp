// SPDX-License-Identifier: Apache-2.0
#include "support/tiny_model.h"

#include <fstream>
#include <string_view>
#include <vector>

#include "arch/catalog.h"
#include "base/error.h"
#include "base/random.h"

namespace qx {
namespace {

constexpr std::string_view kMerges[][2] = {{"t", "h"}, {"th", "e"}, {"Ġ", "the"}, {"i", "n"},
                                           {"Ġ", "a"}, {"e", "r"},  {"o", "n"},   {"Ġ", "w"},
                                           {"h", "e"}, {"l", "l"},  {"he", "ll"}, {"hell", "o"}};
constexpr std::string_view kSpecials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
constexpr int kEosId = 256 + static_cast<int>(std::size(kMerges)) + 2;

constexpr std::string_view kTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// UTF-8 of the character that stands for a byte in byte-level vocabularies.
std::string byte_character(int byte) {
  int code = byte;
  const auto plain = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b != 173); };
  if (!plain(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += plain(b) ? 0 : 1;
  }
  if (code < 128) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.flush()) fail(path.string(), "cannot write, expected a writable folder");
}

std::vector<std::byte> random_values(const CatalogTensor& tensor, DType dtype, Random& random) {
  const auto count = static_cast<std::size_t>(*element_count(tensor.shape));
  std::vector<float> values(count);
  for (float& v : values) {
    const double g = random.gaussian();
    v = static_cast<float>(tensor.role == Role::kNorm   ? 1.0 + 0.1 * g
                           : tensor.role == Role::kBias ? 0.1 * g
                                                        : 0.08 * g);
  }
  std::vector<std::byte> bytes(count * dtype_bytes(dtype));
  store_floats(dtype, values, bytes.data());
  return bytes;
}

std::optional<AffineSpec> spec_of(const TinyModel& options, const CatalogTensor& tensor) {
  if (!tensor.quantizable) return {};
  const auto own = options.modules.find(tensor.module);
  const std::optional<AffineSpec> spec =
      own != options.modules.end() ? std::optional(own->second) : options.quantized;
  return spec && spec->bits > 0 ? spec : std::nullopt;
}

void quantize(const CatalogTensor& tensor, DType dtype, AffineSpec spec,
              const std::vector<std::byte>& values, std::vector<TestTensor>& out) {
  const MatrixShape shape{tensor.shape.at(0), tensor.shape.at(1)};
  const std::int64_t groups = groups_per_row(shape.cols, spec.group);
  const std::int64_t words = shape.cols * spec.bits / 32;
  const auto scale_bytes = static_cast<std::size_t>(shape.rows * groups) * dtype_bytes(dtype);
  TestTensor codes{tensor.name,
                   DType::kU32,
                   {shape.rows, words},
                   std::vector<std::byte>(static_cast<std::size_t>(shape.rows * words * 4))};
  TestTensor scales{
      tensor.module + ".scales", dtype, {shape.rows, groups}, std::vector<std::byte>(scale_bytes)};
  TestTensor biases{
      tensor.module + ".biases", dtype, {shape.rows, groups}, std::vector<std::byte>(scale_bytes)};
  const auto bad = encode_rows(dtype, values.data(), shape, spec, Rounding::kCpu,
                               {codes.bytes.data(), scales.bytes.data(), biases.bytes.data()});
  QX_CHECK(!bad.has_value());
  out.push_back(std::move(codes));
  out.push_back(std::move(scales));
  out.push_back(std::move(biases));
}

void write_weights(const std::filesystem::path& path, const TinyModel& options,
                   const ModelConfig& config) {
  Random random(options.seed);
  std::vector<TestTensor> contents;
  for (const CatalogTensor& tensor : tensor_catalog(config)) {
    std::vector<std::byte> values = random_values(tensor, options.dtype, random);
    if (const auto spec = spec_of(options, tensor)) {
      quantize(tensor, options.dtype, *spec, values, contents);
    } else {
      contents.push_back({tensor.name, options.dtype, tensor.shape, std::move(values)});
    }
  }
  write_test_tensors(path, contents);
}

Json quantization_json(const TinyModel& options) {
  const AffineSpec global = options.quantized.value_or(AffineSpec{});
  Json q = {{"group_size", global.group}, {"bits", global.bits}, {"mode", "affine"}};
  for (const auto& [module, spec] : options.modules) {
    q[module] =
        spec.bits == 0 ? Json(false) : Json{{"group_size", spec.group}, {"bits", spec.bits}};
  }
  return q;
}

}  // namespace

void write_test_tensors(const std::filesystem::path& path, const std::vector<TestTensor>& tensors) {
  Json header = Json::object();
  std::size_t offset = 0;
  for (const TestTensor& t : tensors) {
    header[t.name] = {{"dtype", std::string(dtype_name(t.dtype))},
                      {"shape", t.shape},
                      {"data_offsets", {offset, offset + t.bytes.size()}}};
    offset += t.bytes.size();
  }
  const std::string text = header.dump();
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  file += text;
  for (const TestTensor& t : tensors) {
    file.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
  }
  write_text(path, file);
}

Json tiny_config(const TinyModel& options) {
  Json config = {
      {"architectures",
       {options.family == "qwen3"   ? "Qwen3ForCausalLM"
        : options.family == "qwen2" ? "Qwen2ForCausalLM"
                                    : "LlamaForCausalLM"}},
      {"model_type", options.family},
      {"hidden_size", options.hidden},
      {"intermediate_size", options.intermediate},
      {"num_hidden_layers", options.layers},
      {"num_attention_heads", 4},
      {"num_key_value_heads", 2},
      {"vocab_size", options.vocab},
      {"max_position_embeddings", options.context},
      {"rms_norm_eps", 1e-6},
      {"rope_theta", 10000.0},
      {"hidden_act", "silu"},
      {"tie_word_embeddings", options.tied},
      {"bos_token_id", kEosId - 2},
      {"eos_token_id", kEosId},
      {"torch_dtype", std::string(float_dtype_config_name(options.dtype))},
  };
  // Not hidden_size / heads, so that a mix-up of the two shows.
  if (options.family != "qwen2") config["head_dim"] = 64;
  if (options.family == "llama") {
    config["attention_bias"] = true;
    config["mlp_bias"] = true;
  }
  if ((options.quantized || !options.modules.empty()) && options.list_in_config) {
    config["quantization"] = quantization_json(options);
    config["quantization_config"] = config["quantization"];
  }
  config.update(options.config_changes);
  return config;
}

std::string tiny_tokenizer_json() {
  Json vocab = Json::object();
  Json merges = Json::array();
  int id = 0;
  for (int byte = 0; byte < 256; ++byte) vocab[byte_character(byte)] = id++;
  for (const auto& pair : kMerges) {
    vocab[std::string(pair[0]) + std::string(pair[1])] = id++;
    merges.push_back(std::string(pair[0]) + " " + std::string(pair[1]));
  }
  Json added = Json::array();
  for (const std::string_view text : kSpecials) {
    added.push_back({{"id", id++},
                     {"content", std::string(text)},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", ""},
                            {"end_of_word_suffix", ""},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", vocab},
                            {"merges", merges}}}};
  return tokenizer.dump(1);
}

void write_tiny_model(const std::filesystem::path& directory, const TinyModel& options) {
  std::filesystem::create_directories(directory);
  const Json config = tiny_config(options);
  write_text(directory / "config.json", config.dump(2));
  write_weights(directory / "model.safetensors", options,
                parse_model_config(config, (directory / "config.json").string()));
  if (options.tokenizer) {
    write_text(directory / "tokenizer.json", tiny_tokenizer_json());
    const Json tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                   {"bos_token", "<|endoftext|>"},
                                   {"eos_token", "<|im_end|>"},
                                   {"model_max_length", options.context}};
    write_text(directory / "tokenizer_config.json", tokenizer_config.dump(2));
  }
  if (options.chat_template) write_text(directory / "chat_template.jinja", kTemplate);
}

std::string tiny_text(int words) {
  std::string out;
  for (int i = 0; i < words; ++i) {
    out += "word" + std::to_string(i * i % 97) + (i % 9 ? " " : "\n\n");
  }
  return out;
}

}  // namespace qx
