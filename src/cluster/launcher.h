// Whether this process is one of several that a launcher (mpirun, mpiexec, srun) started for one job, told
// from the environment alone: nothing of MPI is called.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace qx {

struct Launch {
  std::string launcher;  // "Open MPI", "PMIx", "PMI": whose variables were found
  int rank = 0;
  int size = 1;
  bool parallel() const { return size > 1; }
};

// Nothing when no launcher is to be seen, which sets both a rank and a size. OMPI_COMM_WORLD_RANK and _SIZE are
// Open MPI's mpirun's, PMI_RANK and PMI_SIZE those of MPICH's mpiexec and of Slurm's pmi2, PMIX_RANK and
// SLURM_STEP_NUM_TASKS those of srun --mpi=pmix. Values that are no numbers count as not set.
std::optional<Launch> find_launch();

std::string host_name();

}  // namespace qx
