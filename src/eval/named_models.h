// Several models on one command line, each with a name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace qx {

struct NamedModel {
  std::string name;  // fit for a folder
  std::filesystem::path directory;
};

// DIR, a Hub id, or NAME=DIR; a path that exists and holds '=' is a path. Without a name: the last
// part of the directory's canonical path; of a Hub id, the repository's name. Fails: as
// resolve_model; UsageError for a name that is not fit for a folder.
NamedModel parse_named_model(const std::string& given);

// Fails: UsageError also when two have one name.
std::vector<NamedModel> parse_named_models(const std::vector<std::string>& given);

}  // namespace qx
