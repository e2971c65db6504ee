// SPDX-License-Identifier: Apache-2.0
#include "distance/windows.h"

#include <algorithm>

#include "base/error.h"

namespace qx {
namespace {

// tools/perplexity/perplexity.cpp of llama.cpp, perplexity(): two windows at least.
void add_llama_cpp(const WindowRules& rules, std::int64_t tokens, bool adds_bos,
                   std::vector<Window>& out) {
  for (std::int64_t begin = 0; begin + rules.ctx <= tokens; begin += rules.ctx) {
    out.push_back({begin, begin + rules.ctx, begin + rules.ctx / 2 + 1, adds_bos});
  }
}

// perplexity_v2() there. It puts BOS into the token list only after the batch was filled from it, so
// the model never reads it.
void add_llama_cpp_strided(const WindowRules& rules, std::int64_t tokens,
                           std::vector<Window>& out) {
  const std::int64_t length = window_length(rules);
  for (std::int64_t begin = 0; begin < tokens - length; begin += rules.stride) {
    out.push_back({begin, begin + length, begin + length - rules.stride, false});
  }
}

void add_mlx_lm(const WindowRules& rules, std::int64_t tokens, std::vector<Window>& out) {
  for (std::int64_t begin = 0; begin + rules.ctx <= tokens; begin += rules.ctx) {
    out.push_back({begin, begin + rules.ctx, begin + 1, false});
  }
}

void add_sliding(const WindowRules& rules, std::int64_t tokens, std::vector<Window>& out) {
  const std::int64_t stride = effective_stride(rules);
  std::int64_t counted = 1;  // the text's first token has nothing before it
  for (std::int64_t begin = 0; counted < tokens; begin += stride) {
    const std::int64_t end = std::min(begin + rules.ctx, tokens);
    const std::int64_t first = std::max(counted, begin + 1);
    if (first < end) out.push_back({begin, end, first, false});
    counted = end;
  }
}

}  // namespace

std::string_view convention_name(WindowConvention convention) {
  switch (convention) {
    case WindowConvention::kLlamaCpp:
      return "llama.cpp";
    case WindowConvention::kMlxLm:
      return "mlx-lm";
    case WindowConvention::kSliding:
      return "sliding";
  }
  return "";
}

std::int64_t effective_stride(const WindowRules& rules) {
  const bool llama = rules.convention == WindowConvention::kLlamaCpp;
  const std::int64_t least = llama ? 3 : 2;
  if (rules.ctx < least) {
    throw UsageError(fmt::format("--ctx: got {}, expected {} or more with --convention {}",
                                 rules.ctx, least, convention_name(rules.convention)));
  }
  if (rules.stride == 0) {
    return rules.convention == WindowConvention::kSliding ? rules.ctx / 2 : rules.ctx;
  }
  if (rules.convention == WindowConvention::kMlxLm && rules.stride != rules.ctx) {
    throw UsageError(
        "--stride: mlx-lm's windows lie side by side; expected --convention sliding or llama.cpp");
  }
  if (rules.stride < 1 || rules.stride > rules.ctx) {
    throw UsageError(
        fmt::format("--stride: got {}, expected 1 to {}, the --ctx", rules.stride, rules.ctx));
  }
  return rules.stride;
}

std::int64_t window_length(const WindowRules& rules) {
  const bool strided = rules.convention == WindowConvention::kLlamaCpp && rules.stride > 0;
  effective_stride(rules);
  return strided ? rules.ctx + rules.stride / 2 : rules.ctx;
}

std::vector<Window> make_windows(const WindowRules& rules, std::int64_t tokens, bool adds_bos,
                                 std::string_view place) {
  const std::int64_t length = window_length(rules);
  std::vector<Window> windows;
  std::int64_t least = 2;
  switch (rules.convention) {
    case WindowConvention::kLlamaCpp:
      // As llama.cpp, which refuses less than two windows.
      least = 2 * length;
      if (tokens < least) break;
      if (rules.stride > 0) {
        add_llama_cpp_strided(rules, tokens, windows);
      } else {
        add_llama_cpp(rules, tokens, adds_bos, windows);
      }
      break;
    case WindowConvention::kMlxLm:
      least = length;
      add_mlx_lm(rules, tokens, windows);
      break;
    case WindowConvention::kSliding:
      add_sliding(rules, tokens, windows);
      break;
  }
  if (windows.empty()) {
    fail(place,
         "got a text of {} tokens, expected {} or more with --convention {} and windows of {}; "
         "take a longer text, a smaller --ctx{}",
         tokens, least, convention_name(rules.convention), length,
         rules.convention == WindowConvention::kSliding ? "" : ", or --convention sliding");
  }
  if (rules.limit > 0 && static_cast<std::int64_t>(windows.size()) > rules.limit) {
    windows.resize(static_cast<std::size_t>(rules.limit));
  }
  return windows;
}

std::int64_t count_targets(const std::vector<Window>& windows) {
  std::int64_t targets = 0;
  for (const Window& w : windows) targets += w.end - w.first_target;
  return targets;
}

std::int64_t count_reads(const std::vector<Window>& windows) {
  std::int64_t reads = 0;
  for (const Window& w : windows) reads += w.end - 1 - w.begin;
  return reads;
}

std::string describe_windows(const WindowRules& rules, bool adds_bos) {
  const std::int64_t stride = effective_stride(rules), length = window_length(rules);
  switch (rules.convention) {
    case WindowConvention::kLlamaCpp:
      if (rules.stride > 0) {
        return fmt::format("the last {} tokens of each window of {} tokens, one every {} tokens",
                           stride, length, stride);
      }
      return fmt::format("tokens {} to {} (from 0) of each window of {} tokens, side by side{}",
                         length / 2 + 1, length - 1, length,
                         adds_bos ? ", BOS in place of the first" : "");
    case WindowConvention::kMlxLm:
      return fmt::format("all but the first token of each window of {} tokens, side by side",
                         length);
    case WindowConvention::kSliding:
      return fmt::format(
          "each token once, in the first window that holds it; windows of {} tokens, one every {}",
          length, stride);
  }
  return "";
}

}  // namespace qx
