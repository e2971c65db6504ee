// Messages between the processes that share one job: ranks 0 to size - 1. Knows nothing of what is sent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace qx {

struct Message {
  int from = 0;
  std::string bytes;
};

// Threads: one at a time. Nothing here spins: who waits, sleeps.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_size() const = 0;    // ranks on this machine, this one included
  virtual std::string host() const = 0;  // this machine's name

  // Queues a message and returns; messages from one rank to another arrive in order. Small ones (2 kB)
  // leave at once, larger ones perhaps at the sender's next call of any member. `to` is another rank.
  virtual void send(int to, std::string bytes) = 0;

  // The next message from anybody. Waits for it at most so long; 0: only looks.
  virtual std::optional<Message> receive(std::chrono::milliseconds patience) = 0;

  // Gives up on a common end: some rank may never come to it. From now on nothing waits for the others,
  // and the end of this process ends them too.
  virtual void abandon() = 0;
};

}  // namespace qx
