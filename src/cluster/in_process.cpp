// SPDX-License-Identifier: Apache-2.0
#include "cluster/in_process.h"

#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/error.h"
#include "cluster/launcher.h"

namespace qx {
namespace {

struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Message> messages;
};

class InProcess final : public Communicator {
 public:
  InProcess(int rank, std::shared_ptr<std::vector<Mailbox>> mailboxes)
      : rank_(rank), mailboxes_(std::move(mailboxes)) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(mailboxes_->size()); }
  int local_size() const override { return size(); }
  std::string host() const override { return host_name(); }

  void send(int to, std::string bytes) override {
    QX_CHECK(to >= 0 && to < size() && to != rank_);
    Mailbox& box = (*mailboxes_)[static_cast<std::size_t>(to)];
    {
      const std::lock_guard<std::mutex> lock(box.mutex);
      box.messages.push_back({rank_, std::move(bytes)});
    }
    box.arrived.notify_one();
  }

  std::optional<Message> receive(std::chrono::milliseconds patience) override {
    Mailbox& box = (*mailboxes_)[static_cast<std::size_t>(rank_)];
    std::unique_lock<std::mutex> lock(box.mutex);
    if (!box.arrived.wait_for(lock, patience, [&] { return !box.messages.empty(); })) return {};
    Message message = std::move(box.messages.front());
    box.messages.pop_front();
    return message;
  }

  void abandon() override {}

 private:
  int rank_;
  std::shared_ptr<std::vector<Mailbox>> mailboxes_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> in_process_ranks(int size) {
  QX_CHECK(size >= 1);
  const auto mailboxes = std::make_shared<std::vector<Mailbox>>(static_cast<std::size_t>(size));
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.push_back(std::make_unique<InProcess>(rank, mailboxes));
  }
  return ranks;
}

}  // namespace qx
