// Tokenizers and chat templates.
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "bindings.h"
#include "io/find_model.h"
#include "json_python.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qx::python {
namespace {

std::shared_ptr<ModelTokenizer> load_tokenizer(const std::string& model) {
  const nb::gil_scoped_release release;
  const std::filesystem::path directory = resolve_model(model);
  return std::shared_ptr<ModelTokenizer>(new ModelTokenizer{
      directory, Tokenizer::load(directory), ChatTemplate::load(directory), {}, {}});
}

std::optional<std::string> text_or_none(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

std::vector<TokenId> encode(const ModelTokenizer& self, const std::string& text,
                            bool add_special_tokens) {
  const nb::gil_scoped_release release;
  return self.tokenizer.encode(text,
                               add_special_tokens ? SpecialTokens::kAdd : SpecialTokens::kNone);
}

std::string decode(const ModelTokenizer& self, const std::vector<TokenId>& ids,
                   bool skip_special_tokens) {
  return self.tokenizer.decode(ids,
                               skip_special_tokens ? DecodeSpecial::kSkip : DecodeSpecial::kKeep);
}

std::string render_chat(const ModelTokenizer& self, const nb::object& messages,
                        const nb::object& tools, bool add_generation_prompt,
                        bool continue_final_message, const nb::object& variables) {
  if (!self.chat) {
    fail(self.directory.string(),
         "has no chat template, expected one in chat_template.jinja or "
         "tokenizer_config.json");
  }
  ChatOptions options;
  options.add_generation_prompt = add_generation_prompt;
  options.continue_final_message = continue_final_message;
  options.tools = from_python(tools, "tools");
  options.variables = from_python(variables, "apply_chat_template");
  // mlx-lm's rule (text/chat_template.h).
  if (!options.variables.contains("enable_thinking")) {
    options.variables["enable_thinking"] = has_thinking_tokens(self.tokenizer);
  }
  const Json conversation = from_python(messages, "messages");
  const nb::gil_scoped_release release;
  return self.chat->render(conversation, options);
}

// Text of a growing sequence of tokens.
class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<ModelTokenizer> tokenizer, bool skip_special_tokens)
      : tokenizer_(std::move(tokenizer)),
        stream_(tokenizer_->tokenizer,
                skip_special_tokens ? DecodeSpecial::kSkip : DecodeSpecial::kKeep) {}
  std::string push(TokenId id) { return stream_.push(id); }
  std::string finish() { return stream_.finish(); }

 private:
  std::shared_ptr<ModelTokenizer> tokenizer_;
  StreamDetokenizer stream_;
};

}  // namespace

const std::shared_ptr<const VocabularyTree>& ModelTokenizer::vocabulary_tree() {
  std::call_once(vocabulary_once,
                 [&] { vocabulary = std::make_shared<const VocabularyTree>(tokenizer); });
  return vocabulary;
}

void bind_text(nb::module_& m) {
  nb::class_<ModelTokenizer>(m, "Tokenizer",
                             "The tokenizer of a model directory, with its chat template.")
      .def("encode", &encode, "text"_a, "add_special_tokens"_a = true)
      .def("decode", &decode, "ids"_a, "skip_special_tokens"_a = false)
      .def("render_chat", &render_chat, "messages"_a, "tools"_a.none(), "add_generation_prompt"_a,
           "continue_final_message"_a, "variables"_a)
      .def("token_text",
           [](const ModelTokenizer& self, TokenId id) {
             if (id < 0 || static_cast<std::size_t>(id) >= self.tokenizer.vocab_size()) {
               throw nb::index_error("no such token");
             }
             return self.tokenizer.token_text(id);
           })
      .def("id_of", [](const ModelTokenizer& self,
                       const std::string& token) { return self.tokenizer.id_of(token); })
      .def_prop_ro("path", [](const ModelTokenizer& self) { return self.directory.string(); })
      .def_prop_ro("vocab_size",
                   [](const ModelTokenizer& self) { return self.tokenizer.vocab_size(); })
      .def_prop_ro(
          "bos_token",
          [](const ModelTokenizer& self) { return text_or_none(self.tokenizer.bos_token()); })
      .def_prop_ro(
          "eos_token",
          [](const ModelTokenizer& self) { return text_or_none(self.tokenizer.eos_token()); })
      .def_prop_ro("bos_token_id",
                   [](const ModelTokenizer& self) { return self.tokenizer.bos_id(); })
      .def_prop_ro("eos_token_id",
                   [](const ModelTokenizer& self) { return self.tokenizer.eos_id(); })
      .def_prop_ro("chat_template",
                   [](const ModelTokenizer& self) {
                     return self.chat ? std::optional(self.chat->source()) : std::nullopt;
                   })
      .def_prop_ro("has_thinking",
                   [](const ModelTokenizer& self) { return has_thinking_tokens(self.tokenizer); });
  nb::class_<Detokenizer>(m, "Detokenizer")
      .def(nb::init<std::shared_ptr<ModelTokenizer>, bool>(), "tokenizer"_a,
           "skip_special_tokens"_a = false)
      .def("push", &Detokenizer::push, "token"_a,
           "The text that is certain by now; later tokens may complete the rest.")
      .def("finish", &Detokenizer::finish, "What was held back.");
  m.def("load_tokenizer", &load_tokenizer, "model"_a,
        "The tokenizer of a model directory or cached Hub id.");
}

}  // namespace qx::python
