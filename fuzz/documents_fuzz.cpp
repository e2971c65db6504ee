// Fuzzes the texts that perplexity and divergence read: plain, JSON lines, and as conversations. The first
// byte chooses the format.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "base/error.h"
#include "distance/text_tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto format = (data[0] & 1) != 0 ? qx::TextFormat::kJsonl : qx::TextFormat::kText;
  try {
    for (const qx::Document& document :
         qx::parse_documents(text, "fuzz", format, (data[0] & 2) != 0, (data[0] & 4) != 0)) {
      qx::escape_controls(document.text);
      QX_CHECK(document.messages.is_null() || document.messages.is_array());
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
