// Ranks as MPI processes, on one machine or many. A build without MPI has these functions too, and they say so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "cluster/communicator.h"

namespace qx {

// "Open MPI 4.1.4", or empty when this build has no MPI. Does not start MPI.
std::string mpi_library();

// Joins the ranks that the launcher started; once in a process, on the thread that uses the communicator.
// Its end waits for that of the other ranks, unless abandoned. Fails: Error when this build has no MPI, or
// when MPI sees another number of ranks than the launcher said (`expected`; 0: unknown).
std::unique_ptr<Communicator> join_mpi(int expected);

}  // namespace qx
