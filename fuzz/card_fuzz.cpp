// Any bytes as a card: an error, or parts whose lines lie within the text; front matter that is
// written again reads as the same values.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "card/card_text.h"
#include "card/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  qx::CardText card;
  try {
    card = qx::read_card(text, "fuzz");
  } catch (const qx::Error&) {
    return 0;
  }
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const qx::CardTable& table : card.tables) {
    QX_CHECK(table.header.line >= 1 && table.header.line <= lines);
    for (const qx::CardRow& row : table.rows)
      QX_CHECK(row.line > table.header.line && row.line <= lines);
  }
  for (const qx::CardItem& item : card.items) QX_CHECK(item.line >= 1 && item.line <= lines);
  if (card.front && !card.front->value.empty()) {
    QX_CHECK(qx::parse_yaml(qx::yaml_text(card.front->value), "again", 1).value ==
             card.front->value);
  }
  return 0;
}
