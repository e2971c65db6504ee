// qx diff: what differs between two model directories.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>

#include "convert/diff.h"
#include "options.h"
#include "verbs.h"

namespace qx::cli {
namespace {

struct DiffFlags {
  std::string a, b;
  ComputeOptions compute;
  OutputOptions out;
};

const char* kind_name(TensorDifference::Kind kind) {
  switch (kind) {
    case TensorDifference::Kind::kOnlyA:
      return "only_a";
    case TensorDifference::Kind::kOnlyB:
      return "only_b";
    case TensorDifference::Kind::kShape:
      return "shape";
    case TensorDifference::Kind::kStorage:
      return "storage";
    case TensorDifference::Kind::kValues:
      return "values";
  }
  return "";
}

Json diff_json(const DirectoryDiff& diff) {
  Json json;
  json["equal"] = diff.is_empty();
  json["equal_tensors"] = diff.equal_tensors;
  json["tensors"] = Json::array();
  for (const TensorDifference& t : diff.tensors) {
    Json entry;
    entry["name"] = t.name;
    entry["kind"] = kind_name(t.kind);
    entry["a"] = t.a.empty() ? Json() : Json(t.a);
    entry["b"] = t.b.empty() ? Json() : Json(t.b);
    entry["different_weights"] = t.compared ? Json(t.different_weights) : Json();
    entry["rms"] = t.compared ? Json(t.rms) : Json();
    entry["largest"] = t.compared ? Json(t.largest) : Json();
    json["tensors"].push_back(std::move(entry));
  }
  json["config"] = Json::array();
  for (const KeyDifference& d : diff.config) {
    json["config"].push_back({{"key", d.key}, {"a", d.a}, {"b", d.b}});
  }
  json["files"] = {{"only_a", diff.files_only_a},
                   {"only_b", diff.files_only_b},
                   {"different", diff.files_different}};
  return json;
}

std::string shown(const Json& value) {
  const std::string text = value.is_null() ? "absent" : value.dump();
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

void print_text(const DirectoryDiff& diff) {
  for (const TensorDifference& t : diff.tensors) {
    switch (t.kind) {
      case TensorDifference::Kind::kOnlyA:
        fmt::print("- {}  {}\n", t.name, t.a);
        break;
      case TensorDifference::Kind::kOnlyB:
        fmt::print("+ {}  {}\n", t.name, t.b);
        break;
      case TensorDifference::Kind::kValues:
        fmt::print("~ {}  {}: {} weights differ, rms {:.3g}, largest {:.3g}\n", t.name, t.a,
                   t.different_weights, t.rms, t.largest);
        break;
      default:
        fmt::print("~ {}  {} -> {}", t.name, t.a, t.b);
        if (t.compared) fmt::print(": rms {:.3g}, largest {:.3g}", t.rms, t.largest);
        fmt::print("\n");
    }
  }
  fmt::print("{} tensors are stored with the same bytes, {} differ\n", diff.equal_tensors,
             diff.tensors.size());
  for (const KeyDifference& d : diff.config) {
    fmt::print("config.json {}: {} -> {}\n", d.key, shown(d.a), shown(d.b));
  }
  for (const std::string& name : diff.files_different) fmt::print("{} differs\n", name);
  for (const std::string& name : diff.files_only_a) fmt::print("{} is in the first only\n", name);
  for (const std::string& name : diff.files_only_b) fmt::print("{} is in the second only\n", name);
  if (diff.is_empty()) fmt::print("no differences\n");
}

void run(const DiffFlags& o) {
  const auto a = resolve_model(o.a), b = resolve_model(o.b);
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  const DirectoryDiff diff = diff_directories(a, b, *pool, o.out.quiet);
  if (o.out.json) {
    fmt::print("{}\n", dump_json(diff_json(diff), 2, false, false));
  } else {
    print_text(diff);
  }
}

}  // namespace

void add_diff(CLI::App& app) {
  auto options = std::make_shared<DiffFlags>();
  DiffFlags& o = *options;
  CLI::App* verb = app.add_subcommand(
      "diff", "what differs between two model directories: tensors, config, other files");
  verb->add_option("A", o.a, "model directory, or cached Hub id")->required();
  verb->add_option("B", o.b, "another one")->required();
  add_compute_options(*verb, o.compute);
  add_output_options(*verb, o.out);
  set_example(*verb, "qx diff models/q4-hi models/qx63-hi");
  verb->callback([options] { run(*options); });
}

}  // namespace qx::cli
