// Fuzzes others' results: any bytes are read as samples or as a result file, or are an Error. The first byte
// chooses which; what is read must hold together.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "runs/import_results.h"
#include "runs/lm_eval_samples.h"

namespace {

// Known tasks, whose documents are read too, and one that is not.
constexpr std::array<std::string_view, 5> kTasks = {"arc_easy", "hellaswag", "winogrande", "piqa",
                                                    "sciq"};

void read_samples(std::string_view text, std::string_view task) {
  const qx::ImportedSamples samples = qx::parse_lm_eval_samples(text, task, "fuzz");
  QX_CHECK(!samples.items.empty());
  for (const qx::ImportedSample& sample : samples.items) {
    QX_CHECK(sample.asked.size() == sample.answer.choices.size());
    const std::string line = qx::answer_line(sample.answer);
    QX_CHECK(qx::answer_line(qx::parse_answer(line, "fuzz")) == line);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t which = static_cast<unsigned char>(data[0]) % (kTasks.size() + 1);
  try {
    if (which < kTasks.size()) {
      read_samples(text, kTasks[which]);
    } else {
      const std::size_t line = std::min(text.find('\n'), text.size());
      qx::parse_result_file(text.substr(std::min(line + 1, text.size())),
                            std::string(text.substr(0, line)), "fuzz");
    }
  } catch (const qx::Error&) {
  }
  return 0;
}
