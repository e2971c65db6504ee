// Ranks as threads of one process: how a process talks to its own worker, and how tests have many ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "cluster/communicator.h"

namespace qx {

// One communicator per rank; each may be used by a thread of its own, and outlive the others.
std::vector<std::unique_ptr<Communicator>> in_process_ranks(int size);

}  // namespace qx
