// Any bytes as an answer log: an error, or answers that write and read back as themselves.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "runs/answer_log.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const qx::ParsedLog log = qx::parse_answers(text, "fuzz");
    QX_CHECK(log.whole_bytes <= size);
    for (const qx::Answer& answer : log.answers) {
      const std::string line = qx::answer_line(answer);
      QX_CHECK(qx::answer_line(qx::parse_answer(line, "again")) == line);
      qx::picked_by_ll(answer.choices);
      qx::picked_by_ll_per_char(answer.choices);
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
