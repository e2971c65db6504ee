// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibrate.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/build_info.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "calibrate/calibration_state.h"
#include "calibrate/calibration_text.h"
#include "calibrate/second_moments.h"
#include "calibrate/token_weights.h"
#include "fit/calibration_file.h"
#include "gradient/gradient_pass.h"
#include "gradient/sampled_loss.h"
#include "io/posix_file.h"
#include "io/safetensors.h"
#include "io/staged.h"
#include "model/cpu_model.h"
#include "model/memory_need.h"
#include "runs/model_facts.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kDefaultMemory = std::int64_t{4} << 30;  // where the machine's is unknown

// Consecutive inputs whose sums fit together.
std::vector<std::vector<LinearInputShape>> group_inputs(const std::vector<LinearInputShape>& inputs,
                                                        std::int64_t memory) {
  std::vector<std::vector<LinearInputShape>> groups;
  std::int64_t taken = 0;
  for (const LinearInputShape& input : inputs) {
    const std::int64_t bytes =
        triangle_size(input.width) * static_cast<std::int64_t>(sizeof(double));
    if (bytes > memory) {
      fail(
          fmt::format("input '{}'", input.name),
          "its sums take {} MB, expected no more than the {} MB of memory; give more with --memory",
          bytes / 1'000'000, memory / 1'000'000);
    }
    if (groups.empty() || taken + bytes > memory) {
      groups.emplace_back();
      taken = 0;
    }
    groups.back().push_back(input);
    taken += bytes;
  }
  return groups;
}

std::int64_t memory_for_sums(const CalibrateRequest& request) {
  if (request.memory_bytes > 0) return request.memory_bytes;
  const MachineMemory machine = limited_memory();
  return machine.physical == 0 ? kDefaultMemory : machine.available / 2;
}

// What lies beside a target in the making. Each attempt writes a file of its own, and the state names
// the attempt that it speaks of.
struct Places {
  fs::path target, state;
  std::string partial_name;
  explicit Places(const fs::path& absolute) : target(absolute) {
    const std::string stem = "." + target.filename().string();
    partial_name = stem + ".qx-partial-";
    state = target.parent_path() / (stem + ".qx-state");
  }
  fs::path partial(std::int64_t attempt) const {
    return target.parent_path() / (partial_name + std::to_string(attempt));
  }
  // All of it but these attempts' files, and without them the state too. Never fails.
  void remove(std::initializer_list<std::int64_t> but) const {
    std::error_code ignored;
    fs::remove(state.string() + ".new", ignored);
    if (but.size() == 0) fs::remove(state, ignored);
    std::vector<fs::path> old;
    for (fs::directory_iterator it(target.parent_path(), ignored), end; it != end;
         it.increment(ignored)) {
      if (it->path().filename().string().starts_with(partial_name)) old.push_back(it->path());
    }
    for (const std::int64_t attempt : but) std::erase(old, partial(attempt));
    for (const fs::path& path : old) fs::remove(path, ignored);
  }
};

// What sensitivity reads again: the windows, one after the other.
std::vector<std::uint32_t> window_tokens(const CalibrationText& text) {
  std::vector<std::uint32_t> out;
  for (const std::vector<TokenId>& window : text.windows) {
    for (const TokenId id : window) out.push_back(static_cast<std::uint32_t>(id));
  }
  return out;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Json info_json(const CalibrateRequest& request, const CalibrationText& text,
               const ModelFacts& facts) {
  Json info = {{"tokens", text.tokens}, {"windows", text.windows.size()}, {"ctx", request.ctx},
               {"skip", request.skip},  {"share", request.share},         {"text", text.json}};
  info["ngrams"] = {{"words", kNgramWords},
                    {"kept", text.ngrams.hashes().size()},
                    {"complete", text.ngrams.complete()}};
  info["model"] = {{"plan_hash", facts.plan_hash}, {"files", weight_files(facts.files)}};
  if (request.token_weights == TokenWeighting::kGradient) {
    info["token_weights"] = {{"kind", token_weighting_name(request.token_weights)},
                             {"seed", request.seed}};
  }
  info["qx"] = {{"version", build_info().version}, {"commit", build_info().commit}};
  return info;
}

// One calibration from the text to the file.
class CalibrationRun {
 public:
  CalibrationRun(const CalibrateRequest& request, ThreadPool& pool)
      : request_(request),
        pool_(pool),
        config_(load_model_config(request.model)),
        lock_(request.target, request.force),
        places_(lock_.target()),
        inputs_(linear_inputs(config_)) {}

  CalibrateReport run() {
    try {
      prepare();
      measure();
      if (!request_.force && fs::exists(places_.target)) {
        fail(places_.target.string(), "has appeared meanwhile; add --force to replace it");
      }
      fs::rename(places_.partial(state_.attempt), places_.target);
    } catch (...) {
      // What was kept stays for a resume; the rest goes.
      if (kept_) {
        places_.remove({*kept_});
      } else if (writer_) {
        places_.remove({});
      }
      throw;
    }
    sync_path(places_.target.parent_path());
    places_.remove({});
    return std::move(report_);
  }

 private:
  void prepare();
  void take_over(const StateFile& old);
  void measure();
  void weigh_tokens(const ModelWeights& weights);
  void run_pass(std::size_t pass, std::span<const LinearInputShape> group, CpuModel& model,
                Progress& progress);
  void run_window(CpuModel& model, const std::vector<TokenId>& window) const;
  void write_input(const LinearInputShape& input, std::span<const double> sum);
  void write_array(std::span<const float> values);
  void keep_if_due(const SecondMoments* sums);

  const CalibrateRequest& request_;
  ThreadPool& pool_;
  const ModelConfig config_;
  const OutputFileLock lock_;
  const Places places_;
  const std::vector<LinearInputShape> inputs_;
  CalibrationText text_;
  CalibrateReport report_;
  CalibrationState state_;
  std::optional<StateFile> old_;  // to go on from
  std::optional<TokenWeights> weights_;
  std::unique_ptr<SafetensorsWriter> writer_;
  std::size_t next_array_ = 0;
  double last_kept_ = 0;
  std::optional<std::int64_t> kept_;  // the attempt that the state beside the target speaks of
};

// What decides the file's bytes, but the text and the model, whose hashes are in the info.
Json request_json(const CalibrateRequest& r) {
  return {{"windows", r.windows}, {"ctx", r.ctx},
          {"skip", r.skip},       {"share", r.share},
          {"chat", r.chat},       {"token_weights", token_weighting_name(r.token_weights)},
          {"seed", r.seed},       {"text", r.text.empty() ? Json() : Json(sha256_file(r.text))}};
}

void require_room_for_gradients(const fs::path& model, const ModelConfig& config,
                                std::int64_t ctx) {
  const MachineMemory machine = limited_memory();
  const std::int64_t needed = gradient_pass_bytes(config, ctx);
  if (machine.physical == 0 || needed <= machine.available) return;
  fail(model.string(),
       "a backward pass needs {} MB beside the weights, expected at most the {} MB that are "
       "available; take a smaller --ctx, or --token-weights equal",
       needed / 1'000'000, machine.available / 1'000'000);
}

void CalibrationRun::prepare() {
  if (request_.ctx > config_.max_position_embeddings) {
    fail(request_.model.string(),
         "got windows of {} tokens, expected at most the model's {} positions", request_.ctx,
         config_.max_position_embeddings);
  }
  if (request_.token_weights == TokenWeighting::kGradient) {
    require_room_for_gradients(request_.model, config_, request_.ctx);
  }
  std::vector<std::int64_t> passes;
  for (const auto& group : group_inputs(inputs_, memory_for_sums(request_))) {
    passes.push_back(static_cast<std::int64_t>(group.size()));
  }
  const ModelFacts facts = measure_model(request_.model);
  Json identity = {{"request", request_json(request_)}, {"version", build_info().version}};
  if (!request_.text.empty()) {
    text_ = read_calibration_text(request_, config_.vocab_size);
    identity["tokenized text"] = json_member(text_.json, "used_sha256");
  }
  for (const auto& [name, hash] : facts.files) identity["file " + name] = hash;
  if (request_.resume) {
    std::string difference;
    old_ = StateFile::read(places_.state, identity, difference);
    // With less memory than before, passes are cut otherwise.
    if (old_ && old_->state().passes != passes && request_.memory_bytes > 0) {
      old_.reset();
      difference = "its passes differ";
    }
    if (!old_) report_.note = fmt::format("calibrating from the start ({})", difference);
  }
  if (old_) kept_ = old_->state().attempt;
  state_.identity = identity;
  state_.passes = old_ ? old_->state().passes : passes;
  if (request_.text.empty()) {
    text_ = sample_calibration_text(
        request_, config_.vocab_size,
        old_ ? old_->state().samples : std::vector<std::vector<TokenId>>{}, pool_);
    state_.samples = text_.windows;
  }
  report_.info = info_json(request_, text_, facts);
  report_.tokens = text_.tokens;
  report_.passes = static_cast<std::int64_t>(state_.passes.size());
  report_.inputs = static_cast<std::int64_t>(inputs_.size());
  report_.ngrams = text_.ngrams;
}

// The arrays of finished passes, from the file that was begun.
void CalibrationRun::take_over(const StateFile& old) {
  const fs::path path = places_.partial(old.state().attempt);
  const SafetensorsFile file(path);
  std::map<std::string, std::span<const std::byte>> arrays;
  for (const TensorView& view : file.tensors()) arrays[view.name] = view.data;
  std::int64_t count = 0;
  for (std::size_t p = 0; p < old.state().pass; ++p) count += old.state().passes.at(p);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string& name = inputs_.at(static_cast<std::size_t>(i)).name;
    for (const std::string& array : {moment_name(name), mean_square_name(name)}) {
      const std::span<const std::byte> bytes = arrays[array];  // none: fails below
      Sha256 hash;
      hash.update(bytes);
      const std::string hex = hash.hex();
      if (hex != old.state().checksums.at(next_array_)) {
        fail(path.string(),
             "tensor '{}' was damaged since it was written; start again without --resume", array);
      }
      writer_->write(next_array_++, 0, bytes);
      state_.checksums.push_back(hex);
    }
  }
  state_.pass = old.state().pass;
  state_.windows = old.state().windows;
}

void CalibrationRun::measure() {
  const std::vector<SafetensorsWriter::Entry> entries =
      calibration_entries(config_, {static_cast<std::int64_t>(text_.windows.size()), request_.ctx,
                                    static_cast<std::int64_t>(text_.ngrams.hashes().size())});
  for (const SafetensorsWriter::Entry& e : entries) {
    report_.file_bytes += *element_count(e.shape) * static_cast<std::int64_t>(dtype_bytes(e.dtype));
  }
  check_disk_space(places_.target, static_cast<std::uint64_t>(report_.file_bytes) + (1 << 20));
  if (old_) {
    state_.attempt = *kept_ + 1;
    places_.remove({*kept_});
  } else {
    places_.remove({});
  }
  writer_ = std::make_unique<SafetensorsWriter>(
      places_.partial(state_.attempt), entries,
      std::map<std::string, std::string>{{"format", kCalibrationFormat},
                                         {"info", dump_json(report_.info, -1, false, true)}});
  std::unique_ptr<ModelWeights> weights = load_weights(request_.model);
  if (old_) take_over(*old_);
  last_kept_ = seconds_now();
  if (request_.token_weights == TokenWeighting::kGradient) weigh_tokens(*weights);
  CpuModel model(std::move(weights), pool_, Precision::kReference);
  Progress progress("calibrating", static_cast<std::uint64_t>(text_.tokens * report_.passes),
                    "tokens", request_.quiet);
  std::size_t first = 0;
  for (std::size_t pass = 0; pass < state_.passes.size(); ++pass) {
    const auto count = static_cast<std::size_t>(state_.passes[pass]);
    if (pass >= state_.pass) {
      run_pass(pass, std::span(inputs_).subspan(first, count), model, progress);
    } else {
      report_.resumed_windows += static_cast<std::int64_t>(text_.windows.size());
      progress.advance(static_cast<std::uint64_t>(text_.tokens));
    }
    first += count;
  }
  writer_->write(next_array_++, 0, std::as_bytes(std::span<const std::uint32_t>(text_.counts)));
  const std::vector<std::uint32_t> tokens = window_tokens(text_);
  writer_->write(next_array_++, 0, std::as_bytes(std::span<const std::uint32_t>(tokens)));
  if (!text_.ngrams.hashes().empty()) {
    writer_->write(next_array_, 0,
                   std::as_bytes(std::span<const std::uint64_t>(text_.ngrams.hashes())));
  }
  writer_->finish();
}

void CalibrationRun::weigh_tokens(const ModelWeights& weights) {
  weights_.emplace(inputs_, text_.tokens, pool_);
  Progress progress("weighing tokens", static_cast<std::uint64_t>(text_.tokens), "tokens",
                    request_.quiet);
  if (old_ && old_->state().weights.size() == weights_->value_count()) {
    weights_->set_values(old_->state().weights);
    state_.weighed = std::min(old_->state().weighed, text_.windows.size());
    report_.resumed_windows += static_cast<std::int64_t>(state_.weighed);
    progress.advance(state_.weighed * static_cast<std::uint64_t>(request_.ctx));
  }
  GradientPass pass(weights, pool_);
  for (std::size_t& done = state_.weighed; done < text_.windows.size(); ++done) {
    keep_if_due(nullptr);
    weights_->begin(static_cast<std::int64_t>(done) * request_.ctx);
    pass.run(text_.windows[done],
             SampledLogProbability(request_.seed, done, config_.vocab_size, pool_), *weights_);
    progress.advance(text_.windows[done].size());
  }
  state_.weights = weights_->values();
  weights_->finish();
}

void CalibrationRun::run_pass(std::size_t pass, std::span<const LinearInputShape> group,
                              CpuModel& model, Progress& progress) {
  SecondMoments moments(group, pool_, weights_ ? &*weights_ : nullptr);
  std::size_t done = 0;
  if (old_ && pass == old_->state().pass && old_->state().windows > 0) {
    old_->load_sums(moments);
    done = old_->state().windows;
    moments.set_rows(static_cast<std::int64_t>(done) * request_.ctx);
    report_.resumed_windows += static_cast<std::int64_t>(done);
    progress.advance(static_cast<std::uint64_t>(moments.count(group.front().name)));
  }
  state_.pass = pass;
  model.set_observer(&moments);
  for (; done < text_.windows.size(); ++done) {
    state_.windows = done;
    keep_if_due(&moments);
    run_window(model, text_.windows[done]);
    progress.advance(text_.windows[done].size());
  }
  model.set_observer(nullptr);
  for (const LinearInputShape& input : group) {
    QX_CHECK(moments.count(input.name) == text_.tokens);
    write_input(input, moments.sum(input.name));
  }
}

// Between two windows. Fails: Interrupted, once what there is was kept.
void CalibrationRun::keep_if_due(const SecondMoments* sums) {
  if (interrupt_requested() || seconds_now() - last_kept_ >= request_.keep_seconds) {
    if (sums == nullptr) state_.weights = weights_->values();
    write_calibration_state(places_.state, state_, sums);
    kept_ = state_.attempt;
    places_.remove({*kept_});
    last_kept_ = seconds_now();
  }
  check_interrupt();
}

void CalibrationRun::run_window(CpuModel& model, const std::vector<TokenId>& window) const {
  const auto segment = model.new_segment(nullptr, static_cast<std::int64_t>(window.size()));
  std::vector<std::int32_t> outputs(window.size());
  std::iota(outputs.begin(), outputs.end(), 0);  // all rows, in the last layer too
  const Chunk chunk{segment.get(), window, outputs};
  model.forward({&chunk, 1});
}

void CalibrationRun::write_array(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  Sha256 hash;
  hash.update(bytes);
  state_.checksums.push_back(hash.hex());
  writer_->write(next_array_++, 0, bytes);
}

// The mean over the rows of one input, and its diagonal.
void CalibrationRun::write_input(const LinearInputShape& input, std::span<const double> sum) {
  std::vector<float> mean(sum.size()), diagonal;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    mean[i] = static_cast<float>(sum[i] / static_cast<double>(text_.tokens));
  }
  for (std::int64_t i = 0; i < input.width; ++i) {
    diagonal.push_back(mean[static_cast<std::size_t>(triangle_size(i + 1) - 1)]);
  }
  write_array(mean);
  write_array(diagonal);
}

}  // namespace

std::string_view token_weighting_name(TokenWeighting weighting) {
  return weighting == TokenWeighting::kGradient ? "gradient" : "equal";
}

TokenWeighting parse_token_weighting(std::string_view name) {
  for (const auto weighting : {TokenWeighting::kEqual, TokenWeighting::kGradient}) {
    if (token_weighting_name(weighting) == name) return weighting;
  }
  throw UsageError(fmt::format("--token-weights: got '{}', expected equal or gradient", name));
}

CalibrateReport calibrate(const CalibrateRequest& request, ThreadPool& pool) {
  return CalibrationRun(request, pool).run();
}

}  // namespace qx
