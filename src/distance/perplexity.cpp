// SPDX-License-Identifier: Apache-2.0
#include "distance/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "distance/passes.h"
#include "distance/row_blocks.h"
#include "distance/row_math.h"

namespace qx {

std::vector<double> target_losses(Model& model, const MeasuredText& text, ThreadPool& pool,
                                  std::int64_t pass_tokens, const OnTokens& on_tokens) {
  const std::int64_t vocab = model.config().vocab_size, most = block_rows(vocab);
  std::vector<float> logits(static_cast<std::size_t>(most * vocab));
  std::vector<double> losses;
  losses.reserve(static_cast<std::size_t>(text.targets()));
  PassRunner runner(model, text.tokens, text.windows, text.bos);
  for (const TextPass& pass : plan_passes(text.windows, pass_tokens)) {
    const Hidden hidden = runner.run(pass);
    for (std::int64_t first = 0; first < hidden.rows; first += most) {
      const auto rows = static_cast<std::size_t>(std::min(most, hidden.rows - first));
      const auto row_of = [&](std::size_t r) {
        return std::span<const float>(logits).subspan(r * static_cast<std::size_t>(vocab),
                                                      static_cast<std::size_t>(vocab));
      };
      model.logits_rows(hidden, first, static_cast<std::int64_t>(rows),
                        std::span(logits).first(rows * static_cast<std::size_t>(vocab)));
      const std::size_t done = losses.size();
      losses.resize(done + rows);
      const auto target_of = [&](std::size_t r) {
        return pass.targets[static_cast<std::size_t>(first) + r];
      };
      pool.parallel_for(rows, 1, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t r = begin; r < end; ++r) {
          const TokenId token = text.tokens[static_cast<std::size_t>(target_of(r))];
          losses[done + r] = sum_row(row_of(r)).log_sum -
                             static_cast<double>(row_of(r)[static_cast<std::size_t>(token)]);
        }
      });
      for (std::size_t r = 0; r < rows; ++r) {
        if (!std::isfinite(losses[done + r])) {
          fail(fmt::format("{}, token {}", text.request.file.string(), target_of(r)),
               "got logits that are NaN or infinite, expected finite ones; the model's weights may "
               "be damaged");
        }
      }
    }
    on_tokens(pass.reads);
  }
  return losses;
}

Perplexity perplexity_of(std::span<const double> losses, std::span<const std::int64_t> counts) {
  const Estimate loss = estimate_mean(losses, counts);
  const double ppl = std::exp(loss.mean);
  return {ppl, ppl * loss.stderr_tokens, ppl * loss.stderr_windows, loss};
}

}  // namespace qx
