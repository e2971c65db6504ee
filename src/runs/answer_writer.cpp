// Appending answers, each on the disk within a second.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <exception>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/staged.h"
#include "runs/answer_log.h"

namespace qx {
namespace {

// From an answer to its sync; leaves half a second for the disk.
constexpr std::chrono::milliseconds kSyncDelay{500};

std::string all_lines(const std::vector<Answer>& answers) {
  std::string text;
  for (const Answer& answer : answers) text += answer_line(answer) + '\n';
  return text;
}

}  // namespace

AnswerLog::AnswerLog(std::filesystem::path file) : path_(std::move(file)) {
  std::uint64_t keep = 0;
  if (std::filesystem::exists(path_)) {
    ParsedLog log;
    {
      const MappedFile map(path_);
      log = parse_answers(map.text(), path_.string());
    }
    answers_ = std::move(log.answers);
    keep = log.whole_bytes;
    if (log.lost_lines > 0) {
      const std::string text = all_lines(answers_);
      write_file_atomic(path_, text, true);
      keep = text.size();
    }
  }
  file_ = std::make_unique<AppendFile>(path_, keep);
  durable_ = answers_.size();
}

AnswerLog::~AnswerLog() {
  stop_flusher();
  try {
    if (durable_ < answers_.size()) file_->sync();
  } catch (const Error&) {
    // Nobody is left to be told; the answers are in the file as far as they could be written.
  }
}

void AnswerLog::replace(std::vector<Answer> answers) {
  QX_CHECK(!flusher_.joinable());
  const std::string text = all_lines(answers);
  write_file_atomic(path_, text, true);
  // The descriptor names the old file.
  file_ = std::make_unique<AppendFile>(path_, text.size());
  answers_ = std::move(answers);
  durable_ = written_ = answers_.size();
}

void AnswerLog::append(Answer answer) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
  }
  file_->append(answer_line(answer) + '\n');
  answers_.push_back(std::move(answer));
  {
    const std::lock_guard lock(mutex_);
    written_ = answers_.size();
    if (!flusher_.joinable()) flusher_ = std::thread([this] { flush_until_stopped(); });
  }
  wake_.notify_one();
}

void AnswerLog::flush_until_stopped() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || written_ > durable_; });
    if (stop_ || wake_.wait_for(lock, kSyncDelay, [this] { return stop_; })) return;
    const std::size_t covered = written_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      file_->sync();
      file_->check_linked();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure) {
      failure_ = failure;
      return;
    }
    durable_ = covered;
  }
}

void AnswerLog::stop_flusher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (flusher_.joinable()) flusher_.join();
  stop_ = false;
}

std::size_t AnswerLog::durable() const {
  const std::lock_guard lock(mutex_);
  return durable_;
}

void AnswerLog::finish() {
  stop_flusher();
  if (failure_) std::rethrow_exception(failure_);
  file_->sync();
  file_->check_linked();
  durable_ = written_ = answers_.size();
  const auto by_index = [](const Answer& a, const Answer& b) { return a.index < b.index; };
  if (std::is_sorted(answers_.begin(), answers_.end(), by_index)) return;
  std::sort(answers_.begin(), answers_.end(), by_index);
  const std::string text = all_lines(answers_);
  write_file_atomic(path_, text, true);
  // The descriptor names the old file; appending goes on at the end of the new one.
  file_ = std::make_unique<AppendFile>(path_, text.size());
}

}  // namespace qx
