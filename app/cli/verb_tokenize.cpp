// qx tokenize: text to token ids and back, one text or a file of JSON lines.
// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/interrupt.h"
#include "io/json.h"
#include "options.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct TokenizeFlags {
  std::string model, text, jsonl;
  bool decode = false, chat = false, special = false, skip_special = false;
  bool text_given = false;
  OutputOptions out;
};

// The tokenizer with what the options ask it to do.
class Worker {
 public:
  Worker(const TokenizeFlags& options, const std::filesystem::path& directory)
      : options_(options), tokenizer_(Tokenizer::load(directory)) {
    if (!options.chat) return;
    template_ = ChatTemplate::load(directory);
    if (!template_) {
      throw UsageError(fmt::format("--chat: the model at {} has no chat template, expected one",
                                   directory.string()));
    }
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }

  std::vector<TokenId> encode(const std::string& text) const {
    const SpecialTokens special = options_.special ? SpecialTokens::kAdd : SpecialTokens::kNone;
    return tokenizer_.encode(options_.chat ? as_user_message(text) : text, special);
  }

  std::string decode(std::span<const TokenId> ids) const {
    return tokenizer_.decode(ids,
                             options_.skip_special ? DecodeSpecial::kSkip : DecodeSpecial::kKeep);
  }

 private:
  std::string as_user_message(const std::string& text) const {
    Json message;
    message["role"] = "user";
    message["content"] = text;
    ChatOptions chat;
    chat.variables = Json::object();
    chat.variables["enable_thinking"] = has_thinking_tokens(tokenizer_);
    return template_->render(Json::array({message}), chat);
  }

  const TokenizeFlags& options_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> template_;
};

TokenId parse_id(const Json& value, std::string_view place) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX) {
    fail(place, "got {}, expected a token id", value.dump());
  }
  return static_cast<TokenId>(value.get<std::uint64_t>());
}

// Ids separated by white space or commas, also in brackets.
std::vector<TokenId> parse_ids(std::string_view text, std::string_view place) {
  std::vector<TokenId> ids;
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  for (std::size_t pos = text.find_first_not_of(kSeparators); pos != std::string_view::npos;
       pos = text.find_first_not_of(kSeparators, pos)) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, pos), text.size());
    const std::string_view word = text.substr(pos, end - pos);
    TokenId id = -1;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size() || id < 0) {
      fail(place, "got '{}' as number {}, expected a token id", word.substr(0, 40), ids.size() + 1);
    }
    ids.push_back(id);
    pos = end;
  }
  return ids;
}

Json convert_line(const Worker& worker, const Json& line, bool decode, const std::string& place) {
  if (!line.is_object()) fail(place, "got {}, expected an object", line.type_name());
  Json result;
  if (!decode) {
    result["text"] = json_string(line, "text", place);
    result["ids"] = worker.encode(result["text"].get_ref<const std::string&>());
    return result;
  }
  const auto ids = line.find("ids");
  if (ids == line.end() || !ids->is_array()) fail(place, "key 'ids': expected an array");
  std::vector<TokenId> tokens;
  for (const Json& id : *ids) tokens.push_back(parse_id(id, place));
  result["text"] = worker.decode(tokens);
  result["ids"] = tokens;
  return result;
}

void run_lines(const TokenizeFlags& o, const Worker& worker) {
  const bool from_stdin = o.jsonl == "-";
  std::ifstream file;
  if (!from_stdin) {
    file.open(o.jsonl, std::ios::binary);
    if (!file || std::filesystem::is_directory(o.jsonl)) {
      fail(o.jsonl, "cannot be read, expected a file of JSON lines");
    }
  }
  std::istream& in = from_stdin ? std::cin : file;
  Json all = Json::array();
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    check_interrupt();
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string place = fmt::format("{}:{}", from_stdin ? "stdin" : o.jsonl, number);
    Json result = convert_line(worker, parse_json(line, place), o.decode, place);
    if (o.out.json) {
      all.push_back(std::move(result));
    } else {
      fmt::print("{}\n", result.dump());
    }
  }
  if (in.bad()) fail(from_stdin ? "stdin" : o.jsonl, "reading failed");
  if (o.out.json) fmt::print("{}\n", all.dump());
}

void run_text(const TokenizeFlags& o, const Worker& worker) {
  const bool from_stdin = !o.text_given || o.text == "-";
  const std::string text =
      from_stdin ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : o.text;
  const Tokenizer& tokenizer = worker.tokenizer();
  const std::vector<TokenId> ids =
      o.decode ? parse_ids(text, from_stdin ? "stdin" : "TEXT") : worker.encode(text);
  if (o.out.json) {
    Json document;
    if (o.decode) document["text"] = worker.decode(ids);
    document["ids"] = ids;
    document["tokens"] = Json::array();
    for (const TokenId id : ids) document["tokens"].push_back(tokenizer.token_text(id));
    fmt::print("{}\n", document.dump());
  } else if (o.decode) {
    fmt::print("{}\n", worker.decode(ids));
  } else {
    fmt::print("{}\n", fmt::join(ids, " "));
  }
}

void run(const TokenizeFlags& o) {
  if (!o.jsonl.empty() && o.text_given) {
    throw UsageError("got both TEXT and --jsonl, expected one of them");
  }
  if (o.decode && (o.chat || o.special)) {
    throw UsageError(fmt::format("{} is about encoding, expected no --decode with it",
                                 o.chat ? "--chat" : "--special"));
  }
  if (o.skip_special && !o.decode) {
    throw UsageError("--skip-special is about decoding, expected --decode with it");
  }
  const Worker worker(o, resolve_model(o.model));
  o.jsonl.empty() ? run_text(o, worker) : run_lines(o, worker);
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto o = std::make_shared<TokenizeFlags>();
  CLI::App* verb = app.add_subcommand("tokenize", "token ids of a text, or the text of token ids");
  verb->add_option("-m,--model", o->model, "model directory or Hub id")->required();
  CLI::Option* text = verb->add_option(
      "TEXT", o->text,
      "the text, byte for byte; '-' or nothing: standard input; with --decode: ids");
  verb->add_option(
      "--jsonl", o->jsonl,
      "reads {\"text\":..} lines ({\"ids\":..} with --decode; '-': standard input) and "
      "writes {\"text\",\"ids\"} lines");
  verb->add_flag("--decode", o->decode, "from ids to text");
  verb->add_flag("--chat", o->chat,
                 "wraps the text as a user message in the model's chat template");
  verb->add_flag("--special", o->special,
                 "adds the special tokens that the model starts texts with");
  verb->add_flag("--skip-special", o->skip_special, "leaves special tokens out of decoded text");
  add_output_options(*verb, o->out);
  set_example(*verb, "qx tokenize -m qwen3-4b-qx63-hi \"The capital of France is\"");
  verb->callback([o, text] {
    o->text_given = text->count() > 0;
    run(*o);
  });
}

}  // namespace qx::cli
