// SPDX-License-Identifier: Apache-2.0
#include "bench_run.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/random.h"
#include "generate/generate.h"
#include "machine/peaks.h"

namespace qx::cli {
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class Bench {
 public:
  Bench(Model& model, const BenchSettings& settings)
      : model_(model),
        settings_(settings),
        logits_(static_cast<std::size_t>(model.config().vocab_size)) {
    Random random(1);
    const std::int64_t longest = std::max(settings.prompt, settings.depth + settings.generate);
    tokens_.resize(static_cast<std::size_t>(std::max<std::int64_t>(1, longest)));
    for (TokenId& t : tokens_) {
      t = static_cast<TokenId>(random.below(static_cast<std::uint64_t>(logits_.size())));
    }
  }

  double prompt() {
    const auto segment = model_.new_segment(nullptr, settings_.prompt);
    const Stopwatch watch;
    feed(*segment, 0, settings_.prompt, true);
    return watch.seconds();
  }

  double generate(std::int64_t count) {
    const auto segment = model_.new_segment(nullptr, settings_.depth + count);
    if (settings_.depth > 0) feed(*segment, 0, settings_.depth, false);
    const Stopwatch watch;
    for (std::int64_t i = 0; i < count; ++i) feed(*segment, settings_.depth + i, 1, true);
    return watch.seconds();
  }

 private:
  void feed(KvSegment& segment, std::int64_t first, std::int64_t count, bool logits) {
    check_interrupt();
    const std::int32_t last[] = {static_cast<std::int32_t>(count - 1)};
    const std::span<const TokenId> tokens(tokens_.data() + first, static_cast<std::size_t>(count));
    const Chunk chunk{&segment, tokens, last};
    const Hidden hidden = model_.forward({&chunk, 1});
    if (logits) model_.logits(hidden.row(0), logits_);
  }

  Model& model_;
  const BenchSettings& settings_;
  std::vector<float> logits_;
  std::vector<TokenId> tokens_;
};

double read_now(const ReadBuffer& buffer) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    check_interrupt();
    best = std::max(best, buffer.measure_gbs(best_probes()));
  }
  return best;
}

void compute_now(int threads, MachinePeaks& peaks) {
  const ProbeTable& probes = best_probes();
  const ProbeEffort effort{threads, 4, 15};
  if (probes.int8.run == nullptr) return;
  peaks.int8_gmacs.push_back(measure_gmacs(probes.int8, effort));
  peaks.int16_gmacs.push_back(measure_gmacs(probes.int16, effort));
  peaks.f32_gmacs.push_back(measure_gmacs(probes.f32, effort));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n == 0 ? 0.0 : (values[(n - 1) / 2] + values[n / 2]) / 2;
}

// Tokens a second: median, least and most of the repetitions; null when there was none.
void add_rates(Json& out, std::int64_t tokens, const std::vector<double>& seconds) {
  out["tokens"] = tokens;
  for (const char* key : {"median_tps", "min_tps", "max_tps"}) out[key] = nullptr;
  if (seconds.empty()) return;
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back(static_cast<double>(tokens) / s);
  const auto [least, most] = std::minmax_element(rates.begin(), rates.end());
  out["median_tps"] = median(rates);
  out["min_tps"] = *least;
  out["max_tps"] = *most;
}

// The median over rounds of amount / seconds / peak, all of one round.
Json share(double amount, const std::vector<double>& seconds, const std::vector<double>& peaks) {
  if (peaks.empty() || peaks.size() != seconds.size()) return nullptr;
  std::vector<double> ratios;
  for (std::size_t i = 0; i < peaks.size(); ++i) ratios.push_back(amount / seconds[i] / peaks[i]);
  return median(ratios);
}

Json middle(const std::vector<double>& values) {
  return values.empty() ? Json() : Json(median(values));
}

Json most(const std::vector<double>& values) {
  return values.empty() ? Json() : Json(*std::max_element(values.begin(), values.end()));
}

}  // namespace

void run_bench(Model& model, ThreadPool& pool, const BenchSettings& settings, BenchTimes& times,
               MachinePeaks& peaks) {
  Bench bench(model, settings);
  Progress progress("measuring", static_cast<std::uint64_t>(settings.repeats + 1), "rounds",
                    settings.quiet);
  // Once without counting: pages of the weights come in, scratch memory and the longest context
  // are taken.
  const bool long_generation = settings.depth + settings.generate > settings.prompt;
  if (settings.prompt > 0) times.first_prompt = bench.prompt();
  if (settings.generate > 0) {
    bench.generate(long_generation ? settings.generate
                                   : std::min<std::int64_t>(settings.generate, 4));
  }
  times.peak_rss_bytes = peak_memory_bytes();
  progress.advance();

  std::optional<ReadBuffer> buffer;
  if (settings.machine) {
    buffer.emplace(ReadBuffer::sensible_bytes(), pool.threads());
    peaks.isa = best_probes().name;
  }
  for (std::int64_t r = 0; r < settings.repeats; ++r) {
    const double before = buffer ? read_now(*buffer) : 0;
    if (settings.generate > 0) times.generate.push_back(bench.generate(settings.generate));
    if (buffer) peaks.read_gbs.push_back((before + read_now(*buffer)) / 2);
    if (settings.prompt > 0) times.prompt.push_back(bench.prompt());
    if (buffer) compute_now(pool.threads(), peaks);
    progress.advance();
  }
}

Json prompt_json(const BenchTimes& times, const BenchSettings& settings, const TokenCost& cost,
                 const MachinePeaks& peaks) {
  Json out = Json::object();
  add_rates(out, settings.prompt, times.prompt);
  if (times.prompt.empty()) return out;
  const double median_s = static_cast<double>(settings.prompt) / out["median_tps"].get<double>();
  // The last layer finishes only the one token whose logits are wanted.
  const double macs =
      static_cast<double>(settings.prompt) * static_cast<double>(cost.layer_macs) -
      static_cast<double>(settings.prompt - 1) * static_cast<double>(cost.last_layer_macs);
  out["time_to_first_token_s"] = median_s;
  out["gmacs"] = macs * 1e-9 / median_s;
  out["share_of_int8"] = share(macs * 1e-9, times.prompt, peaks.int8_gmacs);
  out["share_of_int16"] = share(macs * 1e-9, times.prompt, peaks.int16_gmacs);
  out["share_of_f32"] = share(macs * 1e-9, times.prompt, peaks.f32_gmacs);
  return out;
}

Json generation_json(const BenchTimes& times, const BenchSettings& settings, const TokenCost& cost,
                     const MachinePeaks& peaks) {
  Json out = Json::object();
  add_rates(out, settings.generate, times.generate);
  out["context"] = settings.depth;
  out["bytes_per_token"] = cost.weight_bytes;
  out["gbs"] = nullptr;
  out["share_of_read"] = nullptr;
  if (times.generate.empty()) return out;
  out["gbs"] = static_cast<double>(cost.weight_bytes) * out["median_tps"].get<double>() * 1e-9;
  const double read = static_cast<double>(cost.weight_bytes * settings.generate) * 1e-9;
  out["share_of_read"] = share(read, times.generate, peaks.read_gbs);
  return out;
}

Json machine_json(const MachinePeaks& peaks, int threads) {
  return {{"cpu", processor_name()},
          {"isa", peaks.isa.empty() ? Json() : Json(peaks.isa)},
          {"threads", threads},
          {"read_gbs", middle(peaks.read_gbs)},
          {"int8_gmacs", middle(peaks.int8_gmacs)},
          {"int16_gmacs", middle(peaks.int16_gmacs)},
          {"f32_gmacs", middle(peaks.f32_gmacs)},
          {"read_gbs_max", most(peaks.read_gbs)},
          {"int8_gmacs_max", most(peaks.int8_gmacs)},
          {"int16_gmacs_max", most(peaks.int16_gmacs)},
          {"f32_gmacs_max", most(peaks.f32_gmacs)}};
}

}  // namespace qx::cli
