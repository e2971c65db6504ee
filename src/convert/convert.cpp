// SPDX-License-Identifier: Apache-2.0
#include "convert/convert.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "convert/fitting.h"
#include "convert/journal.h"
#include "convert/output_files.h"
#include "convert/row_blocks.h"
#include "convert/source.h"
#include "convert/source_hashes.h"
#include "io/posix_file.h"
#include "io/staged.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

// How far hashing may be ahead of converting: pages stay mapped until both are done with them.
constexpr std::uint64_t kHashingLeadBytes = std::uint64_t{32} << 20;
// Room for config, index and tokenizer beside the tensors.
constexpr std::uint64_t kOtherFilesBytes = std::uint64_t{64} << 20;
constexpr const char* kJournalName = "qx_journal.jsonl";
constexpr const char* kSetAside = "set-aside-";  // prefix of files of an earlier attempt

ConvertPlan plan_for(const SourceModel& source, const ConvertRequest& request) {
  ConvertPlan out;
  out.config = source.config();
  if (!out.config.dtype) out.config.dtype = source.stored_dtype();
  out.plan = make_plan(out.config, request.plan);
  QX_CHECK(out.plan.rows.size() == source.tensors().size() && !out.plan.rows.empty());
  out.dtype = out.plan.rows.front().dtype;
  out.source_is_quantized = source.is_quantized();
  out.warnings = source.warnings();
  out.warnings.insert(out.warnings.end(), out.plan.warnings.begin(), out.plan.warnings.end());
  if (out.plan.quantizes && out.source_is_quantized && !request.allow_requantize) {
    fail(request.source.string(),
         "the source is quantized already, expected float weights; quantizing it again loses more "
         "than quantizing the original: use that, or add --allow-requantize");
  }
  return out;
}

void empty_directory(const fs::path& directory) {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(directory)) entries.push_back(entry.path());
  for (const fs::path& path : entries) fs::remove_all(path);
}

// Text and configuration files of the output; synced with the rest by StagedDirectory::commit().
void write_plain(const fs::path& path, std::string_view text) {
  PosixFile file(path);
  file.write_at(0, std::as_bytes(std::span(text.data(), text.size())));
  file.close();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct WorkerScratch {
  SourceScratch source;
  std::vector<std::byte> codes, scales, biases;
  std::vector<float> rows;
};

// What one earlier attempt left, by array name. The arrays of a tensor may lie in several of its files.
struct Attempt {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  std::map<std::string, std::span<const std::byte>> tensors;
};
using OldFiles = std::vector<Attempt>;

// Files named set-aside-N-NAME, sorted: those of one N are one attempt.
OldFiles open_attempts(const std::vector<fs::path>& paths) {
  std::map<std::string, Attempt> attempts;
  for (const fs::path& path : paths) {
    const std::string name = path.filename().string();
    Attempt& attempt = attempts[name.substr(0, name.find('-', std::string(kSetAside).size()))];
    try {
      attempt.files.push_back(std::make_unique<SafetensorsFile>(path));
    } catch (const Error&) {
      continue;  // killed before its header was whole: it holds nothing of use
    }
    for (const TensorView& view : attempt.files.back()->tensors()) {
      attempt.tensors.emplace(view.name, view.data);
    }
  }
  OldFiles out;
  for (auto& [key, attempt] : attempts) out.push_back(std::move(attempt));
  return out;
}

class Conversion {
 public:
  Conversion(std::chrono::steady_clock::time_point start, const ConvertRequest& request,
             const SourceModel& source, ConvertPlan plan, ThreadPool& pool)
      : start_(start),
        request_(request),
        source_(source),
        plan_(std::move(plan)),
        layout_(make_layout(plan_.plan, request.max_shard_bytes)),
        pool_(pool),
        hashes_(source.checkpoint().maps(), std::max(1, pool.threads() / 2)),
        staged_(request.target, request.force, request.resume) {
    // Whatever goes wrong from here on, what an earlier attempt had finished is kept.
    if (request.resume) staged_.keep(fs::exists(staged_.path() / kJournalName));
    if (request.fit.method == FitMethod::kMinMax) return;
    if (!plan_.plan.quantizes) {
      throw UsageError(fmt::format("--fit {} goes with a recipe that quantizes, got {}",
                                   fit_method_name(request.fit.method), plan_.plan.recipe));
    }
    fitting_.emplace(request.fit, source, plan_.plan, request.source);
  }

  ConvertResult run() {
    try {
      return run_all();
    } catch (const Interrupted&) {
      staged_.keep();
      throw Interrupted{
          something_finished_ ? "what is finished was kept; --resume goes on from there" : ""};
    }
  }

 private:
  ConvertResult run_all();
  ConversionJournal::Tensors finished_before();
  void set_aside_old_shards();
  void take_over(const ConversionJournal::Tensors& finished);
  bool take_over_tensor(std::size_t tensor, TensorChecksums expected, const OldFiles& old_files);
  std::uint64_t source_checksum(const RowBlock& block) const;
  void open_writers();
  void convert_blocks();
  void convert_fitted(const std::vector<RowBlock>& blocks);
  void run_blocks(std::span<const RowBlock> blocks, std::size_t hash_chunks);
  void encode_block(const RowBlock& block, const std::byte* values, WorkerScratch& scratch);
  void release_sources();
  void convert_block(const RowBlock& block, WorkerScratch& scratch);
  void block_done(const RowBlock& block, TensorChecksums checksums);
  void write_other_files(std::vector<FileHash> source_hashes);
  std::vector<RowBlock> blocks_of(std::size_t tensor) const;
  Json identity() const;

  const std::chrono::steady_clock::time_point start_;
  const ConvertRequest& request_;
  const SourceModel& source_;
  const ConvertPlan plan_;
  const Layout layout_;
  ThreadPool& pool_;
  SourceHashes hashes_;
  StagedDirectory staged_;
  std::optional<ConversionJournal> journal_;
  std::optional<Fitting> fitting_;  // nothing: minmax
  std::vector<FileHash> source_hashes_;
  std::vector<WorkerScratch> scratch_;
  std::vector<std::unique_ptr<SafetensorsWriter>> writers_;
  std::vector<char> taken_over_;  // by tensor
  std::int64_t resumed_ = 0;
  bool something_finished_ = false;  // a tensor, now or by an earlier attempt
  std::vector<std::string> notes_;

  std::mutex mutex_;  // guards what follows
  struct Pending {
    std::size_t blocks = 0;
    TensorChecksums sums;
  };
  std::vector<Pending> pending_;              // by tensor
  std::vector<std::size_t> unreleased_;       // converted, pages perhaps not hashed yet
  std::atomic<std::uint64_t> bytes_done_{0};  // of the source; written under the mutex
  std::uint64_t bytes_taken_over_ = 0;
  std::unique_ptr<Progress> progress_;
};

// Everything that decides the bytes of the tensors, except the source's own bytes: those are
// compared tensor by tensor.
Json Conversion::identity() const {
  Json files = Json::array();
  for (const fs::path& file : source_.checkpoint().files()) {
    files.push_back({{"name", file.filename().string()}, {"bytes", fs::file_size(file)}});
  }
  Json out = Json::object();
  out["plan"] = plan_.plan.plan_hash();
  out["type"] = float_dtype_config_name(plan_.dtype);
  out["rounding"] = rounding_name(request_.rounding);
  out["source"] = std::move(files);
  out["fit"] = fitting_ ? fitting_->identity() : Json();
  return out;
}

ConversionJournal::Tensors Conversion::finished_before() {
  if (!request_.resume) return {};
  if (fs::is_empty(staged_.path())) {
    notes_.emplace_back("nothing to resume, converting from the start");
    return {};
  }
  std::string difference;
  auto finished = ConversionJournal::read(staged_.path() / kJournalName, identity(), difference);
  if (finished && !finished->empty()) return *finished;
  empty_directory(staged_.path());
  staged_.keep(false);
  notes_.push_back(
      finished ? "nothing was finished yet, converting from the start"
               : fmt::format("the unfinished conversion is not this one ({}), starting over",
                             difference));
  return {};
}

std::vector<RowBlock> Conversion::blocks_of(std::size_t tensor) const {
  std::vector<RowBlock> out;
  append_row_blocks(tensor, layout_.tensors[tensor].shape, out);
  return out;
}

// Renames the tensor files of the last attempt; several attempts may pile up when a resumed
// conversion is itself killed. What is neither these nor the journal is written again.
void Conversion::set_aside_old_shards() {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(staged_.path())) {
    names.insert(entry.path().filename().string());
  }
  int attempt = 0;
  const auto prefix = [&] { return fmt::format("{}{}-", kSetAside, attempt); };
  while (std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name.starts_with(prefix()); })) {
    ++attempt;
  }
  const std::set<std::string> shards(layout_.shard_names.begin(), layout_.shard_names.end());
  for (const std::string& name : names) {
    if (name == kJournalName || name.starts_with(kSetAside)) continue;
    const fs::path file = staged_.path() / name;
    if (shards.contains(name)) {
      fs::rename(file, staged_.path() / (prefix() + name));
    } else {
      fs::remove_all(file);
    }
  }
}

std::uint64_t Conversion::source_checksum(const RowBlock& block) const {
  BlockChecksum sum(block.rows.begin);
  for (const auto& part : source_.stored_rows(source_.tensors()[block.tensor], block.rows)) {
    sum.update(part);
  }
  return sum.value();
}

bool Conversion::take_over_tensor(std::size_t tensor, TensorChecksums expected,
                                  const OldFiles& old_files) {
  const OutputTensor& out = layout_.tensors[tensor];
  const std::vector<RowBlock> blocks = blocks_of(tensor);
  std::uint64_t source = 0;
  for (const RowBlock& block : blocks) source += source_checksum(block);
  source_.release(source_.tensors()[tensor]);
  if (source != expected.source) return false;
  for (const OldFiles::value_type& attempt : old_files) {
    std::vector<std::span<const std::byte>> data;
    for (const OutputArray& array : out.arrays) {
      const auto found = attempt.tensors.find(array.name);
      if (found == attempt.tensors.end()) break;
      const auto bytes = static_cast<std::size_t>(array.row_bytes * out.shape.rows);
      if (found->second.size() == bytes) data.push_back(found->second);
    }
    if (data.size() != out.arrays.size()) continue;
    const auto part = [&](std::size_t a, const RowBlock& b) {
      const auto row_bytes = static_cast<std::size_t>(out.arrays[a].row_bytes);
      return data[a].subspan(static_cast<std::size_t>(b.rows.begin) * row_bytes,
                             static_cast<std::size_t>(b.rows.end - b.rows.begin) * row_bytes);
    };
    std::uint64_t sum = 0;
    for (const RowBlock& block : blocks) {
      BlockChecksum block_sum(block.rows.begin);
      for (std::size_t a = 0; a < data.size(); ++a) block_sum.update(part(a, block));
      sum += block_sum.value();
    }
    if (sum != expected.output) continue;
    for (const RowBlock& block : blocks) {
      for (std::size_t a = 0; a < data.size(); ++a) {
        const OutputArray& array = out.arrays[a];
        writers_[array.shard]->write(array.slot,
                                     static_cast<std::uint64_t>(block.rows.begin * array.row_bytes),
                                     part(a, block));
      }
    }
    return true;
  }
  return false;
}

// Copies what earlier attempts had finished into the new files, then drops the old ones.
void Conversion::take_over(const ConversionJournal::Tensors& finished) {
  std::vector<fs::path> old_paths;
  for (const auto& entry : fs::directory_iterator(staged_.path())) {
    if (entry.path().filename().string().starts_with(kSetAside)) old_paths.push_back(entry.path());
  }
  std::sort(old_paths.begin(), old_paths.end());
  OldFiles old_files = open_attempts(old_paths);
  std::mutex mutex;
  ConversionJournal::Tensors kept;
  Progress progress("taking over", finished.size(), "tensors", request_.quiet);
  pool_.parallel_for(layout_.tensors.size(), 1, [&](std::size_t t, std::size_t, int) {
    check_interrupt();
    const auto found = finished.find(plan_.plan.rows[t].tensor.name);
    if (found == finished.end()) return;
    if (found->second.fell_back && !fitting_) return;  // no journal of ours
    progress.advance();
    if (!take_over_tensor(t, found->second, old_files)) return;
    const std::lock_guard<std::mutex> lock(mutex);
    taken_over_[t] = 1;
    ++resumed_;
    kept.insert(*found);
    if (found->second.fell_back) fitting_->fell_back_before(t);
  });
  old_files.clear();
  journal_.emplace(staged_.path() / kJournalName, identity(), kept);
  for (const fs::path& path : old_paths) fs::remove(path);
  notes_.push_back(fmt::format("resumed: {} of {} tensors were finished already", resumed_,
                               layout_.tensors.size()));
}

void Conversion::open_writers() {
  for (std::size_t i = 0; i < layout_.shards.size(); ++i) {
    writers_.push_back(std::make_unique<SafetensorsWriter>(
        staged_.path() / layout_.shard_names[i], layout_.shards[i],
        std::map<std::string, std::string>{{"format", "mlx"}}));
  }
}

void Conversion::convert_block(const RowBlock& block, WorkerScratch& scratch) {
  const SourceTensor& tensor = source_.tensors()[block.tensor];
  const PlanRow& row = plan_.plan.rows[block.tensor];
  const OutputTensor& out = layout_.tensors[block.tensor];
  const std::byte* values = source_.read_rows(tensor, block.rows, row.dtype, scratch.source);
  const std::int64_t rows = block.rows.end - block.rows.begin;
  const auto size_of = [&](std::size_t a) {
    return static_cast<std::size_t>(out.arrays[a].row_bytes * rows);
  };
  std::vector<std::span<const std::byte>> parts;
  if (row.affine) {
    encode_block(block, values, scratch);
    parts = {scratch.codes, scratch.scales, scratch.biases};
  } else {
    source_.refuse_not_finite(tensor, block.rows, row.dtype, values);
    parts = {{values, size_of(0)}};
  }
  BlockChecksum checksum(block.rows.begin);
  for (std::size_t a = 0; a < parts.size(); ++a) {
    const OutputArray& array = out.arrays[a];
    checksum.update(parts[a]);
    writers_[array.shard]->write(
        array.slot, static_cast<std::uint64_t>(block.rows.begin * array.row_bytes), parts[a]);
  }
  block_done(block, {source_checksum(block), checksum.value()});
}

// Codes, scales and biases of a block of an affine tensor, into scratch.
void Conversion::encode_block(const RowBlock& block, const std::byte* values,
                              WorkerScratch& scratch) {
  const SourceTensor& tensor = source_.tensors()[block.tensor];
  const PlanRow& row = plan_.plan.rows[block.tensor];
  const OutputTensor& out = layout_.tensors[block.tensor];
  const std::int64_t rows = block.rows.end - block.rows.begin;
  const auto size_of = [&](std::size_t a) {
    return static_cast<std::size_t>(out.arrays[a].row_bytes * rows);
  };
  scratch.codes.resize(size_of(0));
  scratch.scales.resize(size_of(1));
  scratch.biases.resize(size_of(2));
  const AffineOut to{scratch.codes.data(), scratch.scales.data(), scratch.biases.data()};
  const MatrixShape shape{rows, tensor.shape.cols};
  if (fitting_ && fitting_->has(block.tensor)) {
    source_.refuse_not_finite(tensor, block.rows, row.dtype, values);
    scratch.rows.resize(static_cast<std::size_t>(rows * tensor.shape.cols));
    load_floats(row.dtype, values, 0, scratch.rows);
    fitting_->encode(block.tensor, scratch.rows, shape, to);
  } else if (encode_rows(row.dtype, values, shape, *row.affine, request_.rounding, to)) {
    source_.refuse_not_finite(tensor, block.rows, row.dtype, values);
    throw InternalError(
        fmt::format("the encoder refused '{}', whose values are finite", tensor.name));
  }
  const std::int64_t groups = groups_per_row(tensor.shape.cols, row.affine->group);
  if (const auto g = find_not_finite(row.dtype, scratch.scales.data(), rows * groups)) {
    fail(fmt::format("{}: tensor '{}', row {}, columns from {}", request_.source.string(),
                     tensor.name, block.rows.begin + *g / groups, *g % groups * row.affine->group),
         "got weights whose range exceeds float32, expected a smaller one");
  }
}

void Conversion::block_done(const RowBlock& block, TensorChecksums checksums) {
  const SourceTensor& tensor = source_.tensors()[block.tensor];
  const std::lock_guard<std::mutex> lock(mutex_);
  Pending& pending = pending_[block.tensor];
  pending.sums.source += checksums.source;
  pending.sums.output += checksums.output;
  const std::uint64_t before = bytes_done_ / 1'000'000;
  bytes_done_ +=
      static_cast<std::uint64_t>(static_cast<double>(tensor.stored_bytes()) *
                                 (static_cast<double>(block.rows.end - block.rows.begin) /
                                  static_cast<double>(tensor.shape.rows)));
  progress_->advance(bytes_done_ / 1'000'000 - before);
  if (--pending.blocks > 0) return;
  unreleased_.push_back(block.tensor);
  release_sources();
  pending.sums.fell_back = fitting_ && fitting_->fell_back(block.tensor);
  journal_->note(tensor.name, pending.sums);
  something_finished_ = true;
}

// Gives back the pages of tensors that are converted and hashed. What hashing has yet to reach is left
// for the end of a later tensor: hashing itself, which nothing can share, does none of this.
void Conversion::release_sources() {
  std::erase_if(unreleased_, [this](std::size_t t) {
    const SourceTensor& tensor = source_.tensors()[t];
    const auto parts = source_.stored_rows(tensor, {0, tensor.shape.rows});
    if (!std::all_of(parts.begin(), parts.end(),
                     [this](const auto& part) { return hashes_.has_passed(part); })) {
      return false;
    }
    source_.release(tensor);
    return true;
  });
}

// Converts what was not taken over and hashes the source files. One turn of the loop is one unit of
// either, hashing first unless it is far ahead: see SourceHashes. The numbers add up, so a thread
// that finds no block left has a chunk to hash, if need be after the thread that hashes the one
// before it.
void Conversion::convert_blocks() {
  std::vector<RowBlock> blocks;
  std::uint64_t bytes = 0;
  pending_.resize(layout_.tensors.size());
  for (std::size_t t = 0; t < layout_.tensors.size(); ++t) {
    if (taken_over_[t] != 0) {
      bytes_taken_over_ += static_cast<std::uint64_t>(source_.tensors()[t].stored_bytes());
      continue;
    }
    const std::vector<RowBlock> mine = blocks_of(t);
    pending_[t].blocks = mine.size();
    blocks.insert(blocks.end(), mine.begin(), mine.end());
    bytes += static_cast<std::uint64_t>(source_.tensors()[t].stored_bytes());
  }
  progress_ = std::make_unique<Progress>("converting", bytes / 1'000'000, "MB", request_.quiet);
  scratch_.resize(static_cast<std::size_t>(pool_.threads()));
  if (fitting_) {
    run_blocks({}, hashes_.chunks());
    source_hashes_ = hashes_.get();
    convert_fitted(blocks);
  } else {
    run_blocks(blocks, hashes_.chunks());
    source_hashes_ = hashes_.get();
  }
  progress_.reset();
}

// Tensors that have the same input lie side by side or nearly so: for each few inputs, first their factors,
// one a thread, then the rows of their tensors.
void Conversion::convert_fitted(const std::vector<RowBlock>& blocks) {
  std::map<std::string, std::string> hashes;
  for (const FileHash& file : source_hashes_) hashes[file.name] = file.sha256;
  fitting_->require_weights(hashes);
  for (const std::vector<std::size_t>& batch : fitting_->batches(pool_.threads(), taken_over_)) {
    fitting_->prepare(batch, pool_);
    std::vector<RowBlock> mine;
    for (const RowBlock& block : blocks) {
      if (std::find(batch.begin(), batch.end(), block.tensor) != batch.end()) mine.push_back(block);
    }
    run_blocks(mine, 0);
  }
  for (const std::string& note : fitting_->notes()) notes_.push_back(note);
}

void Conversion::run_blocks(std::span<const RowBlock> blocks, std::size_t hash_chunks) {
  std::atomic<std::size_t> next{0};
  pool_.parallel_for(blocks.size() + hash_chunks, 1, [&](std::size_t, std::size_t, int worker) {
    check_interrupt();
    const bool hash = next >= blocks.size() ||
                      hashes_.bytes_done() <= bytes_taken_over_ + bytes_done_ + kHashingLeadBytes;
    if (hash_chunks > 0 && hash && hashes_.try_step()) return;
    const std::size_t i = next.fetch_add(1);
    if (i < blocks.size()) {
      convert_block(blocks[i], scratch_[static_cast<std::size_t>(worker)]);
    } else {
      hashes_.step();
    }
  });
}

void Conversion::write_other_files(std::vector<FileHash> source_hashes) {
  for (const auto& [name, text] :
       files_beside_tensors(request_, source_, plan_, layout_, std::move(source_hashes),
                            fitting_ ? fitting_->provenance() : Json())) {
    write_plain(staged_.path() / name, text);
  }
}

ConvertResult Conversion::run_all() {
  taken_over_.assign(layout_.tensors.size(), 0);
  const ConversionJournal::Tensors finished = finished_before();
  something_finished_ = !finished.empty();
  if (!finished.empty()) set_aside_old_shards();
  check_disk_space(staged_.path(),
                   static_cast<std::uint64_t>(layout_.total_bytes) + kOtherFilesBytes);
  open_writers();
  if (finished.empty()) {
    journal_.emplace(staged_.path() / kJournalName, identity(), ConversionJournal::Tensors{});
  } else {
    take_over(finished);
  }
  convert_blocks();
  write_other_files(source_hashes_);
  ConvertResult result;
  result.make_seconds = seconds_since(start_);
  const auto sync_start = std::chrono::steady_clock::now();
  for (const auto& writer : writers_) writer->finish();
  check_interrupt();  // the last chance to keep what is there for a resume
  fs::remove(staged_.path() / kJournalName);
  for (const auto& entry : fs::directory_iterator(staged_.path())) {
    result.files.push_back(entry.path().filename().string());
  }
  std::sort(result.files.begin(), result.files.end());
  staged_.commit();
  result.sync_seconds = seconds_since(sync_start);
  result.plan = plan_;
  result.tensors = static_cast<std::int64_t>(layout_.tensors.size());
  for (const SourceTensor& t : source_.tensors()) result.source_bytes += t.stored_bytes();
  result.resumed_tensors = resumed_;
  result.notes = notes_;
  return result;
}

}  // namespace

ConvertPlan plan_conversion(const ConvertRequest& request) {
  return plan_for(SourceModel(request.source), request);
}

ConvertResult convert(const ConvertRequest& request, ThreadPool& pool) {
  const auto start = std::chrono::steady_clock::now();
  const SourceModel source(request.source);
  Conversion conversion(start, request, source, plan_for(source, request), pool);
  return conversion.run();
}

}  // namespace qx
