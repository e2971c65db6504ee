// Fuzzes JSON Schemas: any schema is refused, or lets a random walk write only what parses and
// satisfies it. The first byte is the walk's seed, the rest the schema.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "constrain/random_walk.h"
#include "constrain/schema_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const qx::Tokenizer kTokenizer = qx::random_walk::vocabulary();
  static const auto kTree = std::make_shared<const qx::VocabularyTree>(kTokenizer);
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  qx::Json schema;
  std::shared_ptr<qx::SchemaGrammar> grammar;
  try {
    schema = qx::parse_json(text, "fuzz");
    grammar = std::make_shared<qx::SchemaGrammar>(schema, "fuzz");
  } catch (const qx::Error&) {
    return 0;
  }
  qx::Random random(data[0]);
  const qx::TokenId stop[] = {*kTokenizer.id_of("<eos>")};
  const auto written = qx::random_walk::write({grammar, kTree, stop}, kTokenizer, random, 300);
  if (written) QX_CHECK(qx::text_satisfies(*written, schema));
  return 0;
}
