// SPDX-License-Identifier: Apache-2.0
#include "convert/gguf_tokenizer.h"

#include <array>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/json.h"

namespace qx {
namespace {

// What the tokenizers library's GPT-2, Qwen2 and Llama 3 files say.
constexpr std::string_view kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// One row per name that tokenizer.ggml.pre may have.
struct PreTokenizer {
  std::string_view name;
  // Pattern of a Split pre-tokenizer; empty: ByteLevel's own pattern.
  std::string_view split = {};
  bool digits = false;  // Digits(individual) first
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // when tokenizer.ggml.add_bos_token is absent
};
constexpr std::array kPreTokenizers = {
    PreTokenizer{.name = "smollm", .digits = true},
    PreTokenizer{.name = "qwen2", .split = kQwen2Split, .nfc = true},
    PreTokenizer{
        .name = "llama-bpe", .split = kLlama3Split, .ignore_merges = true, .adds_bos = true},
    PreTokenizer{.name = "llama3", .split = kLlama3Split, .ignore_merges = true, .adds_bos = true},
    PreTokenizer{
        .name = "llama-v3", .split = kLlama3Split, .ignore_merges = true, .adds_bos = true},
    PreTokenizer{.name = "gpt-2"},
};

enum class TokenType : std::int64_t {
  kNormal = 1,
  kUnknown,
  kControl,
  kUserDefined,
  kUnused,
  kByte
};

const PreTokenizer& find_pre_tokenizer(const GgufKeys& keys) {
  const std::string name = keys.find_text("tokenizer.ggml.pre").value_or("default");
  std::string known;
  for (const PreTokenizer& row : kPreTokenizers) {
    if (row.name == name) return row;
    known += fmt::format("{}{}", known.empty() ? "" : " ", row.name);
  }
  fail(keys.origin(), "key 'tokenizer.ggml.pre': got '{}', expected one of {}", name, known);
}

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json pre_tokenizer_json(const PreTokenizer& pre) {
  Json parts = Json::array();
  if (pre.digits) parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!pre.split.empty()) {
    parts.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pre.split}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  const bool own_pattern = pre.split.empty();
  parts.push_back(byte_level(false, own_pattern, own_pattern));
  if (parts.size() == 1) return parts[0];
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::unordered_map<std::string_view, std::int64_t> id_of;  // views of tokens
};

std::vector<TokenType> read_types(const GgufKeys& keys, std::size_t count) {
  const char* const key = "tokenizer.ggml.token_type";
  const GgufArray* array = keys.find_array(key);
  if (array == nullptr) return std::vector<TokenType>(count, TokenType::kNormal);
  if (array->size() != count) {
    fail(keys.origin(), "key '{}': got {} types for {} tokens", key, array->size(), count);
  }
  std::vector<TokenType> types;
  for (std::size_t i = 0; i < count; ++i) {
    const auto* value = std::get_if<std::int64_t>(&(*array)[i].value);
    if (value == nullptr || *value < 1 || *value > 6) {
      fail(keys.origin(), "key '{}', item {}: expected a 32-bit integer from 1 to 6", key, i);
    }
    types.push_back(static_cast<TokenType>(*value));
  }
  return types;
}

const std::string& text_item(const GgufKeys& keys, const std::string& key, const GgufArray& array,
                             std::size_t i) {
  const auto* text = std::get_if<std::string>(&array[i].value);
  if (text == nullptr || !is_valid_utf8(*text)) {
    fail(keys.origin(), "key '{}', item {}: expected UTF-8 text", key, i);
  }
  return *text;
}

// Unused tokens (padding of the embedding) stay out, as in the original tokenizers.
Vocabulary read_vocabulary(const GgufKeys& keys) {
  const std::string key = "tokenizer.ggml.tokens";
  const GgufArray* array = keys.find_array(key);
  if (array == nullptr || array->empty()) fail(keys.origin(), "key '{}' is missing or empty", key);
  Vocabulary out;
  out.types = read_types(keys, array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    out.tokens.push_back(text_item(keys, key, *array, i));
  }
  for (std::size_t i = 0; i < out.tokens.size(); ++i) {
    const bool added =
        out.types[i] == TokenType::kControl || out.types[i] == TokenType::kUserDefined;
    if (added && out.tokens[i].empty()) fail(keys.origin(), "key '{}', item {}: is empty", key, i);
    if (out.types[i] == TokenType::kUnused) continue;
    const auto [other, fresh] = out.id_of.emplace(out.tokens[i], static_cast<std::int64_t>(i));
    if (!fresh) {
      fail(keys.origin(), "key '{}': items {} and {} are the same token '{}'", key, other->second,
           i, out.tokens[i]);
    }
  }
  return out;
}

Json merges_json(const GgufKeys& keys, const Vocabulary& vocabulary) {
  const std::string key = "tokenizer.ggml.merges";
  const GgufArray* array = keys.find_array(key);
  if (array == nullptr) fail(keys.origin(), "key '{}' is missing", key);
  Json merges = Json::array();
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string& merge = text_item(keys, key, *array, i);
    const std::size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      fail(keys.origin(), "key '{}', item {}: got '{}', expected two tokens and one space", key, i,
           merge);
    }
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    for (const std::string& part : {left, right, left + right}) {
      if (!vocabulary.id_of.contains(part)) {
        fail(keys.origin(), "key '{}', item {}: '{}' is not a token", key, i, part);
      }
    }
    merges.push_back(merge);
  }
  return merges;
}

Json added_tokens_json(const Vocabulary& vocabulary) {
  Json out = Json::array();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const bool special = vocabulary.types[i] == TokenType::kControl;
    if (!special && vocabulary.types[i] != TokenType::kUserDefined) continue;
    out.push_back({{"id", i},
                   {"content", vocabulary.tokens[i]},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", special}});
  }
  return out;
}

std::optional<std::int64_t> token_id(const GgufKeys& keys, const Vocabulary& vocabulary,
                                     const std::string& key) {
  const auto id = keys.find_integer(key);
  if (!id) return std::nullopt;
  if (*id >= static_cast<std::int64_t>(vocabulary.tokens.size())) {
    fail(keys.origin(), "key '{}': got {}, expected less than the {} tokens", key, *id,
         vocabulary.tokens.size());
  }
  return id;
}

struct SpecialIds {
  std::optional<std::int64_t> bos, eos, eot, unknown, pad;
};

// [BOS] A [EOS], and the same for a pair.
Json template_processing(const Vocabulary& vocabulary, std::optional<std::int64_t> bos,
                         std::optional<std::int64_t> eos) {
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  const auto token = [&](std::int64_t id, int type) -> Json {
    const std::string& text = vocabulary.tokens[static_cast<std::size_t>(id)];
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto sequence = [&](Json& out, const char* name, int type) {
    if (bos) out.push_back(token(*bos, type));
    out.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (eos) out.push_back(token(*eos, type));
  };
  sequence(single, "A", 0);
  sequence(pair, "A", 0);
  sequence(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

Json post_processor_json(const GgufKeys& keys, const PreTokenizer& pre,
                         const Vocabulary& vocabulary, const SpecialIds& ids) {
  const bool add_bos = keys.find_bool("tokenizer.ggml.add_bos_token").value_or(pre.adds_bos);
  const bool add_eos = keys.find_bool("tokenizer.ggml.add_eos_token").value_or(false);
  if (add_bos && !ids.bos) fail(keys.origin(), "key 'tokenizer.ggml.bos_token_id' is missing");
  if (add_eos && !ids.eos) fail(keys.origin(), "key 'tokenizer.ggml.eos_token_id' is missing");
  const Json plain = pre.digits ? Json() : byte_level(false, false, pre.split.empty());
  if (!add_bos && !add_eos) return plain;
  const Json tokens = template_processing(vocabulary, add_bos ? ids.bos : std::nullopt,
                                          add_eos ? ids.eos : std::nullopt);
  if (plain.is_null()) return tokens;
  return {{"type", "Sequence"}, {"processors", {plain, tokens}}};
}

Json tokenizer_json(const GgufKeys& keys, const PreTokenizer& pre, const Vocabulary& vocabulary,
                    const SpecialIds& ids) {
  Json vocab = Json::object();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (vocabulary.types[i] != TokenType::kUnused) append_member(vocab, vocabulary.tokens[i], i);
  }
  Json out = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added_tokens_json(vocabulary)},
      {"normalizer", pre.nfc ? Json{{"type", "NFC"}} : Json()},
      {"pre_tokenizer", pre_tokenizer_json(pre)},
      {"post_processor", post_processor_json(keys, pre, vocabulary, ids)},
      {"decoder", byte_level(pre.split.empty(), pre.split.empty(), pre.split.empty())},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", pre.ignore_merges}}},
  };
  out["model"]["vocab"] = std::move(vocab);
  out["model"]["merges"] = merges_json(keys, vocabulary);
  return out;
}

Json tokenizer_config_json(const Vocabulary& vocabulary, const SpecialIds& ids,
                           std::int64_t model_max_length) {
  const auto text = [&](std::optional<std::int64_t> id) {
    return id ? Json(vocabulary.tokens[static_cast<std::size_t>(*id)]) : Json();
  };
  return {{"add_prefix_space", false},
          {"bos_token", text(ids.bos)},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", text(ids.eos)},
          {"model_max_length", model_max_length},
          {"pad_token", text(ids.pad)},
          {"tokenizer_class", "PreTrainedTokenizerFast"},
          {"unk_token", text(ids.unknown)}};
}

}  // namespace

GgufTokenizerFiles make_tokenizer_files(const GgufKeys& keys, std::int64_t model_max_length) {
  const auto model = keys.find_text("tokenizer.ggml.model");
  if (!model) fail(keys.origin(), "key 'tokenizer.ggml.model' is missing");
  if (*model != "gpt2") {
    fail(keys.origin(), "key 'tokenizer.ggml.model': got '{}', expected 'gpt2' (byte-level BPE)",
         *model);
  }
  const PreTokenizer& pre = find_pre_tokenizer(keys);
  const Vocabulary vocabulary = read_vocabulary(keys);
  SpecialIds ids;
  ids.bos = token_id(keys, vocabulary, "tokenizer.ggml.bos_token_id");
  ids.eos = token_id(keys, vocabulary, "tokenizer.ggml.eos_token_id");
  ids.eot = token_id(keys, vocabulary, "tokenizer.ggml.eot_token_id");
  ids.unknown = token_id(keys, vocabulary, "tokenizer.ggml.unknown_token_id");
  ids.pad = token_id(keys, vocabulary, "tokenizer.ggml.padding_token_id");

  GgufTokenizerFiles out;
  out.tokenizer_json = dump_json(tokenizer_json(keys, pre, vocabulary, ids), 2, false, false);
  out.tokenizer_config_json =
      dump_json(tokenizer_config_json(vocabulary, ids, model_max_length), 2, false, false);
  out.chat_template = keys.find_text("tokenizer.chat_template");
  out.bos_id = ids.bos;
  out.eos_id = ids.eos;
  out.eot_id = ids.eot;
  out.pad_id = ids.pad;
  out.n_tokens = static_cast<std::int64_t>(vocabulary.tokens.size());
  return out;
}

}  // namespace qx
