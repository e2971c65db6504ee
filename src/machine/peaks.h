// What this machine can do at most, measured: the yardstick of `qx bench` and of bench/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "machine/probe.h"

namespace qx {

// The probes for the kernels of that name ("avx2", "avx512", "neon..", ..); nothing that this
// machine cannot run. A name without a table of its own ("scalar") gets the portable one, whose
// compute probes are empty.
const ProbeTable& probes_for(std::string_view kernels);

// The fastest table that this machine can run, whatever kernels are in use.
const ProbeTable& best_probes();

// 10^9 multiply-adds per second of `threads` threads together: the best of `repeats` runs of about
// `milliseconds` each, threads starting together. 0 when the probe is empty.
struct ProbeEffort {
  int threads = 1, repeats = 5, milliseconds = 20;
};
double measure_gmacs(const ComputeProbe& probe, ProbeEffort effort);

// Memory that is larger than the caches, for measuring how fast it can be read. Takes it, in small
// pages as mapped files have them, when it is made.
class ReadBuffer {
 public:
  // 1 GB, or four times the last cache when that is more.
  static std::size_t sensible_bytes();
  // Fails: Error when the machine has too little memory.
  ReadBuffer(std::size_t bytes, int threads);
  ~ReadBuffer();
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  // 10^9 bytes per second of one pass by all threads, each over its own part.
  double measure_gbs(const ProbeTable& probes) const;
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  int threads_ = 1;
};

// Bytes of the largest cache that cores share, 0 when unknown.
std::size_t last_cache_bytes();
// "AMD EPYC 9R45", or the architecture when the system does not say.
std::string processor_name();

}  // namespace qx
