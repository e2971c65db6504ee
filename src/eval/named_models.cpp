// SPDX-License-Identifier: Apache-2.0
#include "eval/named_models.h"

#include "base/error.h"
#include "io/find_model.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

std::string default_name(const std::string& given, const fs::path& directory) {
  if (fs::is_directory(given)) return fs::canonical(directory).filename().string();
  const std::string id = given.substr(0, given.find('@'));
  return id.substr(id.rfind('/') + 1);
}

}  // namespace

NamedModel parse_named_model(const std::string& given) {
  const std::size_t equals = given.find('=');
  if (equals == std::string::npos || fs::exists(given)) {
    const fs::path directory = resolve_model(given);
    return {default_name(given, directory), directory};
  }
  const std::string name = given.substr(0, equals);
  if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos) {
    throw UsageError(fmt::format(
        "--model: got the name '{}', expected NAME=DIR with a name fit for a folder", name));
  }
  return {name, resolve_model(given.substr(equals + 1))};
}

std::vector<NamedModel> parse_named_models(const std::vector<std::string>& given) {
  std::vector<NamedModel> models;
  for (const std::string& text : given) {
    NamedModel model = parse_named_model(text);
    for (const NamedModel& other : models) {
      if (other.name == model.name) {
        throw UsageError(fmt::format(
            "--model: two models are named '{}', and results go by name; say OTHER_NAME={}",
            model.name, model.directory.string()));
      }
    }
    models.push_back(std::move(model));
  }
  return models;
}

}  // namespace qx
