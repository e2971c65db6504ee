// SPDX-License-Identifier: Apache-2.0
#include "distance/divergence.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "distance/passes.h"
#include "distance/row_blocks.h"
#include "distance/row_math.h"

namespace qx {
namespace {

constexpr std::size_t kTop = 5;

std::vector<TokenProbability> top_of(std::span<const float> logits, const RowSum& sum) {
  std::vector<TokenProbability> top;
  for (const std::int32_t i : largest(logits, kTop)) {
    top.push_back(
        {i, std::exp(static_cast<double>(logits[static_cast<std::size_t>(i)]) - sum.log_sum)});
  }
  return top;
}

// The logits of some rows of one model, and what they compare to.
class Comparison {
 public:
  Comparison(const MeasuredText& text, std::string base_name, std::int64_t vocab,
             const DivergenceRules& rules, ThreadPool& pool)
      : text_(text),
        base_name_(std::move(base_name)),
        vocab_(static_cast<std::size_t>(vocab)),
        rules_(rules),
        pool_(pool) {
    std::size_t window = 0;
    for (const std::int64_t count : text.counts) {
      windows_.insert(windows_.end(), static_cast<std::size_t>(count), window++);
    }
  }

  // targets: of the rows.
  void add_rows(std::span<const float> base, std::span<const float> variant,
                std::span<const std::int64_t> targets, const std::string& name, Divergence& out) {
    std::vector<RowPair> pairs(targets.size());
    pool_.parallel_for(targets.size(), 1, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t r = begin; r < end; ++r) {
        pairs[r] = compare_rows(row(base, r), row(variant, r));
      }
    });
    for (std::size_t r = 0; r < targets.size(); ++r) {
      const RowPair& pair = pairs[r];
      require_finite(pair, targets[r], name);
      const auto token =
          static_cast<std::size_t>(text_.tokens[static_cast<std::size_t>(targets[r])]);
      WorstPlace place{targets[r],
                       windows_[out.kl.size()],
                       pair.kl,
                       pair.base.log_sum - static_cast<double>(row(base, r)[token]),
                       pair.variant.log_sum - static_cast<double>(row(variant, r)[token]),
                       {},
                       {}};
      out.kl.push_back(pair.kl);
      out.loss_base.push_back(place.loss_base);
      out.loss.push_back(place.loss);
      out.same_top.push_back(pair.base.best == pair.variant.best);
      if (is_among_worst(place, out)) {
        place.top_base = top_of(row(base, r), pair.base);
        place.top = top_of(row(variant, r), pair.variant);
        insert_worst(std::move(place), out);
      }
    }
  }

 private:
  std::span<const float> row(std::span<const float> rows, std::size_t r) const {
    return rows.subspan(r * vocab_, vocab_);
  }

  void require_finite(const RowPair& pair, std::int64_t target, const std::string& name) const {
    if (std::isfinite(pair.kl)) return;
    const bool base_broken = !std::isfinite(pair.base.log_sum);
    fail(
        fmt::format("{}, token {}", text_.request.file.string(), target),
        "{} gave logits that are NaN or infinite, expected finite ones; its weights may be damaged",
        base_broken ? base_name_ : name);
  }

  bool is_among_worst(const WorstPlace& place, const Divergence& out) const {
    return rules_.worst > 0 && (out.worst.size() < rules_.worst || place.kl > out.worst.back().kl);
  }

  // Places come in the order of the text, so an equal one belongs behind.
  void insert_worst(WorstPlace place, Divergence& out) const {
    const auto at =
        std::upper_bound(out.worst.begin(), out.worst.end(), place.kl,
                         [](double kl, const WorstPlace& other) { return kl > other.kl; });
    out.worst.insert(at, std::move(place));
    if (out.worst.size() > rules_.worst) out.worst.pop_back();
  }

  const MeasuredText& text_;
  std::string base_name_;
  std::size_t vocab_;
  DivergenceRules rules_;
  ThreadPool& pool_;
  std::vector<std::size_t> windows_;  // of each target
};

}  // namespace

void store_base_states(Model& base, const MeasuredText& text, std::int64_t pass_tokens,
                       StatesWriter& writer, const OnTokens& on_tokens) {
  PassRunner runner(base, text.tokens, text.windows, text.bos);
  for (const TextPass& pass : plan_passes(text.windows, pass_tokens)) {
    writer.append(runner.run(pass));
    on_tokens(pass.reads);
  }
}

std::vector<Divergence> measure_divergence(Model& base, const BaseStates* states,
                                           std::span<Model* const> variants,
                                           std::span<const std::string> names,
                                           const MeasuredText& text, const DivergenceRules& rules,
                                           ThreadPool& pool, const OnTokens& on_tokens) {
  QX_CHECK(names.size() == variants.size());
  const std::int64_t vocab = base.config().vocab_size, most = block_rows(vocab);
  Comparison comparison(text, "the base", vocab, rules, pool);
  std::vector<Divergence> out(variants.size());
  std::vector<float> base_logits(static_cast<std::size_t>(most * vocab)), logits(base_logits);
  std::vector<PassRunner> runners;
  for (Model* model : variants) {
    QX_CHECK(model->config().vocab_size == vocab);
    runners.emplace_back(*model, text.tokens, text.windows, text.bos);
  }
  PassRunner base_runner(base, text.tokens, text.windows, text.bos);
  std::int64_t done = 0;
  for (const TextPass& pass : plan_passes(text.windows, rules.pass_tokens)) {
    const auto count = static_cast<std::int64_t>(pass.targets.size());
    const Hidden base_hidden =
        states != nullptr ? states->read(done, count) : base_runner.run(pass);
    if (states == nullptr) on_tokens(pass.reads);
    std::vector<Hidden> hidden;
    for (PassRunner& runner : runners) {
      hidden.push_back(runner.run(pass));
      on_tokens(pass.reads);
    }
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t rows = std::min(most, count - first);
      const auto size = static_cast<std::size_t>(rows * vocab);
      const auto targets =
          std::span<const std::int64_t>(pass.targets)
              .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
      base.logits_rows(base_hidden, first, rows, std::span(base_logits).first(size));
      for (std::size_t v = 0; v < variants.size(); ++v) {
        variants[v]->logits_rows(hidden[v], first, rows, std::span(logits).first(size));
        comparison.add_rows(std::span<const float>(base_logits).first(size),
                            std::span<const float>(logits).first(size), targets, names[v], out[v]);
      }
    }
    done += count;
  }
  return out;
}

}  // namespace qx
