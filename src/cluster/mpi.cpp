// SPDX-License-Identifier: Apache-2.0
#include "cluster/mpi.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <list>
#include <thread>

#include "base/error.h"
#include "cluster/launcher.h"

namespace qx {
namespace {

constexpr int kTag = 1;
// MPI's own waiting spins and would take a core from computing. A look costs about a microsecond.
constexpr auto kNap = std::chrono::microseconds(500);

// Errors end the job by MPI's default handler, so return codes are not looked at.
class MpiRanks final : public Communicator {
 public:
  MpiRanks() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm local = MPI_COMM_NULL;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local);
    MPI_Comm_size(local, &local_size_);
    MPI_Comm_free(&local);
  }

  ~MpiRanks() override {
    if (abandoned_) {
      // After main() has said why: ends the ranks that still run, under any launcher.
      std::atexit([] { MPI_Abort(MPI_COMM_WORLD, 1); });
      return;
    }
    while (!sending_.empty()) {
      forget_sent();
      if (!sending_.empty()) std::this_thread::sleep_for(kNap);
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_size() const override { return local_size_; }
  std::string host() const override { return host_name(); }

  void send(int to, std::string bytes) override {
    QX_CHECK(to >= 0 && to < size_ && to != rank_ && bytes.size() < (std::size_t{1} << 30));
    forget_sent();
    Sending& s = sending_.emplace_back();
    s.bytes = std::move(bytes);
    MPI_Isend(s.bytes.data(), static_cast<int>(s.bytes.size()), MPI_BYTE, to, kTag, MPI_COMM_WORLD,
              &s.request);
    forget_sent();
  }

  std::optional<Message> receive(std::chrono::milliseconds patience) override {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (true) {
      if (std::optional<Message> message = look()) return message;
      if (std::chrono::steady_clock::now() >= until) return {};
      std::this_thread::sleep_for(kNap);
    }
  }

  void abandon() override { abandoned_ = true; }

 private:
  struct Sending {
    std::string bytes;  // stays in place until sent
    MPI_Request request = MPI_REQUEST_NULL;
  };

  std::optional<Message> look() {
    forget_sent();
    int there = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &there, &status);
    if (there == 0) return {};
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    Message message{status.MPI_SOURCE, std::string(static_cast<std::size_t>(count), '\0')};
    MPI_Recv(message.bytes.data(), count, MPI_BYTE, status.MPI_SOURCE, kTag, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    return message;
  }

  // Also moves what is under way on: MPI works only inside its calls.
  void forget_sent() {
    sending_.remove_if([](Sending& s) {
      int done = 0;
      MPI_Test(&s.request, &done, MPI_STATUS_IGNORE);
      return done != 0;
    });
  }

  int rank_ = 0, size_ = 1, local_size_ = 1;
  bool abandoned_ = false;
  std::list<Sending> sending_;
};

}  // namespace

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);  // allowed before MPI_Init
  std::string name(text.data(), static_cast<std::size_t>(length));
  name.resize(std::min(name.find_first_of(",\n"), name.size()));  // "Open MPI v4.1.4, package: .."
  return name;
}

std::unique_ptr<Communicator> join_mpi(int expected) {
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  auto ranks = std::make_unique<MpiRanks>();
  if (expected > 0 && ranks->size() != expected) {
    fail("MPI",
         "the launcher started {} processes and {} sees {} of them; start it with the mpirun of "
         "that "
         "MPI, or with srun --mpi=pmix, or use --shard without MPI",
         expected, mpi_library(), ranks->size());
  }
  if (provided < MPI_THREAD_FUNNELED) fail("MPI", "{} does not allow threads", mpi_library());
  return ranks;
}

}  // namespace qx
