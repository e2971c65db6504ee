// Tests of whole tokenizers on a small vocabulary built here; equality with Hugging Face's package on real
// ones is tests/parity/test_tokenizer.py's.
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/random.h"
#include "io/json.h"
#include "text/bpe.h"
#include "text/tokenizer_split.h"
#include "text/unicode.h"

namespace qx {
namespace {

using Ids = std::vector<TokenId>;
using Strings = std::vector<std::string>;

Json split_step(const std::string& kind, const std::string& pattern, const std::string& behavior,
                bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{kind, pattern}}},
          {"behavior", behavior},
          {"invert", invert}};
}

Json byte_level(bool prefix_space = false, bool regex = false) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix_space},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

Json metaspace(const std::string& scheme, bool split = false) {
  return {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
}

Json replace_step(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Json strip_step(int start) {
  return {{"type", "Strip"}, {"content", " "}, {"start", start}, {"stop", 0}};
}

Json sequence(const char* key, std::initializer_list<Json> items) {
  Json list = Json::array();
  for (const Json& item : items) list.push_back(item);
  return {{"type", "Sequence"}, {key, list}};
}

Json token(int id, const std::string& content, std::initializer_list<const char*> flags) {
  Json t = {{"id", id}, {"content", content}};
  for (const char* flag : {"special", "single_word", "lstrip", "rstrip", "normalized"})
    t[flag] = false;
  for (const char* flag : flags) t[flag] = true;
  return t;
}

// The id of byte b is b; 256 th, 257 the, 258 "Ġthe", 259 in, 260 ab.
Json small() {
  Json vocab = Json::object();
  for (std::size_t b = 0; b < 256; ++b) {
    std::string text;
    append_utf8(text, byte_alphabet()[b]);
    vocab[text] = b;
  }
  const char* merged[] = {"th", "the", "\xC4\xA0the", "in", "ab"};
  for (int i = 0; i < 5; ++i) vocab[merged[i]] = 256 + i;
  return {{"version", "1.0"},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false, true)},
          {"post_processor", nullptr},
          {"decoder", byte_level()},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", {"t h", "th e", "\xC4\xA0 the", "i n"}},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""}}}};
}

Tokenizer make(const Json& json, std::string_view config = "") {
  return Tokenizer::from_json(json.dump(), config, "tokenizer.json");
}

Ids encode(const Json& json, std::string_view text, SpecialTokens special = SpecialTokens::kNone) {
  return make(json).encode(text, special);
}

TEST(Tokenizer, EncodesAndDecodes) {
  const Tokenizer t = make(small());
  EXPECT_EQ(t.encode("the thin", SpecialTokens::kNone), (Ids{257, 32, 256, 259}));
  EXPECT_EQ(t.encode("in the", SpecialTokens::kNone), (Ids{259, 258}));
  EXPECT_EQ(t.encode("", SpecialTokens::kAdd), Ids{});
  EXPECT_EQ(t.encode("\xC3\xA9", SpecialTokens::kNone), (Ids{0xC3, 0xA9}));
  EXPECT_EQ(t.encode(std::string_view("a\0b", 3), SpecialTokens::kNone), (Ids{'a', 0, 'b'}));
  EXPECT_EQ(t.decode(Ids{257, 258, 0xC3, 0xA9}, DecodeSpecial::kKeep), "the the\xC3\xA9");
  EXPECT_EQ(t.vocab_size(), 261u);
  EXPECT_EQ(t.id_of("the"), 257);
  EXPECT_EQ(t.id_of("nothing"), std::nullopt);
  EXPECT_EQ(t.token_text(258), "\xC4\xA0the");
  EXPECT_EQ(t.token_bytes(258), " the");
  EXPECT_EQ(t.token_text(-1), "");
  EXPECT_EQ(t.token_bytes(99999), "");
  EXPECT_FALSE(t.is_special(-5));
}

TEST(Tokenizer, BothSpellingsOfMerges) {
  Json pairs = small();
  pairs["model"]["merges"] =
      Json::parse("[[\"t\",\"h\"],[\"th\",\"e\"],[\"\u0120\",\"the\"],[\"i\",\"n\"]]");
  EXPECT_EQ(encode(pairs, "in the"), (Ids{259, 258}));
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  Json json = small();
  EXPECT_EQ(encode(json, "ab"), (Ids{'a', 'b'}));  // no merge makes it
  // What was found out about a token when it was met first holds the second time.
  const Tokenizer t = make(json);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(t.encode("ab", SpecialTokens::kNone), (Ids{'a', 'b'}));
    EXPECT_EQ(t.encode("the", SpecialTokens::kNone), Ids{257});
  }
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(encode(json, "ab"), Ids{260});
  EXPECT_EQ(encode(json, "abthe"), (Ids{'a', 'b', 257}));
}

TEST(Tokenizer, InvalidUtf8IsReplacedFirst) {
  EXPECT_EQ(encode(small(), "a\xE2\x82z"), (Ids{'a', 0xEF, 0xBF, 0xBD, 'z'}));
}

TEST(Tokenizer, DecodingIsLossyAsAWhole) {
  const Tokenizer t = make(small());
  EXPECT_EQ(t.decode(Ids{0xE2, 0x82, 0xAC}, DecodeSpecial::kKeep), "\xE2\x82\xAC");
  EXPECT_EQ(t.decode(Ids{0xE2, 0x82}, DecodeSpecial::kKeep), "\xEF\xBF\xBD");
  EXPECT_EQ(t.decode(Ids{0xE2, 999, -3, 0x82, 'a'}, DecodeSpecial::kKeep),
            "\xEF\xBF\xBD"
            "a");
}

TEST(Tokenizer, StreamedTextEqualsDecodedText) {
  Json json = small();
  json["added_tokens"] =
      Json::array({token(261, "<s>", {"special"}), token(262, "\xE2\x82\xAC x", {})});
  const Tokenizer t = make(json);
  Random random(5);
  for (int round = 0; round < 2000; ++round) {
    Ids ids;
    for (std::uint64_t n = random.below(24); n > 0; --n) {
      ids.push_back(static_cast<TokenId>(random.below(3) == 0 ? random.below(270)
                                                              : 0x80 + random.below(0x80)));
    }
    for (const DecodeSpecial special : {DecodeSpecial::kKeep, DecodeSpecial::kSkip}) {
      StreamDetokenizer stream(t, special);
      std::string text;
      for (const TokenId id : ids) {
        const std::string piece = stream.push(id);
        EXPECT_TRUE(is_utf8(piece));
        text += piece;
      }
      text += stream.finish();
      ASSERT_EQ(text, t.decode(ids, special));
      EXPECT_EQ(stream.finish(), "");
    }
  }
}

TEST(Tokenizer, StreamHoldsBackOnlyWhatMayGrow) {
  const Tokenizer t = make(small());
  StreamDetokenizer stream(t, DecodeSpecial::kKeep);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push(0x82), "");
  EXPECT_EQ(stream.push(0xAC), "\xE2\x82\xAC");
  EXPECT_EQ(stream.push(0xFF), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  Json json = small();
  json["added_tokens"] = Json::array(
      {token(261, "<a>", {"special"}), token(262, "<a>b", {"special"}), token(263, "th", {})});
  json["added_tokens"][2]["id"] = 256;
  EXPECT_EQ(encode(json, "<a>b<a>c<a"), (Ids{262, 261, 'c', '<', 'a'}));
  EXPECT_EQ(encode(json, "the"), (Ids{256, 'e'}));  // matched before the merges see the word
  const Tokenizer t = make(json);
  EXPECT_TRUE(t.is_special(261));
  EXPECT_FALSE(t.is_special(256));
  EXPECT_EQ(t.decode(Ids{261, 'x', 256}, DecodeSpecial::kSkip), "xth");
  EXPECT_EQ(t.decode(Ids{261, 'x', 256}, DecodeSpecial::kKeep), "<a>xth");
}

TEST(AddedTokens, StripsAndSingleWords) {
  Json json = small();
  json["added_tokens"] = Json::array({token(261, "<l>", {"lstrip"}), token(262, "<r>", {"rstrip"}),
                                      token(263, "cat", {"single_word"})});
  EXPECT_EQ(encode(json, "x \n<l> y"), (Ids{'x', 261, 32, 'y'}));
  EXPECT_EQ(encode(json, "x <r> \n y"), (Ids{'x', 32, 262, 'y'}));
  EXPECT_EQ(encode(json, "<r> \xE3\x80\x80<l>"), (Ids{262, 261}));
  EXPECT_EQ(encode(json, "cat"), Ids{263});
  EXPECT_EQ(encode(json, "a-cat."), (Ids{'a', '-', 263, '.'}));
  EXPECT_EQ(encode(json, "cats"), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(encode(json,
                   "\xC3\xA9"
                   "cat"),
            (Ids{0xC3, 0xA9, 'c', 'a', 't'}));
}

TEST(AddedTokens, NormalizedOnesMatchNormalizedText) {
  Json json = small();
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"] =
      Json::array({token(261, "e\xCC\x81", {"normalized"}), token(262, "o\xCC\x81", {})});
  EXPECT_EQ(encode(json, "\xC3\xA9"), Ids{261});
  EXPECT_EQ(encode(json, "e\xCC\x81"), Ids{261});
  EXPECT_EQ(encode(json, "o\xCC\x81"), Ids{262});
  EXPECT_EQ(encode(json, "\xC3\xB3"), (Ids{0xC3, 0xB3}));
}

TEST(Normalizer, ComposesBeforeSplitting) {
  Json json = small();
  json["normalizer"] = sequence("normalizers", {{{"type", "NFD"}}, {{"type", "NFC"}}});
  EXPECT_EQ(encode(json, "e\xCC\x81"), (Ids{0xC3, 0xA9}));
}

TEST(PostProcessor, TemplateAndConfig) {
  Json json = small();
  json["added_tokens"] =
      Json::array({token(261, "<s>", {"special"}), token(262, "</s>", {"special"})});
  const Json piece_a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json piece_bos = {{"SpecialToken", {{"id", "BOS"}, {"type_id", 0}}}};
  const Json piece_eos = {{"SpecialToken", {{"id", "EOS"}, {"type_id", 0}}}};
  json["post_processor"] =
      sequence("processors", {byte_level(),
                              {{"type", "TemplateProcessing"},
                               {"single", Json::array({piece_bos, piece_a, piece_eos})},
                               {"pair", Json::array()},
                               {"special_tokens",
                                {{"BOS", {{"id", "BOS"}, {"ids", Json::array({261})}}},
                                 {"EOS", {{"id", "EOS"}, {"ids", Json::array({262, 32})}}}}}}});
  const Tokenizer t =
      make(json, R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>"})");
  EXPECT_EQ(t.encode("in", SpecialTokens::kAdd), (Ids{261, 259, 262, 32}));
  EXPECT_EQ(t.encode("in", SpecialTokens::kNone), Ids{259});
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.bos_id(), 261);
  EXPECT_EQ(t.eos_id(), 262);
  EXPECT_EQ(t.bos_token(), "<s>");
  const Tokenizer other = make(json, R"({"bos_token": null, "eos_token": "unknown"})");
  EXPECT_FALSE(other.adds_bos());
  EXPECT_EQ(other.bos_id(), std::nullopt);
  EXPECT_EQ(other.eos_id(), std::nullopt);
  EXPECT_EQ(other.eos_token(), "unknown");
  json["post_processor"]["processors"][1]["single"] = Json::array({piece_bos, piece_eos});
  EXPECT_THROW(make(json), Error);
  json["post_processor"]["processors"][1]["single"] = Json::array({piece_a, piece_bos, piece_a});
  EXPECT_THROW(make(json), Error);
  json["post_processor"]["processors"][1]["single"] = Json::array({piece_a, piece_bos});
  json["post_processor"]["processors"][1]["special_tokens"]["BOS"]["ids"] = Json::array({263});
  EXPECT_THROW(make(json), Error);
}

TEST(Tokenizer, LoadReadsTheDirectory) {
  const std::filesystem::path dir = testing::TempDir() + "/qx_tokenizer_test";
  std::filesystem::create_directories(dir);
  std::filesystem::remove(dir / "tokenizer.json");
  EXPECT_THROW(Tokenizer::load(dir), Error);
  std::ofstream(dir / "tokenizer.json") << small().dump();
  EXPECT_EQ(Tokenizer::load(dir).eos_id(), std::nullopt);
  std::ofstream(dir / "config.json") << R"({"bos_token_id": 256, "eos_token_id": [257, 5]})";
  EXPECT_EQ(Tokenizer::load(dir).eos_id(), 257);
  EXPECT_EQ(Tokenizer::load(dir).bos_token(), "th");
  std::ofstream(dir / "tokenizer_config.json") << R"({"eos_token": "in"})";
  EXPECT_EQ(Tokenizer::load(dir).eos_id(), 259);
  EXPECT_EQ(Tokenizer::load(dir).bos_id(), std::nullopt);
  std::filesystem::remove_all(dir);
}

// ------------------------------------------------------------------------------ pre-tokenizers

Strings pieces(const Json& config, const std::string& text) {
  const PreTokenizer steps(config, "tokenizer.json");
  PreTokenizer::Run run(steps, text.size());
  Strings out;
  for (const TextRange& r : run.split(text, true))
    out.emplace_back(run.text().substr(r.begin, r.end - r.begin));
  return out;
}

Strings split_pieces(const char* kind, const char* pattern, const char* behavior, const char* text,
                     bool invert = false) {
  return pieces(
      sequence("pretokenizers", {split_step(kind, pattern, behavior, invert), byte_level()}), text);
}

TEST(PreTokenizer, Behaviors) {
  const char* text = "the-final--countdown";
  EXPECT_EQ(split_pieces("String", "-", "Removed", text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(split_pieces("String", "-", "Isolated", text),
            (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split_pieces("String", "-", "MergedWithPrevious", text),
            (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split_pieces("String", "-", "MergedWithNext", text),
            (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split_pieces("String", "-", "Contiguous", text),
            (Strings{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split_pieces("Regex", "[a-z]+", "Removed", text, true),
            (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(split_pieces("Regex", "[a-z]+", "Removed", text), (Strings{"-", "--"}));
  EXPECT_EQ(split_pieces("Regex", "x*", "Isolated", "axb"), (Strings{"a", "x", "b"}));
}

TEST(PreTokenizer, StepsSeeOnlyTheirPiece) {
  // Lookaround and anchors stop at the piece that an earlier step cut.
  const Json config =
      sequence("pretokenizers", {split_step("String", "-", "Removed"),
                                 split_step("Regex", "(?<=a)b|\\z", "Isolated"), byte_level()});
  EXPECT_EQ(pieces(config, "ab-b"), (Strings{"a", "b", "b"}));
}

TEST(PreTokenizer, DigitsAndGpt2) {
  const Json smol = sequence("pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}},
                                               byte_level(false, true)});
  EXPECT_EQ(pieces(smol, "it's 123  x\n"),
            (Strings{"it", "'s", " ", "1", "2", "3", " ", " x", "\n"}));
  const Json runs =
      sequence("pretokenizers", {{{"type", "Digits"}, {"individual_digits", false}}, byte_level()});
  EXPECT_EQ(pieces(runs, "ab12c\xC2\xBD"), (Strings{"ab", "12", "c", "\xC2\xBD"}));
}

TEST(PreTokenizer, PrefixSpaceBeforeEachPiece) {
  const Json config =
      sequence("pretokenizers", {split_step("String", "-", "Removed"), byte_level(true, true)});
  EXPECT_EQ(pieces(config, "a b- c"), (Strings{" a", " b", " c"}));
}

// ------------------------------------------------------------------------------ what is refused

// Ids: 0 <unk>, 1 <s>, 2 </s>, 3 to 258 the bytes, then pieces.
Json pieces() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int b = 0; b < 256; ++b) vocab[fmt::format("<0x{:02X}>", b)] = 3 + b;
  for (const char* piece : {"▁", "a", "b", "c", "▁a", "ab", "▁ab"}) vocab[piece] = vocab.size();
  return {{"added_tokens", {token(1, "<s>", {"special"}), token(2, "</s>", {"special"})}},
          {"normalizer", nullptr},
          {"pre_tokenizer", metaspace("first")},
          {"decoder", sequence("decoders", {replace_step("▁", " "),
                                            {{"type", "ByteFallback"}},
                                            {{"type", "Fuse"}},
                                            strip_step(1)})},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", {"a b", "▁ a", "▁ ab"}},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true}}}};
}
constexpr TokenId kMark = 259, kA = 260, kB = 261, kC = 262, kMarkA = 263, kAb = 264, kMarkAb = 265;
TokenId byte_id(int byte) {
  return 3 + byte;
}

TEST(Pieces, MarksStandForSpaces) {
  const Tokenizer t = make(pieces());
  EXPECT_EQ(t.encode("ab a", SpecialTokens::kNone), (Ids{kMarkAb, kMarkA}));
  EXPECT_EQ(t.encode("  c", SpecialTokens::kNone), (Ids{kMark, kMark, kC}));
  EXPECT_EQ(t.encode("", SpecialTokens::kNone), Ids{});
  // Only where the text begins.
  EXPECT_EQ(t.encode("ab<s>ab", SpecialTokens::kNone), (Ids{kMarkAb, 1, kAb}));
  EXPECT_EQ(t.encode("<s>ab", SpecialTokens::kNone), (Ids{1, kAb}));
  EXPECT_EQ(t.decode(Ids{kMarkAb, kMarkA}, DecodeSpecial::kKeep), "ab a");
  EXPECT_EQ(t.decode(Ids{1, kMarkAb}, DecodeSpecial::kKeep), "<s> ab");
  EXPECT_EQ(t.decode(Ids{1, kMarkAb}, DecodeSpecial::kSkip), "ab");
  EXPECT_EQ(t.token_bytes(kMarkA), " a");
  EXPECT_EQ(t.token_bytes(byte_id('\n')), "\n");
  EXPECT_EQ(t.token_text(kMarkA), "▁a");

  Json always = pieces();
  always["normalizer"] =
      sequence("normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, replace_step(" ", "▁")});
  always["pre_tokenizer"] = nullptr;
  EXPECT_EQ(encode(always, "ab<s>ab c"), (Ids{kMarkAb, 1, kMarkAb, kMark, kC}));
  Json split = pieces();
  split["pre_tokenizer"] = metaspace("never", true);
  EXPECT_EQ(encode(split, "a ab"), (Ids{kA, kMarkAb}));
  split["decoder"] = metaspace("always");
  EXPECT_EQ(make(split).decode(Ids{kMarkAb, kMarkA}, DecodeSpecial::kKeep), "ab a");
}

TEST(Pieces, BytesForWhatTheVocabularyLacks) {
  EXPECT_EQ(encode(pieces(), "aé"), (Ids{kMarkA, byte_id(0xC3), byte_id(0xA9)}));
  Json json = pieces();
  json["model"]["vocab"].erase("<0xA9>");
  json["model"]["vocab"]["x"] = byte_id(0xA9);
  EXPECT_EQ(encode(json, "aééb"), (Ids{kMarkA, 0, kB}));
  json["model"]["fuse_unk"] = false;
  EXPECT_EQ(encode(json, "aééb"), (Ids{kMarkA, 0, 0, kB}));
  json["model"]["unk_token"] = nullptr;
  EXPECT_EQ(encode(json, "aééb"), Ids{kMarkAb});
}

// A run of byte tokens is UTF-8 as a whole, or each byte is damaged; pieces of a stream make the same text.
TEST(Pieces, RunsOfBytesAndStreams) {
  const Tokenizer t = make(pieces());
  const std::string damaged = "\xEF\xBF\xBD";
  const std::pair<Ids, std::string> cases[] = {
      {{byte_id(0xC3), byte_id(0xA9)}, "é"},
      {{kMarkA, byte_id('\n'), byte_id(0xC3)}, "a" + damaged + damaged},
      {{byte_id(' '), kMarkA}, " a"},
      {{kMark, kMark, kA}, " a"},
      {{byte_id('\n'), kA, byte_id(0xA9), kB}, "\na" + damaged + "b"},
      {{1, kMarkA, 99999, -1, kB}, "<s> ab"}};
  for (const auto& [ids, text] : cases) {
    EXPECT_EQ(t.decode(ids, DecodeSpecial::kKeep), text);
    StreamDetokenizer stream(t, DecodeSpecial::kKeep);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), text);
  }
}

std::string refusal(const std::string& json) {
  try {
    Tokenizer::from_json(json, "", "t.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

std::string refusal_with(const std::string& pointer, const Json& value) {
  Json json = small();
  json[Json::json_pointer(pointer)] = value;
  return refusal(json.dump());
}

void expect_refused(const std::string& pointer, const Json& value, const std::string& says) {
  const std::string message = refusal_with(pointer, value);
  EXPECT_NE(message.find(says), std::string::npos) << pointer << ": " << message;
  EXPECT_EQ(message.rfind("[t.json", 0), 0u) << message;
}

TEST(Refused, UnsupportedComponentsByName) {
  expect_refused("/model/type", "Unigram", "'Unigram'");
  expect_refused("/model/byte_fallback", true, "byte_fallback");
  expect_refused("/model/dropout", 0.1, "dropout");
  expect_refused("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  expect_refused("/model/continuing_subword_prefix", "##", "continuing_subword_prefix");
  expect_refused("/model/unk_token", "none", "unk_token");
  expect_refused("/normalizer", {{"type", "Lowercase"}}, "'Lowercase'");
  expect_refused("/pre_tokenizer", {{"type", "WhitespaceSplit"}}, "'WhitespaceSplit'");
  expect_refused("/pre_tokenizer", {{"type", "Metaspace"}}, "replacement");
  expect_refused("/pre_tokenizer", metaspace("sometimes"), "prepend_scheme: got 'sometimes'");
  expect_refused("/pre_tokenizer", metaspace("first"), "decoder: got one with ByteLevel");
  expect_refused("/pre_tokenizer", nullptr, "expected both or neither");
  expect_refused("/pre_tokenizer", split_step("String", "a", "Isolated"),
                 "expected both or neither");
  expect_refused(
      "/pre_tokenizer",
      sequence("pretokenizers", {byte_level(), {{"type", "Digits"}, {"individual_digits", true}}}),
      "'Digits' after ByteLevel");
  expect_refused("/pre_tokenizer",
                 sequence("pretokenizers", {split_step("String", "", "Isolated"), byte_level()}),
                 "empty");
  expect_refused("/pre_tokenizer",
                 sequence("pretokenizers", {split_step("Regex", "(", "Isolated"), byte_level()}),
                 "invalid");
  expect_refused("/pre_tokenizer",
                 sequence("pretokenizers", {split_step("Regex", "a", "Odd"), byte_level()}),
                 "'Odd'");
  expect_refused("/post_processor", {{"type", "RobertaProcessing"}}, "'RobertaProcessing'");
  expect_refused("/decoder", {{"type", "WordPiece"}}, "'WordPiece'");
  expect_refused("/decoder", metaspace("always"), "expected both or neither");
  expect_refused("/decoder", sequence("decoders", {replace_step("a", "b"), byte_level()}),
                 "'ByteLevel'");
  expect_refused("/decoder", sequence("decoders", {{{"type", "ByteFallback"}}, strip_step(1)}),
                 "'Strip'");
  expect_refused("/normalizer",
                 {{"type", "Replace"}, {"pattern", {{"Regex", "a"}}}, {"content", ""}}, "Regex");
  expect_refused("/normalizer", replace_step("", "x"), "empty String");
  expect_refused("/decoder", nullptr, "decoder");
  expect_refused("/decoder", sequence("decoders", {{{"type", "Fuse"}}, byte_level()}), "'Fuse'");
}

TEST(Refused, InconsistentTables) {
  expect_refused("/model/vocab/the", 258, "expected one token");
  expect_refused("/model/vocab/the", 3'000'000, "large gaps");
  expect_refused("/model/vocab/the", 4'000'000'000u, "expected an id");
  expect_refused("/model/vocab/the", -1, "expected an id");
  expect_refused("/model/vocab/the", "1", "expected an id");
  expect_refused("/model/vocab/the", Json::array(), "expected an id");
  expect_refused("/model/vocab/the", nullptr, "expected an id");
  expect_refused("/model/vocab", Json::object(), "no tokens");
  expect_refused("/model/vocab", Json::array({1}), "no tokens");
  expect_refused("/model", 3, "model");
  expect_refused("/model/merges/0", "t q", "'tq'");
  expect_refused("/model/merges/0", "t zz", "merges[0]");
  expect_refused("/model/merges/1", "a b c", "merges[1]");
  expect_refused("/model/merges/1", "ab", "merges[1]");
  expect_refused("/model/merges/1", 5, "merges[1]");
  expect_refused("/model/merges/1", Json::array({"a"}), "merges[1]");
  expect_refused("/model/merges/1", Json::array({"a", "b", "c"}), "merges[1]");
  expect_refused("/model/merges/1", Json::array({"a", 1}), "merges[1]");
  expect_refused("/model/merges/1", Json::object(), "merges[1]");
  expect_refused("/added_tokens", 1, "added_tokens");
  expect_refused("/added_tokens/0", 1, "added_tokens[0]");
  expect_refused("/added_tokens/0", token(5, "<x>", {}), "expected 261");
  expect_refused("/added_tokens/0", token(300, "<x>", {}), "expected 261");
  expect_refused("/added_tokens/0", token(261, "the", {}), "already");
  expect_refused("/added_tokens/0", token(-1, "<x>", {}), "id -1");
  expect_refused("/added_tokens/0", token(1 << 24, "<x>", {}), "16777216");
  expect_refused("/added_tokens/0", token(261, std::string(5000, 'x'), {}), "5000 bytes");
  expect_refused("/added_tokens",
                 Json::array({token(261, "<x>", {}), token(261, "<x>", {"special"})}), "again");
  Json odd = token(261, "<x>", {});
  odd["special"] = 1;
  expect_refused("/added_tokens/0", odd, "'special'");
}

TEST(Refused, BrokenFiles) {
  const std::string good = small().dump();
  EXPECT_EQ(refusal(good), "accepted");
  for (const std::string& json :
       {std::string(), std::string("[]"), std::string("null"), std::string("{\"model\": "),
        good + "x", std::string(100'000, '['), "{\"a\":" + std::string(100'000, '['),
        std::string("{\"a\":1,\"a\":2}"), std::string("{\"x\":\"\xFF\"}"),
        good.substr(0, good.size() / 2), std::string("{\"a\": 1e999}")}) {
    EXPECT_EQ(refusal(json).rfind("[t.json", 0), 0u) << json.substr(0, 30);
  }
  EXPECT_NE(refusal(R"({"model":{"vocab":{"a":0,"a":1}},"x":1})").find("twice"), std::string::npos);
  EXPECT_NE(refusal(R"({"model":{"vocab":{"a":0},"vocab":{"b":1}}})").find("twice"),
            std::string::npos);
  std::string many = "{";
  for (int i = 0; i < 5000; ++i) many += fmt::format("\"{}\":1,", i);
  EXPECT_NE(refusal(many + "\"z\":1}").find("keys"), std::string::npos);
  EXPECT_THROW(Tokenizer::from_json(good, "[1]", "t.json"), Error);
  EXPECT_THROW(Tokenizer::from_json(good, R"({"bos_token": 5})", "t.json"), Error);
  EXPECT_THROW(Tokenizer::from_json(good, R"({"bos_token": {"x": 5}})", "t.json"), Error);
}

// A hostile pattern makes encoding fail with the file's name, soon.
TEST(Refused, RunawayPatternInAText) {
  Json json = small();
  json["pre_tokenizer"] =
      sequence("pretokenizers", {split_step("Regex", "(?:a|aa)+$", "Isolated"), byte_level()});
  const Tokenizer t = make(json);
  EXPECT_EQ(t.encode("aa", SpecialTokens::kNone), (Ids{'a', 'a'}));
  EXPECT_THROW(t.encode(std::string(2000, 'a') + "b", SpecialTokens::kNone), Error);
}

TEST(Tokenizer, LongTextsWithoutBreaks) {
  Json json = small();
  json["added_tokens"] = Json::array({token(261, std::string(1000, 'a') + "b", {})});
  EXPECT_EQ(encode(json, std::string(100'000, 'a')).size(), 100'000u);
  std::string marks;
  for (int i = 0; i < 100'000; ++i) marks += i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3";
  json["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(encode(json, marks).size(), 200'000u);
}

}  // namespace
}  // namespace qx
