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
// started: told the process id, so that a test can send signals meanwhile. heard: told all of
// stdout so far, whenever there is more of it.
Outcome run_qx(const std::vector<std::string>& arguments, const std::string& input = "",
               const std::vector<std::string>& environment = {},
               const std::function<void(int)>& started = {},
               const std::function<void(const std::string&)>& heard = {});

// The same with another program, which is looked for in $PATH.
Outcome run_program(const std::string& program, const std::vector<std::string>& arguments,
                    const std::string& input = "", const std::vector<std::string>& environment = {},
                    const std::function<void(int process)>& started = {},
                    const std::function<void(const std::string& out)>& heard = {});

// The program that run_qx runs.
const char* program();

// Starts it with nothing on stdin and its output thrown away. The caller waits for the process.
pid_t start_qx(const std::vector<std::string>& arguments);

// Runs with --json, expects exit code 0 and returns the document.
Json run_json(std::vector<std::string> arguments);

// A fresh directory under the test's temporary directory, in a folder of this process: two runs of
// the tests at once do not meet. What failed stays to be looked at.
std::filesystem::path fresh_directory(const std::string& name);

// The SmolLM2 GGUF in the cache, or an empty path when it was never fetched: the test is skipped then.
std::filesystem::path smollm2_gguf();

}  // namespace qx::e2e
