// SPDX-License-Identifier: Apache-2.0
#include "distance/text_tokens.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"

namespace qx {
namespace {

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Calls body(number, line) for each line, without its line feed.
template <typename Body>
void for_each_line(std::string_view text, const Body& body) {
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    body(++number, text.substr(begin, end - begin));
    begin = end + 1;
  }
}

void require_utf8(std::string_view text, const std::string& name) {
  if (is_valid_utf8(text)) return;
  for_each_line(text, [&](std::int64_t number, std::string_view line) {
    if (!is_valid_utf8(line)) {
      fail(fmt::format("{}:{}", name, number), "got bytes that are not UTF-8, expected UTF-8 text");
    }
  });
  fail(name, "got bytes that are not UTF-8, expected UTF-8 text");
}

std::vector<std::string> paragraphs(std::string_view text) {
  std::vector<std::string> found;
  std::string current;
  const auto close = [&] {
    if (!current.empty()) found.push_back(std::move(current));
    current.clear();
  };
  for_each_line(text, [&](std::int64_t, std::string_view line) {
    if (is_blank(line)) {
      close();
      return;
    }
    if (!current.empty()) current += '\n';
    current += line;
  });
  close();
  return found;
}

Json message(const char* role, std::string content) {
  Json json;
  json["role"] = role;
  json["content"] = std::move(content);
  return json;
}

void add_conversations(const Document& plain, std::vector<Document>& out) {
  const std::vector<std::string> parts = paragraphs(plain.text);
  if (parts.empty()) {
    fail(plain.place, "got a text of blank lines, expected paragraphs to make conversations of");
  }
  for (std::size_t i = 0; i < parts.size(); i += 2) {
    Document document;
    document.place = fmt::format("{}, paragraph {}", plain.place, i + 1);
    document.messages = Json::array({message("user", parts[i])});
    if (i + 1 < parts.size()) document.messages.push_back(message("assistant", parts[i + 1]));
    out.push_back(std::move(document));
  }
}

Document parse_row(std::string_view line, const std::string& place) {
  const Json row = parse_json(line, place);
  if (!row.is_object()) fail(place, "got {}, expected a JSON object", row.type_name());
  Document document;
  document.place = place;
  if (row.contains("prompt") && row.contains("completion")) {
    document.messages = Json::array({message("user", json_string(row, "prompt", place)),
                                     message("assistant", json_string(row, "completion", place))});
  } else if (row.contains("messages")) {
    document.messages = row["messages"];
    if (!document.messages.is_array() || document.messages.empty()) {
      fail(place, "key 'messages': got {}, expected a list of messages",
           document.messages.is_array() ? "an empty list" : document.messages.type_name());
    }
  } else if (row.contains("text")) {
    document.text = json_string(row, "text", place);
  } else {
    fail(place, "got none of the keys 'messages', 'prompt' with 'completion', and 'text'");
  }
  if (row.contains("tools")) document.tools = row["tools"];
  if (!document.tools.is_null() && !document.tools.is_array()) {
    fail(place, "key 'tools': got {}, expected a list", document.tools.type_name());
  }
  return document;
}

std::vector<TokenId> encode_document(const Document& document, const Tokenizer& tokenizer,
                                     const ChatTemplate* chat_template, const Json& variables,
                                     bool append_eos) {
  if (document.messages.is_null()) {
    std::vector<TokenId> ids = tokenizer.encode(document.text, SpecialTokens::kAdd);
    const std::optional<TokenId> eos = tokenizer.eos_id();
    if (append_eos && eos && (ids.empty() || ids.back() != *eos)) ids.push_back(*eos);
    return ids;
  }
  if (chat_template == nullptr) {
    fail(document.place,
         "got a conversation, but the model has no chat template; expected plain "
         "text, or a model with chat_template.jinja");
  }
  ChatOptions options;
  options.add_generation_prompt = false;
  options.tools = document.tools;
  options.variables = variables;
  try {
    return tokenizer.encode(chat_template->render(document.messages, options),
                            SpecialTokens::kNone);
  } catch (const Error& e) {
    throw Error(document.place, e.what());
  }
}

}  // namespace

std::vector<Document> parse_documents(std::string_view text, const std::string& name,
                                      TextFormat format, bool chat, bool strip_newline) {
  require_utf8(text, name);
  std::vector<Document> plain;
  if (format == TextFormat::kJsonl) {
    while (!text.empty() && is_blank(text.substr(text.size() - 1))) text.remove_suffix(1);
    for_each_line(text, [&](std::int64_t number, std::string_view line) {
      plain.push_back(parse_row(line, fmt::format("{}:{}", name, number)));
    });
  } else if (!is_blank(text)) {
    if (strip_newline && text.back() == '\n') text.remove_suffix(1);
    plain.push_back({name, std::string(text), {}, {}});
  }
  if (plain.empty()) fail(name, "got an empty file, expected text");
  if (!chat) return plain;
  std::vector<Document> documents;
  for (Document& document : plain) {
    if (document.messages.is_null()) {
      add_conversations(document, documents);
    } else {
      documents.push_back(std::move(document));
    }
  }
  return documents;
}

std::vector<Document> read_documents(const std::filesystem::path& file, TextFormat format,
                                     bool chat, bool strip_newline) {
  const MappedFile mapped(file);
  if (format == TextFormat::kByName) {
    format = file.extension() == ".jsonl" ? TextFormat::kJsonl : TextFormat::kText;
  }
  return parse_documents(mapped.text(), file.string(), format, chat, strip_newline);
}

std::vector<std::int64_t> numpy_permutation(std::int64_t n, std::uint32_t seed) {
  std::mt19937 words(seed);  // seeded as numpy's legacy generator is
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::uint32_t last = static_cast<std::uint32_t>(std::max<std::int64_t>(n, 1) - 1); last > 0;
       --last) {
    std::uint32_t mask = last;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    const auto draw = [&] { return static_cast<std::uint32_t>(words()) & mask; };
    std::uint32_t pick = draw();
    while (pick > last) pick = draw();
    std::swap(order[last], order[pick]);
  }
  return order;
}

std::vector<TokenId> encode_documents(const std::vector<Document>& documents,
                                      const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                      const EncodeRules& rules) {
  Json variables = rules.template_variables.is_null() ? Json::object() : rules.template_variables;
  if (!variables.contains("enable_thinking")) {
    variables["enable_thinking"] = has_thinking_tokens(tokenizer);
  }
  const bool mlx = rules.convention == WindowConvention::kMlxLm;
  const auto count = static_cast<std::int64_t>(documents.size());
  std::vector<std::int64_t> order(documents.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (mlx) order = numpy_permutation(count, rules.seed);
  std::vector<TokenId> tokens;
  for (const std::int64_t index : order) {
    const std::vector<TokenId> ids = encode_document(documents[static_cast<std::size_t>(index)],
                                                     tokenizer, chat_template, variables, mlx);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  return tokens;
}

std::string hash_tokens(const std::vector<TokenId>& tokens) {
  Sha256 hash;
  std::string bytes;
  for (const TokenId id : tokens) {
    for (int shift = 0; shift < 32; shift += 8) {
      bytes += static_cast<char>((static_cast<std::uint32_t>(id) >> shift) & 0xFF);
    }
  }
  hash.update(bytes);
  return hash.hex();
}

std::string hash_vocabulary(const Tokenizer& tokenizer) {
  Sha256 hash;
  const auto size = static_cast<TokenId>(tokenizer.vocab_size());
  for (TokenId id = 0; id < size; ++id) {
    const std::string text = tokenizer.token_text(id);
    hash.update(fmt::format("{} {} ", id, text.size()));
    hash.update(text);
  }
  return hash.hex();
}

std::string escape_controls(std::string_view utf8) {
  std::string out;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    const std::string_view character = utf8.substr(i, length);
    i += length;
    std::uint32_t code = lead;
    if (length > 1) {
      code = lead & (0xFFu >> (length + 1));
      for (const char c : character.substr(1)) {
        code = code << 6 | (static_cast<unsigned char>(c) & 0x3Fu);
      }
    }
    const bool bidirectional = (code >= 0x202A && code <= 0x202E) ||
                               (code >= 0x2066 && code <= 0x2069) || code == 0x200E ||
                               code == 0x200F || code == 0x061C;
    if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (code == '\\') {
      out += "\\\\";
    } else if (code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
               bidirectional) {
      out += fmt::format("\\u{{{:x}}}", code);
    } else {
      out += character;
    }
  }
  return out;
}

}  // namespace qx
