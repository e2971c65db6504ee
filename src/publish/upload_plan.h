// What an upload of a model directory to the Hub would send, and what speaks against it. Nothing
// here uses a network: the upload itself is the Hub's official client's. Rules: docs/card.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"

namespace qx {

struct UploadFile {
  std::string path;  // relative, with '/'
  std::uint64_t bytes = 0;
  bool lfs = false;  // larger than 10 MB, or of a kind that new repositories of the Hub keep in LFS
};

struct UploadPlan {
  std::vector<UploadFile> files;      // by path
  std::uint64_t bytes = 0;            // of all
  std::vector<std::string> ignored;   // what the client leaves out by itself (.git)
  std::vector<std::string> problems;  // each with the file it is about
  std::vector<std::string> notes;     // worth a look, no reason to stop
};

constexpr std::uint64_t kLfsBytes = 10'000'000;
constexpr std::size_t kMaxUploadFiles = 20'000;

// Reads headers and small files, never weights. Fails: Error when `directory` is none, cannot be
// read, or holds more files than kMaxUploadFiles.
UploadPlan plan_upload(const std::filesystem::path& directory);

// The official client's command. repository: "" stands for one to be filled in.
std::string upload_command(const std::filesystem::path& directory, const std::string& repository);

std::string upload_text(const UploadPlan& plan, const std::string& command);
Json upload_json(const UploadPlan& plan, const std::string& command);

}  // namespace qx
