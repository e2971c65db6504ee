// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <unordered_map>

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/bpe.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_decoder.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_normalizer.h"
#include "text/tokenizer_split.h"
#include "text/unicode.h"

namespace qx {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kIdLimit = std::int64_t{1} << 24;
constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;
constexpr std::size_t kDirectWordBytes = 64;  // longer tokens always go through their merges

// Null and absent are the same in tokenizer.json.
const Json* member(const Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string place_of(std::string_view origin, std::string_view where) {
  return fmt::format("{}: {}", origin, where);
}

const Json& array_member(const Json& object, std::string_view key, std::string_view place) {
  const Json* list = member(object, key);
  if (list == nullptr || !list->is_array()) fail(place, "key '{}': expected an array", key);
  return *list;
}

// Tokens around a single sequence.
struct Template {
  std::vector<TokenId> prefix, suffix;
};

std::vector<TokenId> template_ids(const Json& config, const std::string& name,
                                  std::size_t vocab_size, const std::string& place) {
  const Json* tokens = member(config, "special_tokens");
  const Json* token = tokens != nullptr && tokens->is_object() ? member(*tokens, name) : nullptr;
  if (token == nullptr || !token->is_object()) {
    fail(place, "special_tokens: got no '{}', expected one because the template has it", name);
  }
  std::vector<TokenId> ids;
  for (const Json& id : array_member(*token, "ids", place)) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocab_size) {
      fail(place, "special_tokens['{}'].ids: got {}, expected ids below {}", name, id.dump(),
           vocab_size);
    }
    ids.push_back(static_cast<TokenId>(id.get<std::uint64_t>()));
  }
  return ids;
}

void parse_template(const Json& config, std::size_t vocab_size, const std::string& place,
                    Template& out) {
  std::vector<TokenId> before, after;
  int sequences = 0;
  for (const Json& piece : array_member(config, "single", place)) {
    const Json* special = piece.is_object() ? member(piece, "SpecialToken") : nullptr;
    const Json* sequence = piece.is_object() ? member(piece, "Sequence") : nullptr;
    if (special != nullptr && special->is_object()) {
      const std::vector<TokenId> ids =
          template_ids(config, json_string(*special, "id", place), vocab_size, place);
      std::vector<TokenId>& side = sequences == 0 ? before : after;
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (sequence != nullptr && sequence->is_object() &&
               json_string(*sequence, "id", place) == "A") {
      ++sequences;
    } else {
      fail(place, "single: got {}, expected special tokens and the sequence A", piece.dump());
    }
  }
  if (sequences != 1) fail(place, "single: got the sequence {} times, expected once", sequences);
  out.prefix.insert(out.prefix.begin(), before.begin(), before.end());
  out.suffix.insert(out.suffix.end(), after.begin(), after.end());
}

void parse_post_processor(const Json& config, std::size_t vocab_size, std::string_view origin,
                          int depth, Template& out) {
  const std::string place = place_of(origin, "post_processor");
  if (!config.is_object()) fail(place, "got {}, expected an object", config.type_name());
  const std::string type = json_string(config, "type", place);
  if (type == "TemplateProcessing") {
    parse_template(config, vocab_size, place, out);
  } else if (type == "Sequence" && depth < 8) {
    for (const Json& item : array_member(config, "processors", place)) {
      parse_post_processor(item, vocab_size, origin, depth + 1, out);
    }
  } else if (type != "ByteLevel") {  // which only moves offsets
    fail(
        place,
        "got '{}' here, which is not supported; expected TemplateProcessing, ByteLevel or Sequence",
        type);
  }
}

MappedFile map_text_file(const fs::path& path) {
  MappedFile file(path);
  if (file.text().size() > kMaxFileBytes) {
    fail(path.string(), "got {} bytes, expected at most {}", file.text().size(), kMaxFileBytes);
  }
  return file;
}

// "bos_token" of tokenizer_config.json: a string, or an object with "content".
std::string special_token_text(const Json& config, std::string_view key, std::string_view origin) {
  const Json* token = member(config, key);
  if (token == nullptr) return {};
  if (token->is_object()) return json_string(*token, "content", origin);
  return json_string(config, key, origin);
}

}  // namespace

struct Tokenizer::Impl {
  std::string origin;
  TextTable texts, bytes;             // by id: as in the vocabulary; what it stands for
  std::optional<TextIndex> by_text;   // every token
  std::optional<TextIndex> by_bytes;  // the tokens that their own bytes may be encoded to
  enum class Directness : std::uint8_t { kUnknown, kDirect, kMerged };
  mutable std::vector<std::atomic<Directness>> directness;  // by id, of those in by_bytes
  std::vector<bool> in_model, in_alphabet, special;
  std::size_t next_added_id = 0;  // while reading: for a token that the vocabulary lacks
  std::deque<AddedToken> added;   // stable addresses
  std::unordered_map<TokenId, const AddedToken*> added_by_id;
  std::unordered_map<TokenId, std::string>
      normalized_bytes;  // of added tokens that normalize to these
  std::unordered_map<TokenId, std::string> normalized_texts;  // the same as they are, of pieces
  AddedTokenMatcher raw_tokens, normalized_tokens;
  Normalizer normalizer;
  std::optional<PreTokenizer> pre_tokenizer;
  TokenDecoder decoder;
  bool pieces = false;  // tokens are text rather than bytes in GPT-2's alphabet
  std::array<TokenId, 256>
      fallback_ids{};  // of <0x00> and so on, where pieces fall back to bytes; else -1
  std::optional<Bpe::Unknown> unknown;
  bool ignore_merges = false;
  std::optional<Bpe> bpe;
  Template template_ids;
  std::string bos, eos;
  std::optional<TokenId> bos_id, eos_id;

  void build(std::string_view json);
  void read_vocabulary(const TokenizerFile& file);
  void read_bytes();
  void read_added_token(const Json& token, std::size_t index, std::size_t id_count);
  void read_model(const TokenizerFile& file);
  void index_words();
  void add_matchers();
  void read_config(const Json& config, std::string_view config_origin);
  void read_ids(const Json& config, std::string_view config_origin);
  std::string_view bytes_of(TokenId id) const;
  std::optional<TokenId> find(std::string_view text) const;
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;
  void encode_pieces(std::string_view word, std::vector<TokenId>& ids) const;
  TokenId model_id(std::string_view text) const;  // -1: not in the model's vocabulary
  std::string piece(TokenId id, bool first) const;
  void encode_segment(std::string_view text, bool at_start, PreTokenizer::Run& run,
                      std::vector<TokenId>& ids) const;
};

void Tokenizer::Impl::build(std::string_view json) {
  const TokenizerFile file = parse_tokenizer_file(json, origin);
  read_vocabulary(file);
  pre_tokenizer.emplace(json_member(file.root, "pre_tokenizer"), origin);
  pieces = !pre_tokenizer->byte_level();
  const Json* decoding = member(file.root, "decoder");
  if (decoding == nullptr) fail(origin, "decoder: got none, expected one");
  decoder = TokenDecoder(*decoding, origin);
  if (decoder.byte_level() == pieces) {
    fail(origin, "decoder: got {} ByteLevel beside a pre_tokenizer {} it, expected both or neither",
         pieces ? "one with" : "none of type", pieces ? "without" : "with");
  }
  read_bytes();
  if (const Json* config = member(file.root, "normalizer"))
    normalizer = Normalizer(*config, origin);
  read_model(file);
  if (const Json* post = member(file.root, "post_processor")) {
    parse_post_processor(*post, texts.size(), origin, 0, template_ids);
  }
  add_matchers();
}

void Tokenizer::Impl::read_vocabulary(const TokenizerFile& file) {
  const Json* model = member(file.root, "model");
  if (model == nullptr || !model->is_object()) fail(origin, "model: expected an object");
  const std::string type = json_string_or(*model, "type", "BPE", place_of(origin, "model"));
  if (type != "BPE")
    fail(origin, "model.type: got '{}', which is not supported; expected 'BPE'", type);
  if (file.vocab.empty()) fail(origin, "model.vocab: got no tokens, expected an object of ids");

  static const Json kNone = Json::array();
  const Json* tokens = member(file.root, "added_tokens");
  if (tokens == nullptr) tokens = &kNone;
  if (!tokens->is_array()) fail(origin, "added_tokens: expected an array");
  const std::size_t count = file.vocab.size() + tokens->size();
  std::int64_t largest = 0;
  for (const auto& [text, id] : file.vocab) largest = std::max(largest, id);
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const std::string place = place_of(origin, fmt::format("added_tokens[{}]", i));
    if (!(*tokens)[i].is_object()) fail(place, "expected an object");
    const std::int64_t id = json_int((*tokens)[i], "id", place);
    if (id < 0 || id >= kIdLimit) fail(place, "got id {}, expected 0 to {}", id, kIdLimit - 1);
    largest = std::max(largest, id);
  }
  // Holes occur, but a few tokens must not ask for tables of millions.
  if (largest >= kIdLimit || static_cast<std::size_t>(largest) > 2 * count + 65536) {
    fail(origin, "got the id {} with {} tokens, expected ids without large gaps", largest, count);
  }

  const auto ids = static_cast<std::size_t>(largest) + 1;
  texts = TextTable(ids);
  by_text.emplace(texts, count);
  in_model.assign(ids, false);
  special.assign(ids, false);
  for (const auto& [text, id64] : file.vocab) {
    const auto id = static_cast<std::size_t>(id64);
    if (texts.has(id)) {
      fail(origin, "model.vocab: got the id {} for '{}' and for '{}', expected one token", id,
           texts[id], text);
    }
    texts.set(id, text);
    if (!by_text->insert(static_cast<TokenId>(id))) {
      fail(origin, "model.vocab: got '{}' twice, expected one id", text);
    }
    in_model[id] = true;
  }
  next_added_id = file.vocab.size();
  for (std::size_t i = 0; i < tokens->size(); ++i) read_added_token((*tokens)[i], i, ids);
}

// What each token stands for.
void Tokenizer::Impl::read_bytes() {
  const std::size_t ids = texts.size();
  bytes = TextTable(ids);
  in_alphabet.assign(ids, false);
  std::string raw;
  for (std::size_t id = 0; id < ids; ++id) {
    if (!texts.has(id)) continue;
    if (pieces) {
      const auto byte = decoder.byte_of(texts[id]);
      bytes.set(id,
                byte ? std::string(1, static_cast<char>(*byte)) : decoder.piece(texts[id], false));
      continue;
    }
    in_alphabet[id] = bytes_of_alphabet(texts[id], raw);
    bytes.set(id, in_alphabet[id] ? std::string_view(raw) : texts[id]);
  }
}

void Tokenizer::Impl::read_added_token(const Json& json, std::size_t index, std::size_t id_count) {
  const std::string place = place_of(origin, fmt::format("added_tokens[{}]", index));
  AddedToken token;
  token.id = static_cast<TokenId>(json_int(json, "id", place));
  token.content = json_string(json, "content", place);
  token.special = json_bool_or(json, "special", false, place);
  token.single_word = json_bool_or(json, "single_word", false, place);
  token.lstrip = json_bool_or(json, "lstrip", false, place);
  token.rstrip = json_bool_or(json, "rstrip", false, place);
  token.normalized = json_bool_or(json, "normalized", !token.special, place);
  if (token.content.empty()) return;  // as the reference does
  if (token.content.size() > kMaxAddedTokenBytes) {
    fail(place, "got {} bytes of content, expected at most {}", token.content.size(),
         kMaxAddedTokenBytes);
  }
  const auto id = static_cast<std::size_t>(token.id);
  QX_CHECK(id < id_count);
  const TokenId known = by_text->find(token.content);
  if (known >= 0 && known != token.id) {
    fail(place, "got the id {} for '{}', which has the id {} already", token.id, token.content,
         known);
  }
  // The reference numbers new tokens on its own; a file that disagrees would mean other ids there.
  if (known < 0 && id != next_added_id) {
    fail(place, "got the id {} for '{}', expected {}: new tokens follow the vocabulary one by one",
         token.id, token.content, next_added_id);
  }
  if (known < 0) {
    if (texts.has(id)) {
      fail(place, "got the id {} for '{}', expected another: it belongs to '{}'", token.id,
           token.content, texts[id]);
    }
    ++next_added_id;
    texts.set(id, token.content);
    by_text->insert(token.id);
  }
  if (const auto same = added_by_id.find(token.id); same != added_by_id.end()) {
    if (*same->second == token) return;
    fail(place, "got '{}' again with other properties, expected it once", token.content);
  }
  special[id] = token.special;
  added.push_back(std::move(token));
  added_by_id[added.back().id] = &added.back();
}

void Tokenizer::Impl::read_model(const TokenizerFile& file) {
  const Json& model = file.root.at("model");
  const std::string place = place_of(origin, "model");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string affix = json_string_or(model, key, "", place);
    if (!affix.empty())
      fail(place, "{}: got '{}', which is not supported; expected none", key, affix);
  }
  const bool fallback = json_bool_or(model, "byte_fallback", false, place);
  if (fallback && !pieces) {
    fail(place, "byte_fallback: got true, which is not supported with ByteLevel; expected false");
  }
  for (std::size_t b = 0; b < 256; ++b) {
    fallback_ids[b] = fallback ? model_id(fmt::format("<0x{:02X}>", b)) : -1;
  }
  if (json_number_or(model, "dropout", 0.0, place) != 0.0) {
    fail(place, "dropout: got a number other than 0, which is not supported");
  }
  if (const std::string text = json_string_or(model, "unk_token", "", place); !text.empty()) {
    const TokenId id = model_id(text);
    if (id < 0) fail(place, "unk_token: got '{}', expected a token of the vocabulary", text);
    unknown = Bpe::Unknown{id, json_bool_or(model, "fuse_unk", false, place)};
  }
  std::array<TokenId, 256> byte_ids;
  for (std::size_t b = 0; b < 256; ++b) {
    std::string text;
    append_utf8(text, byte_alphabet()[b]);
    byte_ids[b] = model_id(text);
  }
  std::vector<Bpe::Merge> merges;
  merges.reserve(file.merges.size());
  std::string joined;
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    const auto& [left, right] = file.merges[i];
    const auto known = [&](std::string_view text) {
      const TokenId id = model_id(text);
      if (id < 0) fail(place, "merges[{}]: got '{}', expected a token of the vocabulary", i, text);
      return id;
    };
    joined.assign(left).append(right);
    merges.push_back({known(left), known(right), known(joined)});
  }
  bpe.emplace(byte_ids, merges, unknown);
  ignore_merges = json_bool_or(model, "ignore_merges", false, place);
  if (!pieces) index_words();
}

TokenId Tokenizer::Impl::model_id(std::string_view text) const {
  const TokenId id = by_text->find(text);
  return id >= 0 && in_model[static_cast<std::size_t>(id)] ? id : -1;
}

// Most words of a text are tokens themselves, and are found in one step. Whether a token's own
// merges end in it (with ignore_merges this does not matter) is worked out when it is met first:
// doing so for a whole vocabulary took a third of the loading time.
void Tokenizer::Impl::index_words() {
  by_bytes.emplace(bytes, texts.size());
  directness = std::vector<std::atomic<Directness>>(texts.size());
  for (std::size_t id = 0; id < texts.size(); ++id) {
    if (!in_model[id] || bytes[id].empty() || !in_alphabet[id]) continue;
    if (!ignore_merges && bytes[id].size() > kDirectWordBytes) continue;
    if (ignore_merges) directness[id].store(Directness::kDirect, std::memory_order_relaxed);
    by_bytes->insert(static_cast<TokenId>(id));
  }
}

// A word of text pieces: its characters, for those that the vocabulary lacks their bytes or else
// the unknown token, then merges (merge_word of the package's models/bpe/model.rs).
void Tokenizer::Impl::encode_pieces(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges) {
    if (const TokenId whole = model_id(word); whole >= 0) return ids.push_back(whole);
  }
  const std::size_t begin = ids.size();
  bool pending = false;  // an unknown token, which is put in before the next known character
  for (std::size_t at = 0; at < word.size();) {
    const auto length = static_cast<std::size_t>(read_utf8(word, at).length_bytes);
    const std::string_view character = word.substr(at, length);
    at += length;
    if (const TokenId id = model_id(character); id >= 0) {
      if (pending) ids.push_back(unknown->id);
      pending = false;
      ids.push_back(id);
      continue;
    }
    const auto fallback = [&](char c) { return fallback_ids[static_cast<unsigned char>(c)]; };
    if (std::all_of(character.begin(), character.end(), [&](char c) { return fallback(c) >= 0; })) {
      for (const char c : character) ids.push_back(fallback(c));
    } else if (unknown) {
      if (pending && !unknown->fuse) ids.push_back(unknown->id);
      pending = true;
    }
  }
  if (pending) ids.push_back(unknown->id);
  bpe->merge(ids, begin);
}

void Tokenizer::Impl::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (pieces) return encode_pieces(word, ids);
  const TokenId whole = by_bytes->find(word);
  if (whole < 0) return bpe->encode(word, ids);
  // Two threads that meet a token at once find the same.
  std::atomic<Directness>& known = directness[static_cast<std::size_t>(whole)];
  if (known.load(std::memory_order_relaxed) == Directness::kDirect) return ids.push_back(whole);
  const std::size_t before = ids.size();
  bpe->encode(word, ids);
  const bool direct = ids.size() == before + 1 && ids.back() == whole;
  known.store(direct ? Directness::kDirect : Directness::kMerged, std::memory_order_relaxed);
}

void Tokenizer::Impl::add_matchers() {
  for (const AddedToken& token : added) {
    const std::string pattern = token.normalized ? normalizer.apply(token.content) : token.content;
    const std::string place = place_of(origin, fmt::format("added token '{}'", token.content));
    if (pattern.empty() || pattern.size() > kMaxAddedTokenBytes) {
      fail(place, "got {} bytes when normalized, expected 1 to {}", pattern.size(),
           kMaxAddedTokenBytes);
    }
    if (!(token.normalized ? normalized_tokens : raw_tokens).add(pattern, token)) {
      fail(place, "got another added token that normalizes to the same text, expected one");
    }
    if (pattern != token.content) {
      normalized_bytes[token.id] =
          pieces ? decoder.piece(pattern, false) : bytes_of_alphabet(pattern).value_or(pattern);
      if (pieces) normalized_texts[token.id] = pattern;
    }
  }
}

void Tokenizer::Impl::read_config(const Json& config, std::string_view config_origin) {
  if (!config.is_object()) fail(config_origin, "got {}, expected an object", config.type_name());
  bos = special_token_text(config, "bos_token", config_origin);
  eos = special_token_text(config, "eos_token", config_origin);
  if (!bos.empty()) bos_id = find(bos);
  if (!eos.empty()) eos_id = find(eos);
}

// config.json's ids, for a directory without tokenizer_config.json.
void Tokenizer::Impl::read_ids(const Json& config, std::string_view config_origin) {
  if (!config.is_object()) fail(config_origin, "got {}, expected an object", config.type_name());
  const auto read = [&](std::string_view key, std::optional<TokenId>& id, std::string& text) {
    const Json* value = member(config, key);
    if (value != nullptr && value->is_array() && !value->empty()) value = &value->front();
    if (value == nullptr || !value->is_number_unsigned()) return;
    const std::uint64_t v = value->get<std::uint64_t>();
    if (v >= texts.size() || !texts.has(v)) return;
    id = static_cast<TokenId>(v);
    text = texts[v];
  };
  read("bos_token_id", bos_id, bos);
  read("eos_token_id", eos_id, eos);
}

std::string_view Tokenizer::Impl::bytes_of(TokenId id) const {
  if (id < 0) return {};
  if (const auto at = normalized_bytes.find(id); at != normalized_bytes.end()) return at->second;
  return bytes[static_cast<std::size_t>(id)];
}

std::string Tokenizer::Impl::piece(TokenId id, bool first) const {
  if (id < 0 || !first || !decoder.first_differs()) return std::string(bytes_of(id));
  if (const auto at = normalized_texts.find(id); at != normalized_texts.end()) {
    return decoder.piece(at->second, true);
  }
  return decoder.piece(texts[static_cast<std::size_t>(id)], true);
}

std::optional<TokenId> Tokenizer::Impl::find(std::string_view text) const {
  const TokenId id = by_text->find(text);
  return id < 0 ? std::nullopt : std::optional<TokenId>(id);
}

// A piece between tokens that are matched before normalization.
void Tokenizer::Impl::encode_segment(std::string_view text, bool at_start, PreTokenizer::Run& run,
                                     std::vector<TokenId>& ids) const {
  std::string normalized;
  if (!normalizer.empty()) {
    normalized = normalizer.apply(text);
    text = normalized;
  }
  const auto encode_words = [&](std::string_view part, bool first) {
    const std::vector<TextRange>& words = run.split(part, first);
    for (const TextRange& w : words) {
      const std::string_view word = run.text().substr(w.begin, w.end - w.begin);
      encode_word(word, ids);
    }
  };
  if (normalized_tokens.empty()) return encode_words(text, at_start);
  std::vector<AddedTokenMatcher::Part> parts;
  normalized_tokens.split(text, parts);
  for (const AddedTokenMatcher::Part& p : parts) {
    if (p.token != nullptr) {
      ids.push_back(p.token->id);
    } else {
      encode_words(text.substr(p.begin, p.end - p.begin), at_start && p.begin == 0);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const fs::path& model_directory) {
  const fs::path file = model_directory / "tokenizer.json";
  if (!fs::exists(file)) {
    fail(file.string(), "no such file, expected a model directory with a tokenizer.json");
  }
  auto impl = std::make_unique<Impl>();
  impl->origin = file.string();
  impl->build(map_text_file(file).text());
  const fs::path tokenizer_config = model_directory / "tokenizer_config.json";
  const fs::path config = model_directory / "config.json";
  if (fs::exists(tokenizer_config)) {
    impl->read_config(read_json_file(tokenizer_config), tokenizer_config.string());
  } else if (fs::exists(config)) {
    impl->read_ids(read_json_file(config), config.string());
  }
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json,
                               std::string_view tokenizer_config_json, std::string_view origin) {
  auto impl = std::make_unique<Impl>();
  impl->origin = origin;
  impl->build(tokenizer_json);
  if (!tokenizer_config_json.empty()) {
    const std::string place = place_of(origin, "tokenizer_config.json");
    impl->read_config(parse_json(tokenizer_config_json, place), place);
  }
  return Tokenizer(std::move(impl));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  if (text.size() > kMaxTextBytes) {
    fail("text", "got {} bytes to tokenize, expected at most {}", text.size(), kMaxTextBytes);
  }
  std::string repaired;
  if (!is_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (special == SpecialTokens::kAdd) ids = impl_->template_ids.prefix;
  std::vector<AddedTokenMatcher::Part> parts;
  impl_->raw_tokens.split(text, parts);
  PreTokenizer::Run run(*impl_->pre_tokenizer, text.size());
  for (const AddedTokenMatcher::Part& p : parts) {
    if (p.token != nullptr) {
      ids.push_back(p.token->id);
    } else {
      impl_->encode_segment(text.substr(p.begin, p.end - p.begin), p.begin == 0, run, ids);
    }
  }
  if (special == SpecialTokens::kAdd) {
    ids.insert(ids.end(), impl_->template_ids.suffix.begin(), impl_->template_ids.suffix.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, DecodeSpecial special) const {
  if (impl_->pieces) {
    StreamDetokenizer stream(*this, special);
    std::string text;
    for (const TokenId id : ids) text += stream.push(id);
    return text + stream.finish();
  }
  std::string bytes;
  for (const TokenId id : ids) {
    if (special == DecodeSpecial::kSkip && is_special(id)) continue;
    bytes += impl_->bytes_of(id);
  }
  return to_valid_utf8(bytes);
}

std::size_t Tokenizer::vocab_size() const {
  return impl_->texts.size();
}
std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  return impl_->find(token);
}

std::string Tokenizer::token_text(TokenId id) const {
  return id < 0 ? std::string() : std::string(impl_->texts[static_cast<std::size_t>(id)]);
}

std::string Tokenizer::token_bytes(TokenId id) const {
  return std::string(impl_->bytes_of(id));
}

bool Tokenizer::is_special(TokenId id) const {
  const auto i = static_cast<std::size_t>(id);
  return id >= 0 && i < impl_->special.size() && impl_->special[i];
}

std::optional<TokenId> Tokenizer::bos_id() const {
  return impl_->bos_id;
}
std::optional<TokenId> Tokenizer::eos_id() const {
  return impl_->eos_id;
}
std::string Tokenizer::bos_token() const {
  return impl_->bos;
}
std::string Tokenizer::eos_token() const {
  return impl_->eos;
}

bool Tokenizer::adds_bos() const {
  const std::vector<TokenId>& prefix = impl_->template_ids.prefix;
  return !prefix.empty() && prefix.front() == impl_->bos_id;
}

StreamDetokenizer::StreamDetokenizer(const Tokenizer& tokenizer, DecodeSpecial special)
    : tokenizer_(&tokenizer), special_(special), pieces_(tokenizer.impl_->decoder) {}

std::string StreamDetokenizer::push(TokenId id) {
  if (special_ == DecodeSpecial::kSkip && tokenizer_->is_special(id)) return {};
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  std::string text;
  if (!impl.pieces) {
    pending_ += impl.bytes_of(id);
    drain_utf8(pending_, text);
    return text;
  }
  if (id < 0 || !impl.texts.has(static_cast<std::size_t>(id))) return {};
  const std::string_view token = impl.texts[static_cast<std::size_t>(id)];
  if (const auto byte = impl.decoder.byte_of(token)) {
    pieces_.push_byte(*byte);
  } else {
    pieces_.push_piece(impl.piece(id, first_), text);
  }
  first_ = false;
  return text;
}

std::string StreamDetokenizer::finish() {
  std::string text = to_valid_utf8(pending_);
  pending_.clear();
  pieces_.finish(text);
  return text;
}

}  // namespace qx
