// SPDX-License-Identifier: Apache-2.0
#include "malformed_requests.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "base/random.h"

namespace qx::e2e {
namespace {

// Short and quick to answer, in case it is answered.
constexpr std::string_view kChat =
    R"({"messages":[{"role":"user","content":"hello"}],"max_tokens":2,"temperature":0.5,)"
    R"("top_p":0.9,"seed":7,"n":1,"stop":["x","yz"],"logit_bias":{"5":1.5},"logprobs":true,)"
    R"("top_logprobs":2,"response_format":{"type":"text"}})";
constexpr std::string_view kCompletion =
    R"({"prompt":["a","b"],"max_tokens":2,"echo":true,"logprobs":1,"repetition_penalty":1.1})";

std::string good_body(Random& random) {
  return std::string(random.below(2) == 0 ? kChat : kCompletion);
}

std::string path_of(const std::string& body) {
  return body.starts_with(R"({"prompt")") ? "/v1/completions" : "/v1/chat/completions";
}

std::string request_head(const std::string& method, const std::string& path,
                         const std::string& headers) {
  return fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", method, path, headers);
}

std::string post_bytes(const std::string& path, const std::string& body) {
  return request_head("POST", path,
                      fmt::format("Connection: close\r\nContent-Type: application/json\r\n"
                                  "Content-Length: {}\r\n",
                                  body.size())) +
         body;
}

std::string post_body(const std::string& body) {
  return post_bytes(path_of(body), body);
}

// A member more, in front: what is known to be wrong.
std::string post_with(Random& random, const std::string& member) {
  const std::string body = good_body(random);
  return post_bytes(path_of(body), "{" + member + "," + body.substr(1));
}

void flip_bytes(std::string& bytes, std::size_t end, Random& random) {
  for (std::uint64_t k = random.below(4) + 1; k-- > 0;) {
    bytes[random.below(end)] = static_cast<char>(random.below(256));
  }
}

std::string random_text(Random& random, std::size_t size) {
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(random.below(256));
  return text;
}

template <std::size_t N>
std::string one_of(Random& random, const char* const (&choices)[N]) {
  return choices[random.below(N)];
}

// --- any bytes ---

MalformedRequest flipped_head(Random& random) {
  std::string bytes = post_body(good_body(random));
  flip_bytes(bytes, bytes.find("\r\n\r\n") + 4, random);
  return {"flipped head", bytes, false, true};
}

MalformedRequest flipped_body(Random& random) {
  std::string body = good_body(random);
  const std::string path = path_of(body);
  flip_bytes(body, body.size(), random);
  return {"flipped body", post_bytes(path, body), false};
}

MalformedRequest noise(Random& random) {
  // Its first byte begins no method; the end is for a parser that waits for one.
  return {"noise", "\x80" + random_text(random, random.below(300)) + "\r\n\r\n"};
}

MalformedRequest noisy_header(Random& random) {
  return {"noisy header",
          request_head("GET", "/health", "\x01" + random_text(random, random.below(100)) + "\r\n")};
}

// --- bodies ---

MalformedRequest cut_body(Random& random) {
  std::string body = good_body(random);
  const std::string path = path_of(body);
  body.resize(random.below(body.size()));
  return {"cut body", post_bytes(path, body)};
}

MalformedRequest noisy_body(Random& random) {
  std::string body = good_body(random);
  const std::string path = path_of(body);
  // 0xFF is in no UTF-8 text.
  body.insert(1 + random.below(body.size() - 1), "\xff" + random_text(random, random.below(20)));
  return {"noisy body", post_bytes(path, body)};
}

MalformedRequest wrong_member(Random& random) {
  static constexpr const char* kWrong[] = {
      R"("functions":[])",
      R"("model":"another")",
      R"("model":7)",
      R"("logit_bias":[1])",
      R"("logit_bias":{"x":1})",
      R"("logit_bias":{"-1":1})",
      R"("logit_bias":{"7":1e99})",
      R"("logit_bias":{"7":null})",
      R"("logit_bias":{"99999999999999999999":1})",
      R"("min_p":"0.1")",
      R"("min_p":-1e-9)",
      R"("top_k":-2)",
      R"("top_k":1.5)",
      R"("top_k":1e300)",
      R"("xtc_threshold":0.6)",
      R"("presence_penalty":-1e308)",
      R"("frequency_penalty":[])",
      R"("presence_context_size":-1)",
      R"("stop_token_ids":[4294967296])",
      R"("stop_token_ids":{"1":2})",
      R"("stream":"yes")",
      R"("stream":1)",
      R"("stream_options":[true])",
      R"("ignore_eos":0)",
      R"("modalities":["audio"])",
      R"("suffix":"end")",
      R"("best_of":3)",
  };
  return {"wrong member", post_with(random, one_of(random, kWrong))};
}

MalformedRequest wrong_body(Random& random) {
  static constexpr const char* kWrong[] = {
      "",
      "null",
      "[]",
      "{}",
      "17",
      "\"text\"",
      "{\"prompt\":{}}",
      "{\"prompt\":[[]]}",
      "{\"prompt\":[1,\"a\"]}",
      "{\"prompt\":[-1]}",
      "{\"prompt\":[1.5]}",
      "{\"prompt\":[999999]}",
      "{\"prompt\":\"a\",\"n\":0}",
      "{\"prompt\":\"a\",\"n\":129}",
      "{\"prompt\":\"a\",\"max_tokens\":-1}",
      "{\"prompt\":\"a\",\"temperature\":NaN}",
      "{\"prompt\":\"a\",\"temperature\":1e999}",
      "{\"prompt\":\"a\",\"stop\":[\"\"]}",
      "{\"prompt\":\"a\",\"response_format\":{\"type\":\"xml\"}}",
      "{\"messages\":[]}",
      "{\"messages\":{}}",
      "{\"messages\":[7]}",
      "{\"messages\":[{\"role\":\"user\"}]}",
      "{\"messages\":[{\"role\":5,\"content\":\"a\"}]}",
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{}]}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tool_choice\":\"required\"}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"top_logprobs\":2}",
      "{\"prompt\":\"a\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}}",
  };
  const std::string body = one_of(random, kWrong);
  const bool chat = body.starts_with("{\"messages\"");
  return {"wrong body", post_bytes(chat ? "/v1/chat/completions" : "/v1/completions", body)};
}

MalformedRequest member_twice(Random& random) {
  return {"member twice", post_with(random, R"("max_tokens":1)")};
}

MalformedRequest deep_body(Random& random) {
  const std::size_t depth = 201 + random.below(20'000);
  return {"deep body",
          post_with(random, "\"metadata\":" + std::string(depth, '[') + std::string(depth, ']'))};
}

MalformedRequest other_route(Random& random) {
  static constexpr const char* kPaths[] = {"/tokenize", "/detokenize", "/apply-template"};
  std::string body = R"({"tokens":7,"content":[],"messages":"a"})";
  if (random.below(2) == 0) body.resize(1 + random.below(body.size() - 1));
  return {"other route", post_bytes(one_of(random, kPaths), body)};
}

// --- huge fields ---

MalformedRequest huge_head(Random& random) {
  const std::size_t size = 17'000 + random.below(100'000);
  switch (random.below(4)) {
    case 0:
      return {"huge target", request_head("GET", "/" + std::string(size, 'a'), "")};
    case 1:
      return {"huge query", request_head("GET", "/health?" + std::string(size, '&'), "")};
    case 2:
      return {"huge header",
              request_head("GET", "/health", "Cookie: " + std::string(size, 'a') + "\r\n")};
    default: {
      std::string headers;
      while (headers.size() < size) headers += fmt::format("X-{}: y\r\n", headers.size());
      return {"many headers", request_head("GET", "/health", headers)};
    }
  }
}

MalformedRequest huge_number(Random& random) {
  const std::string digits(400 + random.below(10'000), '9');
  static constexpr const char* kNames[] = {"seed", "top_k", "min_p", "presence_penalty"};
  return {"huge number", post_with(random, fmt::format("\"{}\":{}{}", one_of(random, kNames),
                                                       random.below(2) == 0 ? "-" : "", digits))};
}

MalformedRequest huge_list(Random& random) {
  const std::size_t count = 5'000 + random.below(5'000);
  std::string ids = "1";
  for (std::size_t i = 1; i < count; ++i) ids += ",1";
  switch (random.below(3)) {
    case 0:  // longer than the context
      return {"many tokens", post_bytes("/v1/completions", "{\"prompt\":[" + ids + "]}")};
    case 1:
      return {"many stop tokens", post_with(random, "\"stop_token_ids\":[" + ids + "]")};
    default: {
      std::string texts = "\"a\"";
      for (std::size_t i = 1; i < count; ++i) texts += ",\"b\"";
      return {"many prompts", post_bytes("/v1/completions", "{\"prompt\":[" + texts + "]}")};
    }
  }
}

MalformedRequest huge_text(Random& random) {
  const std::string text(20'000 + random.below(80'000), 'a');
  switch (random.below(3)) {
    case 0:  // longer than the context
      return {"huge prompt", post_bytes("/v1/completions", "{\"prompt\":\"" + text + "\"}")};
    case 1:
      return {"huge model name", post_with(random, "\"model\":\"" + text + "\"")};
    default:
      return {"huge role",
              post_bytes("/v1/chat/completions", "{\"messages\":[{\"role\":\"" + text + "\"}]}")};
  }
}

MalformedRequest huge_body(Random& random, std::size_t max_body) {
  const std::size_t size = max_body + 1 + random.below(10'000);
  if (random.below(20) == 0) {  // one that is really sent
    return {"huge body", post_bytes("/v1/completions", std::string(size, '['))};
  }
  const std::string head = "Content-Type: application/json\r\n";
  if (random.below(2) == 0) {
    return {"huge chunk",
            request_head("POST", "/v1/completions", head + "Transfer-Encoding: chunked\r\n") +
                fmt::format("{:x}\r\n", size)};
  }
  return {"huge length", request_head("POST", "/v1/completions",
                                      head + fmt::format("Content-Length: {}\r\n", size))};
}

// --- what HTTP itself does not allow, or this server does not have ---

MalformedRequest wrong_framing(Random& random) {
  static constexpr const char* kHeaders[] = {
      "Content-Length: -1",
      "Content-Length: 0x10",
      "Content-Length: 1\r\nContent-Length: 2",
      "Content-Length: 99999999999999999999999999",
      "Content-Length: 3\r\nTransfer-Encoding: chunked",
      "no colon",
      ": no name",
      "a b: c",
      "X: a\x01z",
      "Transfer-Encoding: chunked\r\n\r\nxyz",
      "Transfer-Encoding: chunked\r\n\r\n-1",
      "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0",
      "Transfer-Encoding: chunked\r\n\r\n99999999999999999999",
  };
  return {"wrong framing",
          request_head("POST", "/tokenize",
                       "Content-Type: application/json\r\n" + one_of(random, kHeaders) + "\r\n")};
}

MalformedRequest wrong_line(Random& random) {
  static constexpr const char* kLines[] = {
      "GET / HTTP/9.9",          "GET / HTTP/1.10",  "GET  / HTTP/1.1", "GET /health",
      "GET /health JUNK/1.1",    "/ GET HTTP/1.1",   "G@T / HTTP/1.1",  "PRI * HTTP/2.0",
      "GET /he\x7flth HTTP/1.1", "\x16\x03\x01\x02",
  };
  return {"wrong line", one_of(random, kLines) + "\r\nHost: localhost\r\n\r\n"};
}

MalformedRequest wrong_address(Random& random) {
  static constexpr const char* kRequests[] = {
      "GET /nothing",
      "GET /../../etc/passwd",
      "GET /v1/models/../../etc/passwd",
      "GET /v1/models/other",
      "GET /%00",
      "GET //health",
      "POST /health",
      "PUT /v1/models",
      "DELETE /v1/models/tiny",
      "GET /tokenize",
      "BREW /",
      "POST /v1/completions",
      "OPTIONS /v1/models",
      "GET *",
      "GET http://localhost/v1/models",
      "CONNECT localhost:443",
  };
  return {"wrong address", one_of(random, kRequests) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"};
}

MalformedRequest wrong_host(Random& random) {
  static constexpr const char* kHosts[] = {
      "", "Host:\r\n", "Host: evil.example\r\n", "Host: [::2]:80\r\n", "Host: localhost.evil:1\r\n",
  };
  return {"wrong host", "GET /v1/models HTTP/1.1\r\n" + one_of(random, kHosts) + "\r\n"};
}

}  // namespace

MalformedRequest malformed_request(std::uint64_t number, std::size_t max_body) {
  Random random(0x6d616c66 + number);
  random.next();  // seeds that follow each other give alike first values
  static constexpr MalformedRequest (*kMakers[])(Random&) = {
      flipped_head, flipped_body,  noise,      noisy_header,  cut_body,   noisy_body,  wrong_member,
      wrong_body,   member_twice,  deep_body,  other_route,   huge_head,  huge_number, huge_list,
      huge_text,    wrong_framing, wrong_line, wrong_address, wrong_host,
  };
  const std::uint64_t kind = random.below(std::size(kMakers) + 1);
  return kind < std::size(kMakers) ? kMakers[kind](random) : huge_body(random, max_body);
}

}  // namespace qx::e2e
