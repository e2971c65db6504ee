// Which tokens of a text a model reads together, and which of them count: the conventions of
// llama.cpp, of mlx-lm, and the classic sliding window (docs/distances.md has the sources).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qx {

//   llama.cpp  windows of ctx tokens side by side, the rest left out; BOS takes the place of each
//              window's first token where the vocabulary adds one; the second half counts: targets
//              ctx/2 + 1 to ctx - 1. With a stride (its --ppl-stride): windows of ctx + stride/2 tokens
//              that begin every stride tokens, the last stride targets count, and no BOS is put in.
//   mlx-lm     windows of ctx tokens side by side, the rest left out; all targets but the first count
//   sliding    windows of ctx tokens that begin every stride tokens (ctx/2 unless given), the last one
//              shorter; each target counts once, in the first window that holds it
enum class WindowConvention { kLlamaCpp, kMlxLm, kSliding };
std::string_view convention_name(WindowConvention convention);  // "llama.cpp", "mlx-lm", "sliding"

// The text's tokens [begin, end). The model reads all but the last; target t is predicted from the
// tokens of the window before it.
struct Window {
  std::int64_t begin = 0, end = 0;
  std::int64_t first_target = 0;  // targets [first_target, end) count; above begin
  bool bos = false;               // the model reads BOS in place of token `begin`
  bool operator==(const Window&) const = default;
};

struct WindowRules {
  WindowConvention convention = WindowConvention::kLlamaCpp;
  std::int64_t ctx = 512;
  std::int64_t stride = 0;  // 0: the convention's own
  std::int64_t limit = 0;   // windows at most, from the first on; 0: all
};

// The stride in effect, and the longest window. Fails: UsageError for rules that make no sense.
std::int64_t effective_stride(const WindowRules& rules);
std::int64_t window_length(const WindowRules& rules);

// adds_bos: whether the tokenizer puts BOS first. Fails: Error at `place` when the text has fewer
// tokens than the convention asks for.
std::vector<Window> make_windows(const WindowRules& rules, std::int64_t tokens, bool adds_bos,
                                 std::string_view place);

std::int64_t count_targets(const std::vector<Window>& windows);
std::int64_t count_reads(const std::vector<Window>& windows);  // tokens that go through the model

// What counts, in words, for the output.
std::string describe_windows(const WindowRules& rules, bool adds_bos);

}  // namespace qx
