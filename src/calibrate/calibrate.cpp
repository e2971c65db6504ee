// SPDX-License-Identifier: Apache-2.0
#include "calibrate/calibrate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <system_error>
#include <utility>

#include "base/build_info.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "calibrate/second_moments.h"
#include "fit/calibration_file.h"
#include "io/posix_file.h"
#include "io/safetensors.h"
#include "io/staged.h"
#include "model/cpu_model.h"
#include "model/memory_need.h"
#include "runs/model_facts.h"
#include "text/chat_template.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

constexpr std::int64_t kDefaultMemory = std::int64_t{4} << 30;  // where the machine's is unknown

struct CalibrationText {
  std::vector<std::vector<TokenId>> windows;
  std::int64_t tokens = 0;            // of all windows
  std::vector<std::uint32_t> counts;  // by token
  Json json;
};

CalibrationText load_windows(const CalibrateRequest& request, std::int64_t vocab) {
  const Tokenizer tokenizer = Tokenizer::load(request.model);
  const std::optional<ChatTemplate> chat = ChatTemplate::load(request.model);
  const std::string place = request.text.string();
  const std::vector<Document> documents =
      read_documents(request.text, request.format, request.chat, true);
  const bool conversations = std::any_of(documents.begin(), documents.end(),
                                         [](const Document& d) { return !d.messages.is_null(); });
  const std::vector<TokenId> ids =
      encode_documents(documents, tokenizer, chat ? &*chat : nullptr, {});
  const auto all = static_cast<double>(ids.size());
  const auto first = static_cast<std::int64_t>(std::floor(all * request.skip));
  const auto last = std::min(static_cast<std::int64_t>(ids.size()),
                             static_cast<std::int64_t>(all * (request.skip + request.share)));
  CalibrationText out;
  out.counts.assign(static_cast<std::size_t>(vocab), 0);
  const bool bos = tokenizer.adds_bos() && !conversations;
  std::vector<TokenId> used;
  for (const std::int64_t begin :
       choose_windows(first, last, request.ctx, request.windows, place)) {
    std::vector<TokenId> window(ids.begin() + begin, ids.begin() + begin + request.ctx);
    if (bos) window.front() = tokenizer.bos_id().value_or(0);
    for (const TokenId id : window) {
      if (id < 0 || id >= vocab) {
        fail(place, "got token id {}, expected 0 to {} (the model's vocab_size is {})", id,
             vocab - 1, vocab);
      }
      ++out.counts[static_cast<std::size_t>(id)];
    }
    used.insert(used.end(), window.begin(), window.end());
    out.windows.push_back(std::move(window));
  }
  out.tokens = static_cast<std::int64_t>(used.size());
  out.json = {{"file", request.text.filename().string()},
              {"sha256", sha256_file(request.text)},
              {"tokens", ids.size()},
              {"first_token", first},
              {"last_token", last},
              {"chat", conversations},
              {"used_sha256", hash_tokens(used)}};
  return out;
}

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

// A file in the making beside its target.
class PartialFile {
 public:
  PartialFile(fs::path target, bool force) : target_(std::move(target)), force_(force) {
    if (fs::exists(target_) && !force_) {
      fail(target_.string(), "exists already, expected a new name (or --force)");
    }
    path_ = target_.parent_path() / ("." + target_.filename().string() + ".qx-partial");
  }
  ~PartialFile() {
    std::error_code ignored;
    if (!committed_) fs::remove(path_, ignored);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const fs::path& path() const { return path_; }
  void commit() {
    if (fs::exists(target_) && !force_) {
      fail(target_.string(), "exists by now, expected a new name (or --force)");
    }
    fs::rename(path_, target_);
    committed_ = true;
    sync_path(target_.parent_path());
  }

 private:
  fs::path target_, path_;
  bool force_, committed_ = false;
};

// Writes one input's arrays, the mean over its rows.
void write_input(SafetensorsWriter& writer, std::size_t index, std::span<const double> sum,
                 std::int64_t width, std::int64_t rows) {
  std::vector<float> mean(sum.size()), diagonal;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    mean[i] = static_cast<float>(sum[i] / static_cast<double>(rows));
  }
  for (std::int64_t i = 0; i < width; ++i) {
    diagonal.push_back(mean[static_cast<std::size_t>(triangle_size(i + 1) - 1)]);
  }
  writer.write(index, 0, std::as_bytes(std::span<const float>(mean)));
  writer.write(index + 1, 0, std::as_bytes(std::span<const float>(diagonal)));
}

// What sensitivity reads again: the windows, one after the other.
std::vector<std::uint32_t> window_tokens(const CalibrationText& text) {
  std::vector<std::uint32_t> out;
  for (const std::vector<TokenId>& window : text.windows) {
    for (const TokenId id : window) out.push_back(static_cast<std::uint32_t>(id));
  }
  return out;
}

void run_windows(CpuModel& model, const CalibrationText& text, Progress& progress) {
  for (const std::vector<TokenId>& window : text.windows) {
    check_interrupt();
    const auto segment = model.new_segment(nullptr, static_cast<std::int64_t>(window.size()));
    std::vector<std::int32_t> outputs(window.size());
    std::iota(outputs.begin(), outputs.end(), 0);  // all rows, in the last layer too
    const Chunk chunk{segment.get(), window, outputs};
    model.forward({&chunk, 1});
    progress.advance(window.size());
  }
}

Json info_json(const CalibrateRequest& request, const CalibrationText& text) {
  const ModelFacts facts = measure_model(request.model);
  Json files = Json::object();
  for (const auto& [name, hash] : facts.files) {
    if (name.ends_with(".safetensors")) files[name] = hash;
  }
  Json info = {{"tokens", text.tokens}, {"windows", text.windows.size()}, {"ctx", request.ctx},
               {"skip", request.skip},  {"share", request.share},         {"text", text.json}};
  info["model"] = {{"plan_hash", facts.plan_hash}, {"files", std::move(files)}};
  info["qx"] = {{"version", build_info().version}, {"commit", build_info().commit}};
  return info;
}

}  // namespace

std::vector<std::int64_t> choose_windows(std::int64_t first, std::int64_t last, std::int64_t ctx,
                                         std::int64_t count, const std::string& place) {
  const std::int64_t whole = (last - first) / ctx;
  if (whole < 1) {
    fail(place, "got {} tokens to calibrate with, expected at least one window of {} (--ctx)",
         std::max<std::int64_t>(0, last - first), ctx);
  }
  const std::int64_t taken = std::min(count, whole);
  std::vector<std::int64_t> begins;
  for (std::int64_t i = 0; i < taken; ++i) begins.push_back(first + i * whole / taken * ctx);
  return begins;
}

CalibrateReport calibrate(const CalibrateRequest& request, ThreadPool& pool) {
  const ModelConfig config = load_model_config(request.model);
  if (request.ctx > config.max_position_embeddings) {
    fail(request.model.string(),
         "got windows of {} tokens, expected at most the model's {} positions", request.ctx,
         config.max_position_embeddings);
  }
  PartialFile partial(fs::absolute(request.target).lexically_normal(), request.force);
  const CalibrationText text = load_windows(request, config.vocab_size);
  const std::vector<LinearInputShape> inputs = linear_inputs(config);
  const auto groups = group_inputs(inputs, memory_for_sums(request));
  CalibrateReport report;
  report.info = info_json(request, text);
  report.tokens = text.tokens;
  report.passes = static_cast<std::int64_t>(groups.size());
  report.inputs = static_cast<std::int64_t>(inputs.size());

  CpuModel model(load_weights(request.model), pool, Precision::kReference);
  const std::vector<SafetensorsWriter::Entry> entries =
      calibration_entries(config, static_cast<std::int64_t>(text.windows.size()), request.ctx);
  for (const SafetensorsWriter::Entry& e : entries) {
    report.file_bytes += *element_count(e.shape) * static_cast<std::int64_t>(dtype_bytes(e.dtype));
  }
  check_disk_space(partial.path(), static_cast<std::uint64_t>(report.file_bytes) + (1 << 20));
  {
    SafetensorsWriter writer(
        partial.path(), entries,
        {{"format", kCalibrationFormat}, {"info", dump_json(report.info, -1, false, true)}});
    Progress progress("calibrating", static_cast<std::uint64_t>(text.tokens * report.passes),
                      "tokens", request.quiet);
    std::size_t index = 0;
    for (const auto& group : groups) {
      SecondMoments moments(group, pool);
      model.set_observer(&moments);
      run_windows(model, text, progress);
      model.set_observer(nullptr);
      for (const LinearInputShape& input : group) {
        QX_CHECK(moments.count(input.name) == text.tokens);
        write_input(writer, index, moments.sum(input.name), input.width, text.tokens);
        index += 2;
      }
    }
    writer.write(index, 0, std::as_bytes(std::span<const std::uint32_t>(text.counts)));
    const std::vector<std::uint32_t> tokens = window_tokens(text);
    writer.write(index + 1, 0, std::as_bytes(std::span<const std::uint32_t>(tokens)));
    writer.finish();
  }
  partial.commit();
  return report;
}

}  // namespace qx
