// Scoring request lines.
// SPDX-License-Identifier: Apache-2.0
#include "eval/score_requests.h"

#include "base/error.h"

namespace qx {
namespace {

constexpr std::size_t kWindowRequests = 1024;  // scored together, and then given in order

std::vector<TokenId> read_ids(const Json& request, const char* key, std::int64_t vocab_size,
                              std::string_view place) {
  const auto found = request.find(key);
  if (found == request.end() || !found->is_array()) {
    fail(place, "field '{}': expected an array of token ids", key);
  }
  std::vector<TokenId> ids;
  for (const Json& id : *found) {
    const bool ok = id.is_number_integer() && id >= 0 && id < vocab_size;
    if (!ok) {
      fail(place, "field '{}': got {} at index {}, expected a token id from 0 to {}", key,
           id.dump(), ids.size(), vocab_size - 1);
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

std::string read_text(const Json& request, const char* key, std::string_view place) {
  const auto found = request.find(key);
  if (found == request.end()) {
    fail(place,
         "field '{}' is missing, expected 'context' and 'continuation', or 'context_ids' and "
         "'continuation_ids'",
         key);
  }
  if (!found->is_string())
    fail(place, "field '{}': got {}, expected a string", key, found->type_name());
  return found->get<std::string>();
}

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace

EncodedPair parse_score_request(std::string_view line, const PairEncoder& encoder,
                                std::int64_t vocab_size, std::string_view place) {
  const Json request = parse_json(line, place);
  if (!request.is_object()) fail(place, "got {}, expected a JSON object", request.type_name());
  const bool has_text = request.contains("context") || request.contains("continuation");
  const bool has_ids = request.contains("context_ids") || request.contains("continuation_ids");
  if (has_text && has_ids) fail(place, "got both strings and ids, expected one of the two");
  if (has_ids) {
    return encoder.fit(read_ids(request, "context_ids", vocab_size, place),
                       read_ids(request, "continuation_ids", vocab_size, place), place);
  }
  const std::string continuation[] = {read_text(request, "continuation", place)};
  return encoder.encode(read_text(request, "context", place), continuation, place).front();
}

Json score_json(const PairScore& score) {
  Json json;
  json["ll"] = score.ll;
  json["tokens"] = score.tokens;
  json["greedy"] = score.greedy;
  return json;
}

std::int64_t score_stream(std::istream& in, const std::string& file, Model& model,
                          const Tokenizer& tokenizer,
                          const std::function<void(const PairScore&)>& on_score) {
  const PairEncoder encoder(tokenizer,
                            {Convention::kLmEval, false, model.config().max_position_embeddings});
  std::vector<ScoreRequest> window;
  std::vector<PairScore> scores;
  std::int64_t cut = 0;
  const auto finish_window = [&] {
    scores.resize(window.size());
    score_pairs(model, window, {},
                [&](std::size_t i, const PairScore& score) { scores[i] = score; });
    for (const PairScore& score : scores) on_score(score);
    window.clear();
  };
  std::string line;
  std::int64_t number = 0, blank = 0;
  while (std::getline(in, line)) {
    ++number;
    if (is_blank(line)) {
      if (blank == 0) blank = number;
      continue;
    }
    if (blank > 0) fail(fmt::format("{}:{}", file, blank), "got an empty line, expected a request");
    window.push_back({parse_score_request(line, encoder, model.config().vocab_size,
                                          fmt::format("{}:{}", file, number)),
                      number});
    if (window.back().pair.cut_tokens > 0) ++cut;
    if (window.size() == kWindowRequests) finish_window();
  }
  if (in.bad()) fail(file, "cannot read");
  finish_window();
  return cut;
}

}  // namespace qx
