// Fuzzes what clients send to the server, and what models write: any bytes are either understood or
// refused with status 400. The first byte chooses what they are read as.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "serve/answer_parts.h"
#include "serve/api_json.h"
#include "serve/api_keys.h"
#include "serve/api_request.h"

namespace {

void read_request(unsigned char kind, std::string_view text) {
  try {
    switch (kind) {
      case 0: {
        const qx::ChatRequest request = qx::parse_chat_request(text, {});
        QX_CHECK(request.n >= 1 && request.n <= qx::kMostChoices && request.messages.is_array());
        QX_CHECK(request.top_logprobs <= qx::kMostTopLogprobs);
        break;
      }
      case 1: {
        const qx::CompletionRequest request = qx::parse_completion_request(text, {});
        QX_CHECK(request.prompts.size() * static_cast<std::size_t>(request.n) <= 128);
        break;
      }
      case 2:
        qx::parse_tokenize_request(text);
        break;
      case 3:
        qx::parse_detokenize_request(text);
        break;
      default:
        qx::parse_template_request(text);
    }
  } catch (const qx::ApiError& e) {
    QX_CHECK(e.status == 400);
    qx::json_text(qx::error_json(e.status, e.what(), e.param, e.code));
  }
}

std::string joined(const std::vector<qx::AnswerPart>& parts) {
  std::string text;
  for (const qx::AnswerPart& part : parts) {
    text += fmt::format("{}:{}:{}\n", static_cast<int>(part.kind), part.name, part.text);
  }
  return text;
}

// Kind by kind, with neighbours joined: must not depend on the pieces.
std::string split(std::string_view text, std::size_t piece) {
  qx::AnswerSplitter splitter({.thinking = true, .tool_calls = true});
  std::vector<qx::AnswerPart> all;
  const auto add = [&](std::vector<qx::AnswerPart> parts) {
    for (qx::AnswerPart& part : parts) {
      if (!all.empty() && part.kind != qx::AnswerPart::Kind::kToolCall &&
          all.back().kind == part.kind) {
        all.back().text += part.text;
      } else {
        all.push_back(std::move(part));
      }
    }
  };
  for (std::size_t at = 0; at < text.size(); at += piece)
    add(splitter.push(text.substr(at, piece)));
  add(splitter.finish());
  return joined(all);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const unsigned kind = data[0] % 7;
  if (kind < 5) {
    read_request(static_cast<unsigned char>(kind), text);
  } else if (kind == 5) {
    const std::string whole = split(text, text.size() + 1);
    QX_CHECK(split(text, 1) == whole && split(text, 7) == whole);
  } else {
    try {
      const qx::ApiKeys keys = qx::ApiKeys::parse(text, "keys");
      QX_CHECK(!keys.empty() && !keys.accepts("Bearer "));
    } catch (const qx::Error&) {
    }
  }
  return 0;
}
