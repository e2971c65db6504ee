// SPDX-License-Identifier: Apache-2.0
#include "io/replaceable.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"

namespace qx {
namespace {
namespace fs = std::filesystem;

// Where the bytes of an input lie. The files of a directory may be links, as in the Hub's cache.
std::vector<fs::path> places_of(const fs::path& input) {
  std::error_code ignored;
  std::vector<fs::path> out;
  const auto add = [&](const fs::path& path) {
    const fs::path place = fs::canonical(path, ignored);
    if (!ignored) out.push_back(place);
  };
  if (input.empty()) return out;
  add(input);
  if (!fs::is_directory(input, ignored)) return out;
  for (const auto& entry : fs::directory_iterator(input, ignored)) {
    if (entry.is_symlink(ignored)) add(entry.path());
  }
  return out;
}

}  // namespace

bool is_within(const fs::path& path, const fs::path& directory) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first ==
         directory.end();
}

void require_replaceable(const fs::path& target, bool force, const std::vector<fs::path>& inputs) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(target, ignored))) return;
  if (!force) {
    fail(target.string(), "exists already, expected a new path; remove it or add --force");
  }
  const fs::path place = fs::canonical(target, ignored);
  if (ignored) return;  // a link to nothing
  for (const fs::path& input : inputs) {
    for (const fs::path& path : places_of(input)) {
      if (!is_within(path, place)) continue;
      fail(target.string(),
           "is or holds {}, which the result is made from, expected another place; --force would "
           "delete it",
           input.string());
    }
  }
  if (const fs::path here = fs::current_path(ignored); !ignored && is_within(here, place)) {
    fail(target.string(),
         "is or holds the working directory, expected another place; --force would delete it");
  }
  if (!fs::is_directory(place)) {
    fail(target.string(), "exists and is not a directory, expected a model directory to replace");
  }
  if (!fs::is_empty(place) && !fs::exists(place / "config.json")) {
    fail(target.string(),
         "holds other things than a model (no config.json), expected a model directory to replace; "
         "--force would delete them");
  }
}

}  // namespace qx
