// What mpi.h promises, in a build without MPI.
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "cluster/mpi.h"

namespace qx {

std::string mpi_library() {
  return "";
}

std::unique_ptr<Communicator> join_mpi(int) {
  fail("MPI",
       "this qx was built without MPI and was started as one of several processes; build it with "
       "-DQX_MPI=ON, or give each process its own --shard i/n without mpirun");
}

}  // namespace qx
