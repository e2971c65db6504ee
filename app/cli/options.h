// Options that several verbs share, so that they are named, explained and checked in one place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "fit/fit_rows.h"
#include "io/find_model.h"
#include "model/model.h"
#include "recipe/summary.h"

namespace qx::cli {

struct OutputOptions {
  bool json = false, quiet = false;
};
void add_output_options(CLI::App& verb, OutputOptions& options);  // --json --quiet

struct ComputeOptions {
  int threads = 0;  // 0: physical cores
  std::string isa;
};
void add_compute_options(CLI::App& verb, ComputeOptions& options);  // --threads --isa
// Selects the kernels and starts the pool. processes: so many share this machine's cores, where no option
// says how many threads. Fails: UsageError.
std::unique_ptr<ThreadPool> start_compute(const ComputeOptions& options, int processes = 1);

void add_memory_option(CLI::App& verb, bool& allow_swap);  // --allow-swap
// Before loading: refuses a model that does not fit with so many positions (at most the model's),
// warns when it is tight. Fails: Error.
struct MemoryUse {
  std::int64_t rows = kActivationRows;  // that go through the model at once
  int processes = 1;  // of this machine that run the model: they share its mapped weights
  bool warn = true;
};
void require_memory(const char* verb, const std::filesystem::path& directory, std::int64_t context,
                    KvBits kv_bits, bool allow_swap, const MemoryUse& use = {});

// --precision; fallback: what an option that was not given means
void add_precision_option(CLI::App& verb, std::string& precision,
                          Precision fallback = Precision::kExact);
// Fails: UsageError.
Precision parse_precision(const std::string& precision, Precision fallback = Precision::kExact);

// --kv-bits: 32, 16, 8 or 4
void add_kv_bits_option(CLI::App& verb, int& kv_bits);
KvBits parse_kv_bits(int kv_bits);  // of a value that the option let through

FitMethod parse_fit_method(const std::string& name);  // of a name that the option --fit let through

// Of an option's check(): a number from `least` to `most`. CLI11's own Range lets NaN through.
CLI::Validator number_in(double least, double most);

// --margin, of equivalence: a difference of accuracies, above 0 and below 1
void add_margin_option(CLI::App& verb, double& margin);

// The worked example at the end of a verb's help.
void set_example(CLI::App& verb, const std::string& example);

// Fails: Error when the target exists and force is off; used before long work starts.
void require_absent(const std::filesystem::path& target, bool force);

}  // namespace qx::cli
