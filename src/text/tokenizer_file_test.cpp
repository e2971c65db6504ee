// The fast reader of tokenizer.json against the general parser.
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace qx {
namespace {

std::string document(const std::string& model, const std::string& more = "") {
  return R"({"version": "1.0", "added_tokens": [{"id": 1, "content": "a]}\"{["}],)" + more +
         R"( "model": {"type": "BPE", )" + model + R"(, "fuse_unk": false}, "decoder": null})";
}

// What a reader makes of a text, an error included.
std::string outcome(TokenizerFile (*parse)(std::string_view, std::string_view),
                    const std::string& text) {
  try {
    const TokenizerFile file = parse(text, "t");
    std::string out = file.root.dump();
    for (const auto& [token, id] : file.vocab) out += fmt::format("\n{} = {}", token, id);
    for (const auto& [left, right] : file.merges) out += fmt::format("\n{} + {}", left, right);
    return out;
  } catch (const Error& e) {
    return e.what();
  }
}

void expect_alike(const std::string& text) {
  EXPECT_EQ(outcome(parse_tokenizer_file, text), outcome(parse_tokenizer_file_slowly, text))
      << text;
}

TEST(TokenizerFile, ReadsVocabularyAndMerges) {
  const std::string text = document(
      R"("vocab": {"a": 0, "\u0120b": 1, "é\"\\\/": 22}, "merges": ["a b", ["\n", "c d"]])");
  const TokenizerFile file = parse_tokenizer_file(text, "t");
  ASSERT_EQ(file.vocab.size(), 3u);
  EXPECT_EQ(file.vocab[1].first,
            "\xC4\xA0"
            "b");
  EXPECT_EQ(file.vocab[2].first, "é\"\\/");
  EXPECT_EQ(file.vocab[2].second, 22);
  ASSERT_EQ(file.merges.size(), 2u);
  EXPECT_EQ(file.merges[0].second, "b");
  EXPECT_EQ(file.merges[1].first, "\n");
  EXPECT_EQ(file.merges[1].second, "c d");
  EXPECT_FALSE(file.root["model"].contains("vocab"));
  EXPECT_FALSE(file.root["model"].contains("merges"));
  // Texts without escapes stay where they are.
  EXPECT_GE(file.vocab[0].first.data(), text.data());
  EXPECT_LT(file.vocab[0].first.data(), text.data() + text.size());
  expect_alike(text);
}

TEST(TokenizerFile, TheGeneralParserHasTheWordOnEverythingUnusual) {
  const std::string vocab = R"("vocab": {"a": 0})", merges = R"("merges": ["a b"])";
  for (const std::string& model : {
           vocab + "," + merges,
           merges + " ,\n " + vocab,
           vocab,
           merges,
           vocab + "," + vocab + "," + merges,
           vocab + "," + merges + "," + merges,
           R"("vocab": null, "merges": [], )" + vocab,
           std::string(R"("vocab": {}, "merges": [])"),
           std::string(R"("vocab": { }, "merges": [ ])"),
           std::string(R"("vocab": [], "merges": {})"),
           std::string(R"("vocab": {"a": -1}, "merges": [])"),
           std::string(R"("vocab": {"a": 01}, "merges": [])"),
           std::string(R"("vocab": {"a": 1.0}, "merges": [])"),
           std::string(R"("vocab": {"a": 1e2}, "merges": [])"),
           std::string(R"("vocab": {"a": 2147483647, "b": 2147483648}, "merges": [])"),
           std::string(R"("vocab": {"a": 99999999999}, "merges": [])"),
           std::string(R"("vocab": {"a": "b"}, "merges": [])"),
           std::string(R"("vocab": {"a": 1,}, "merges": [])"),
           std::string(R"("vocab": {"a" 1}, "merges": [])"),
           std::string(R"("vocab": {"\ud83d\ude00": 1, "\ud83d": 2}, "merges": [])"),
           std::string(R"("vocab": {"\ud83d\ude00": 1}, "merges": [])"),
           std::string(R"("vocab": {"\x": 1}, "merges": [])"),
           std::string(R"("vocab": {"\u12": 1}, "merges": [])"),
           std::string(R"("vocab": {"\u+123": 1}, "merges": [])"),
           std::string("\"vocab\": {\"\n\": 1}, \"merges\": []"),
           std::string("\"vocab\": {\"\xFF\": 1}, \"merges\": []"),
           std::string(R"("vocab": {}, "merges": ["ab"])"),
           std::string(R"("vocab": {}, "merges": ["a b c"])"),
           std::string(R"("vocab": {}, "merges": [["a"]])"),
           std::string(R"("vocab": {}, "merges": [["a", "b", "c"]])"),
           std::string(R"("vocab": {}, "merges": [["a", 1]])"),
           std::string(R"("vocab": {}, "merges": [[]])"),
           std::string(R"("vocab": {}, "merges": [null])"),
           std::string(R"("vocab": {}, "merges": ["a b",])"),
       }) {
    expect_alike(document(model));
    expect_alike(document(model, R"("model": 1,)"));
    expect_alike(document(model, R"("x": [1, {"model": {"vocab": {"q": 1}}}],)"));
    expect_alike(document(model, R"("x": [1, {]},)"));
    expect_alike(document(model, R"("x": tru,)"));
    expect_alike(document(model, R"("x": "\q",)"));
    expect_alike(document(model) + "x");
    expect_alike(document(model) + " \n");
  }
  for (const char* text : {"", "[]", "{}", "null", "{\"model\": 1}", "{\"model\": {}}", "{"}) {
    expect_alike(text);
  }
}

TEST(TokenizerFile, EveryPrefixIsAnErrorAlike) {
  const std::string text = document(R"("vocab": {"\u00e9": 12, "b": 1}, "merges": ["a b"])");
  for (std::size_t size = 0; size < text.size(); ++size) expect_alike(text.substr(0, size));
}

}  // namespace
}  // namespace qx
