// Speed, memory and the distance from the base, where they were measured.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "card/card_text.h"
#include "card/sections.h"

namespace qx {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string own_mark(const CardFacts& facts, std::size_t r) {
  std::string name = run_text(facts, r);
  return r == facts.self() ? "**" + name + "**" : name;
}

std::string speed(const CardFacts& facts) {
  Rows rows;
  for (const std::size_t r : column_order(facts)) {
    if (!facts.runs[r].speed) continue;
    const SpeedFacts& s = *facts.runs[r].speed;
    rows.push_back({own_mark(facts, r),
                    s.prompt_tokens > 0 ? fmt::format("{:.1f}", s.prefill_tps) : "",
                    s.generated_tokens > 0 ? fmt::format("{:.1f}", s.decode_tps) : "",
                    fmt::format("{}", s.prompt_tokens), fmt::format("{}", s.generated_tokens),
                    bytes_text(s.peak_rss_bytes), markdown_text(s.precision), markdown_text(s.isa),
                    fmt::format("{}", s.threads), markdown_text(s.cpu)});
  }
  if (!facts.own().speed) return "";
  return "## Speed\n\nMedian tokens per second of `qx bench` and its peak memory; the columns on "
         "the "
         "right say on what. Other machines\nand other programs differ.\n\n" +
         markdown_table({"model", "prompt tokens/s", "generated tokens/s", "prompt", "generated",
                         "peak memory", "precision", "kernels", "threads", "processor"},
                        rows, {true, false, false, false, false, false, true, true, false, true});
}

std::string distance(const CardFacts& facts) {
  if (!facts.own().distance) return "";
  Rows rows;
  for (const std::size_t r : column_order(facts)) {
    if (!facts.runs[r].distance) continue;
    const DistanceFacts& d = *facts.runs[r].distance;
    rows.push_back({own_mark(facts, r), fmt::format("{:.4f} ± {:.4f}", d.kl_mean, d.kl_stderr),
                    fmt::format("{:.4f}", d.kl_median), fmt::format("{:.3f}", d.kl_p99),
                    fmt::format("{:.2f} %", 100 * d.top1_agreement),
                    fmt::format("{:.3f} ± {:.3f}", d.ppl, d.ppl_stderr),
                    fmt::format("{:.3f}", d.ppl_base), fmt::format("{}", d.tokens),
                    code_text(d.text_sha256.substr(0, 16))});
  }
  return "## Distance from the base\n\nOf the next-token distributions on one text: "
         "Kullback-Leibler divergence from the base in nats a token, how often\nboth find the same "
         "token most likely, and the perplexity of the text.\n\n" +
         markdown_table({"model", "mean KL", "median KL", "99th percentile KL", "top token agrees",
                         "perplexity", "of the base", "tokens", "SHA-256 of the text"},
                        rows);
}

}  // namespace

std::string card_measurements(const CardFacts& facts) {
  const std::string far = distance(facts), fast = speed(facts);
  return far + (far.empty() || fast.empty() ? "" : "\n") + fast;
}

}  // namespace qx
