// Runs the program as a user would and captures what it prints.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/json.h"

namespace qx::e2e {

struct Outcome {
  int exit_code = -1;  // 128 + signal when killed by one
  std::string out, err;
};

// environment: "NAME=value" entries added to ours; "NAME=" unsets. QX_DATA is unset unless given.
// started: told the process id, so that a test can send signals meanwhile.
Outcome run_qx(const std::vector<std::string>& arguments, const std::string& input = "",
               const std::vector<std::string>& environment = {},
               const std::function<void(int)>& started = {});

// The same with another program, which is looked for in $PATH.
Outcome run_program(const std::string& program, const std::vector<std::string>& arguments,
                    const std::string& input = "", const std::vector<std::string>& environment = {},
                    const std::function<void(int process)>& started = {});

// The program that run_qx runs.
const char* program();

// Starts it with nothing on stdin and its output thrown away. The caller waits for the process.
pid_t start_qx(const std::vector<std::string>& arguments);

// Runs with --json, expects exit code 0 and returns the document.
Json run_json(std::vector<std::string> arguments);

// A fresh directory under the test's temporary directory.
std::filesystem::path fresh_directory(const std::string& name);

// The SmolLM2 GGUF in the cache, or an empty path when it was never fetched: the test is skipped then.
std::filesystem::path smollm2_gguf();

}  // namespace qx::e2e
