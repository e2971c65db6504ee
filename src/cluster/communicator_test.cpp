// The ranks of one process, and what tells a launcher.
// SPDX-License-Identifier: Apache-2.0
#include "cluster/communicator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <thread>

#include "cluster/in_process.h"
#include "cluster/launcher.h"
#include "cluster/mpi.h"

namespace qx {
namespace {

constexpr auto kNow = std::chrono::milliseconds(0);
constexpr auto kLong = std::chrono::milliseconds(60'000);

TEST(InProcessRanks, MessagesArriveInOrderWithTheirSender) {
  const auto ranks = in_process_ranks(3);
  EXPECT_EQ(ranks[2]->rank(), 2);
  EXPECT_EQ(ranks[2]->size(), 3);
  EXPECT_EQ(ranks[0]->local_size(), 3);
  EXPECT_FALSE(ranks[0]->receive(kNow).has_value());
  ranks[1]->send(0, "a");
  ranks[1]->send(0, std::string("b\0c", 3));
  ranks[2]->send(0, "");
  const auto a = ranks[0]->receive(kNow), b = ranks[0]->receive(kNow), c = ranks[0]->receive(kNow);
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->bytes, "a");
  EXPECT_EQ(b->bytes, std::string("b\0c", 3));
  EXPECT_EQ(a->from, 1);
  EXPECT_EQ(c->from, 2);
  EXPECT_FALSE(ranks[1]->receive(kNow).has_value());
}

TEST(InProcessRanks, ManyThreadsTalkToOne) {
  constexpr int kRanks = 5, kMessages = 500;
  const auto ranks = in_process_ranks(kRanks);
  std::vector<std::thread> threads;
  for (int r = 1; r < kRanks; ++r) {
    threads.emplace_back([&, r] {
      for (int i = 0; i < kMessages; ++i)
        ranks[static_cast<std::size_t>(r)]->send(0, std::to_string(i));
      EXPECT_EQ(ranks[static_cast<std::size_t>(r)]->receive(kLong)->bytes, "stop");
    });
  }
  std::map<int, int> next;
  for (int i = 0; i < (kRanks - 1) * kMessages; ++i) {
    const auto message = ranks[0]->receive(kLong);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->bytes, std::to_string(next[message->from]++));
  }
  for (int r = 1; r < kRanks; ++r) ranks[0]->send(r, "stop");
  for (std::thread& thread : threads) thread.join();
}

class Environment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames) ::unsetenv(name);
  }
  void TearDown() override { SetUp(); }
  static constexpr const char* kNames[] = {
      "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK",
      "SLURM_STEP_NUM_TASKS", "OMPI_MCA_ess"};
};

TEST_F(Environment, NoLauncherIsNoLaunch) {
  ::setenv("SLURM_STEP_NUM_TASKS", "4", 1);  // a rank is missing
  EXPECT_FALSE(find_launch().has_value());
  SetUp();
  ::setenv("PMIX_RANK", "0", 1);  // left by a parent that initialized MPI for itself
  EXPECT_FALSE(find_launch().has_value());
  ::setenv("SLURM_STEP_NUM_TASKS", "4", 1);  // and that runs in a job of several
  ::setenv("OMPI_MCA_ess", "singleton", 1);
  EXPECT_FALSE(find_launch().has_value());
}

TEST_F(Environment, EveryLauncherIsKnown) {
  ::setenv("OMPI_COMM_WORLD_RANK", "3", 1);
  ::setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
  ::setenv("PMIX_RANK", "9", 1);  // Open MPI's mpirun sets it too
  EXPECT_EQ(find_launch()->rank, 3);
  EXPECT_EQ(find_launch()->size, 8);
  SetUp();
  ::setenv("PMI_RANK", "0", 1);
  ::setenv("PMI_SIZE", "1", 1);
  EXPECT_FALSE(find_launch()->parallel());
  SetUp();
  ::setenv("PMIX_RANK", "2", 1);
  ::setenv("SLURM_STEP_NUM_TASKS", "64", 1);
  EXPECT_EQ(find_launch()->rank, 2);
  EXPECT_EQ(find_launch()->size, 64);
  EXPECT_TRUE(find_launch()->parallel());
}

TEST_F(Environment, NonsenseIsNoLaunch) {
  for (const char* text : {"", "x", "-1", "3x", "99999999999999"}) {
    ::setenv("OMPI_COMM_WORLD_RANK", text, 1);
    ::setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
    EXPECT_FALSE(find_launch().has_value()) << text;
  }
}

}  // namespace
}  // namespace qx
