// From values of tokens to the fields of the output.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "distance/divergence.h"
#include "distance/statistics.h"
#include "stats/stats.h"

namespace qx {
namespace {

constexpr std::int64_t kContextTokens = 24;  // shown before a worst place
constexpr double kQuantiles[] = {0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999};

// {"p0.1": .., .. "p99.9": ..}
Json quantiles_json(const std::vector<double>& sorted) {
  Json json = Json::object();
  for (const double fraction : kQuantiles) {
    json[fmt::format("p{:g}", fraction * 100)] = quantile(sorted, fraction);
  }
  return json;
}

std::vector<double> sorted_copy(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values;
}

void put_estimate(Json& json, const std::string& name, const Estimate& estimate) {
  json[name] = estimate.mean;
  json[name + "_stderr"] = json_of_number(estimate.stderr_tokens);
  json[name + "_stderr_windows"] = json_of_number(estimate.stderr_windows);
}

void put_kl(Json& json, const Divergence& d, const MeasuredText& text) {
  const Estimate kl = estimate_mean(d.kl, text.counts);
  const std::vector<double> sorted = sorted_copy(d.kl);
  json["kl_mean"] = kl.mean;
  json["kl_stderr"] = json_of_number(kl.stderr_tokens);
  json["kl_stderr_windows"] = json_of_number(kl.stderr_windows);
  json["kl_median"] = quantile(sorted, 0.5);
  json["kl_p90"] = quantile(sorted, 0.9);
  json["kl_p95"] = quantile(sorted, 0.95);
  json["kl_p99"] = quantile(sorted, 0.99);
  json["kl_max"] = sorted.back();
  json["kl_min"] = sorted.front();
  json["kl_percentiles"] = quantiles_json(sorted);
}

void put_agreement(Json& json, const Divergence& d, const MeasuredText& text) {
  const std::vector<double> same(d.same_top.begin(), d.same_top.end());
  const Estimate agreement = estimate_mean(same, text.counts);
  const auto n = static_cast<std::int64_t>(same.size());
  const std::int64_t agreed = std::count(d.same_top.begin(), d.same_top.end(), 1);
  const Interval wilson = wilson_interval(agreed, n, 0.95);
  put_estimate(json, "top1_agreement", agreement);
  json["top1_ci"] = {wilson.low, wilson.high};
  if (std::isfinite(agreement.stderr_windows)) {
    const double half = 1.959963984540054 * agreement.stderr_windows;
    json["top1_ci_windows"] = {std::max(0.0, agreement.mean - half),
                               std::min(1.0, agreement.mean + half)};
  } else {
    json["top1_ci_windows"] = nullptr;
  }
}

void put_perplexities(Json& json, const Divergence& d, const MeasuredText& text) {
  const auto put = [&](const std::string& name, const std::vector<double>& losses) {
    const Perplexity p = perplexity_of(losses, text.counts);
    json[name] = p.ppl;
    json[name + "_stderr"] = json_of_number(p.stderr_tokens);
    json[name + "_stderr_windows"] = json_of_number(p.stderr_windows);
  };
  put("ppl", d.loss);
  put("ppl_base", d.loss_base);
  std::vector<double> difference(d.loss.size());
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = d.loss[i] - d.loss_base[i];
  // Paired: the variance of the difference has the covariance in it.
  put_estimate(json, "ln_ppl_ratio", estimate_mean(difference, text.counts));
}

void put_probability_change(Json& json, const Divergence& d, const MeasuredText& text) {
  std::vector<double> change(d.loss.size()), square(d.loss.size());
  for (std::size_t i = 0; i < change.size(); ++i) {
    change[i] = std::exp(-d.loss[i]) - std::exp(-d.loss_base[i]);
    square[i] = change[i] * change[i];
  }
  put_estimate(json, "delta_p", estimate_mean(change, text.counts));
  const Estimate mean_square = estimate_mean(square, text.counts);
  const double rms = std::sqrt(mean_square.mean);
  json["delta_p_rms"] = rms;
  // d sqrt(x) = dx / (2 sqrt(x)), as llama.cpp.
  json["delta_p_rms_stderr"] = json_of_number(mean_square.stderr_tokens / (2 * rms));
  json["delta_p_rms_stderr_windows"] = json_of_number(mean_square.stderr_windows / (2 * rms));
  json["delta_p_percentiles"] = quantiles_json(sorted_copy(std::move(change)));
}

// What paired comparisons of variants need: the sums' means, window by window.
Json window_list_json(const Divergence& d, const MeasuredText& text) {
  Json list = Json::array();
  std::size_t at = 0;
  for (const std::int64_t count : text.counts) {
    double kl = 0, same = 0, loss = 0, loss_base = 0;
    for (std::int64_t i = 0; i < count; ++i, ++at) {
      kl += d.kl[at];
      same += d.same_top[at];
      loss += d.loss[at];
      loss_base += d.loss_base[at];
    }
    const auto n = static_cast<double>(count);
    list.push_back({{"tokens", count},
                    {"kl", kl / n},
                    {"top1", same / n},
                    {"loss", loss / n},
                    {"loss_base", loss_base / n}});
  }
  return list;
}

Json top_json(const std::vector<TokenProbability>& top, const Tokenizer& tokenizer) {
  Json list = Json::array();
  for (const TokenProbability& t : top) {
    Json entry;
    entry["id"] = t.token;
    entry["text"] = tokenizer.decode({&t.token, 1}, DecodeSpecial::kKeep);
    entry["p"] = t.probability;
    list.push_back(std::move(entry));
  }
  return list;
}

Json place_json(const WorstPlace& place, const MeasuredText& text, const Tokenizer& tokenizer) {
  const std::span<const TokenId> tokens = text.tokens;
  const std::int64_t begin =
      std::max(text.windows[place.window].begin, place.target - kContextTokens);
  const auto at = static_cast<std::size_t>(place.target);
  const auto from = static_cast<std::size_t>(begin);
  Json json;
  json["token"] = place.target;
  json["window"] = place.window;
  json["kl"] = place.kl;
  json["id"] = tokens[at];
  json["text"] = tokenizer.decode(tokens.subspan(at, 1), DecodeSpecial::kKeep);
  json["context"] = tokenizer.decode(tokens.subspan(from, at - from), DecodeSpecial::kKeep);
  json["p_base"] = std::exp(-place.loss_base);
  json["p"] = std::exp(-place.loss);
  json["top_base"] = top_json(place.top_base, tokenizer);
  json["top"] = top_json(place.top, tokenizer);
  return json;
}

}  // namespace

Json divergence_json(const Divergence& divergence, const MeasuredText& text,
                     const Tokenizer& tokenizer) {
  QX_CHECK(static_cast<std::int64_t>(divergence.kl.size()) == text.targets());
  Json json;
  json["tokens"] = divergence.kl.size();
  put_kl(json, divergence, text);
  put_agreement(json, divergence, text);
  put_perplexities(json, divergence, text);
  put_probability_change(json, divergence, text);
  json["by_window"] = window_list_json(divergence, text);
  json["worst"] = Json::array();
  for (const WorstPlace& place : divergence.worst) {
    json["worst"].push_back(place_json(place, text, tokenizer));
  }
  return json;
}

}  // namespace qx
