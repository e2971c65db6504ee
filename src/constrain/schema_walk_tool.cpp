// Writes texts that random walks through schemas give, for tests/parity/test_json_schema.py. Each
// line of stdin: {"schema":.., "seed":n, "count":n}. Each line of stdout: {"texts":[..]} or
// {"error":".."}.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iostream>

#include "constrain/random_walk.h"

int main() {
  const qx::Tokenizer tokenizer = qx::random_walk::vocabulary();
  const auto tree = std::make_shared<const qx::VocabularyTree>(tokenizer);
  const qx::TokenId stop[] = {*tokenizer.id_of("<eos>")};
  for (std::string line; std::getline(std::cin, line);) {
    qx::Json answer = qx::Json::object();
    try {
      const qx::Json request = qx::parse_json(line, "stdin");
      const auto grammar = std::make_shared<qx::SchemaGrammar>(request.at("schema"), "schema");
      qx::Random random(request.at("seed").get<std::uint64_t>());
      answer["texts"] = qx::Json::array();
      for (int i = 0; i < request.at("count").get<int>(); ++i) {
        const auto text = qx::random_walk::write({grammar, tree, stop}, tokenizer, random);
        if (text) answer["texts"].push_back(*text);
      }
    } catch (const qx::Error& error) {
      answer = {{"error", error.what()}};
    }
    fmt::print("{}\n", answer.dump());
  }
  return 0;
}
