// libFuzzer target: a template, then after a zero byte a JSON object of variables. Parsing and rendering under small
// limits must end with text or qx::Error.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "io/json.h"
#include "text/jinja_eval.h"
#include "text/jinja_parser.h"
#include "text/jinja_tojson.h"

namespace {

constexpr std::string_view kDefaultVariables =
    R"({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hé"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.5}}}]}],
        "tools": null, "add_generation_prompt": true, "s": "a b", "n": [3, 1, 2], "f": 0.5})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const std::string_view source = input.substr(0, zero);
  try {
    const qx::Json variables = qx::parse_json(
        zero == std::string_view::npos ? kDefaultVariables : input.substr(zero + 1), "variables");
    const auto parsed = qx::jinja::parse(source, "fuzz");
    qx::jinja::Limits limits;
    limits.steps = 100'000;
    limits.value_bytes = std::size_t{16} << 20;
    limits.output_bytes = std::size_t{1} << 20;
    qx::jinja::Runtime runtime(limits, "fuzz");
    std::vector<std::pair<std::string, qx::jinja::Value>> named;
    if (variables.is_object()) {
      for (const auto& [name, value] : variables.items()) {
        named.emplace_back(name, qx::jinja::from_json(runtime, value));
      }
    }
    qx::jinja::render(*parsed, runtime, named);
  } catch (const qx::Error&) {
  }
  return 0;
}
