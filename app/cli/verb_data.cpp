// qx data fetch, qx data check: task data from the Hub, and what a folder of it holds.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/utc_time.h"
#include "hub/data_check.h"
#include "hub/fetch.h"
#include "hub/http.h"
#include "hub/rows_client.h"
#include "hub/settings.h"
#include "options.h"
#include "tasks/dataset.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

struct DataFlags {
  std::vector<std::string> tasks;
  std::string data;
  bool force = false, accept_size = false, no_train = false;
  OutputOptions output;
};

// TASK .. with commas or spaces between. None named means all.
std::vector<const Task*> chosen_tasks(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ",") + name;
  return parse_task_list(list.empty() ? "all" : list);
}

fs::path fetch_folder(const DataFlags& o) {
  if (!o.data.empty()) return o.data;
  const fs::path cache = cache_directory();
  if (cache.empty()) {
    throw UsageError("expected --data DIR, as neither QX_CACHE, XDG_CACHE_HOME nor HOME is set");
  }
  return cache / "tasks";
}

const char* status_name(FetchStatus status) {
  switch (status) {
    case FetchStatus::kFetched:
      return "fetched";
    case FetchStatus::kKept:
      return "kept";
    case FetchStatus::kKeptUnrecorded:
      return "kept, not recorded";
  }
  return "";
}

void print_fetched(const std::vector<FetchedFile>& files, const fs::path& folder,
                   const RowsClient& client, const DataFlags& o) {
  if (o.output.json) {
    Json list = Json::array();
    for (const FetchedFile& f : files) {
      list.push_back({{"file", f.name},
                      {"task", f.task},
                      {"status", status_name(f.status)},
                      {"rows", f.rows},
                      {"resumed_rows", f.resumed_rows},
                      {"bytes", f.bytes},
                      {"sha256", f.sha256},
                      {"revision", f.revision.empty() ? Json() : Json(f.revision)}});
    }
    const Json json{{"folder", folder.string()},
                    {"service", client.settings().service.text()},
                    {"files", std::move(list)},
                    {"requests", client.requests()},
                    {"retries", client.retries()}};
    fmt::print("{}\n", dump_json(json, 2, false, true));
    return;
  }
  for (const FetchedFile& f : files) {
    fmt::print(
        "{:<26} {:>6} rows {:>8.2f} MB  sha256 {}  {}{}\n", f.name, f.rows,
        static_cast<double>(f.bytes) / 1e6, f.sha256.substr(0, 12), status_name(f.status),
        f.resumed_rows > 0 ? fmt::format(", {} rows from an earlier run", f.resumed_rows) : "");
  }
  fmt::print("in {}: {} requests to {}, {} retries\n", folder.string(), client.requests(),
             client.settings().service.text(), client.retries());
}

void run_fetch(const DataFlags& o) {
  const std::vector<WantedFile> wanted = wanted_files(chosen_tasks(o.tasks), !o.no_train);
  const fs::path folder = fetch_folder(o);
  const HubSettings settings = hub_settings(process_environment);
  const auto notice = [](const std::string& text) {
    fmt::print(stderr, "qx data fetch: {}\n", without_controls(text));
    std::fflush(stderr);
  };
  if (!settings.token_withheld.empty()) notice("warning: " + settings.token_withheld);
  const char* elsewhere = std::getenv("QX_DATA");
  if (o.data.empty() && elsewhere != nullptr && *elsewhere != '\0') {
    notice(fmt::format("warning: qx eval takes data from $QX_DATA ({}) first, not from {}",
                       elsewhere, folder.string()));
  }
  HttpClient http({}, [](const Url& url) { return proxy_for(url, process_environment); });
  RowsClient client(
      settings, [&http](const HttpRequest& request) { return http.get(request); },
      interruptible_sleep, notice, std::random_device{}());
  std::uint64_t rows = 0;
  for (const WantedFile& file : wanted) rows += static_cast<std::uint64_t>(file.source.rows);
  Progress progress("fetch", rows, "rows", o.output.quiet);
  FetchOptions options;
  options.folder = folder;
  options.force = o.force;
  options.accept_size = o.accept_size;
  options.notice = notice;
  options.utc_now = utc_now;
  options.progress = [&progress](std::int64_t got, const WantedFile& file) {
    progress.advance(static_cast<std::uint64_t>(got));
    progress.note(file.name);
  };
  try {
    print_fetched(fetch_files(wanted, client, options), folder, client, o);
  } catch (const Interrupted&) {
    notice("what was fetched is kept; the same command goes on from there");
    throw;
  }
}

std::string counts_text(const std::map<int, std::int64_t>& gold, std::int64_t rows) {
  std::string text;
  for (const auto& [answer, count] : gold) {
    text += fmt::format(
        "{}{:.1f}", text.empty() ? "" : " / ",
        100.0 * static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(rows, 1)));
  }
  return text.empty() ? "-" : text;
}

std::string choices_text(const std::map<std::int64_t, std::int64_t>& choices) {
  if (choices.size() == 1) return std::to_string(choices.begin()->first);
  std::string text;
  for (const auto& [n, rows] : choices) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", n, rows);
  }
  return text.empty() ? "-" : text;
}

void print_file(const FileCheck& c) {
  if (!c.present) return;
  const std::string published = c.published ? std::to_string(*c.published) : "-";
  fmt::print("{:<26} {:>6} {:>9} {:>10} {:>6} {:>7} {:>8.1f}  {:<27} {:<22} {:>5} to {:<5} {}\n",
             c.name, c.rows, published, c.fault_count, c.duplicate_count, c.same_question_count,
             100 * c.majority_share, counts_text(c.gold, c.rows - c.fault_count),
             choices_text(c.choices), c.shortest, c.longest, c.record);
}

Json pairs_json(const std::vector<LinePair>& pairs) {
  Json list = Json::array();
  for (const LinePair& p : pairs) list.push_back({p.first, p.second});
  return list;
}

Json file_json(const FileCheck& c) {
  Json json{{"file", c.name},
            {"path", c.path},
            {"origin", c.origin},
            {"train", c.train},
            {"present", c.present}};
  if (c.present) {
    Json faults = Json::array(), gold = Json::object(), choices = Json::object();
    for (const RowFault& f : c.faults) faults.push_back({{"line", f.line}, {"error", f.text}});
    for (const auto& [answer, count] : c.gold) gold[std::to_string(answer)] = count;
    for (const auto& [n, count] : c.choices) choices[std::to_string(n)] = count;
    json.update({{"bytes", c.bytes},
                 {"rows", c.rows},
                 {"published", c.published ? Json(*c.published) : Json()},
                 {"sha256", c.sha256},
                 {"record", c.record},
                 {"revision", c.revision.empty() ? Json() : Json(c.revision)},
                 {"unreadable", c.fault_count},
                 {"unreadable_lines", std::move(faults)},
                 {"duplicates", c.duplicate_count},
                 {"duplicate_lines", pairs_json(c.duplicates)},
                 {"same_question", c.same_question_count},
                 {"contradictions", c.contradiction_count},
                 {"contradiction_lines", pairs_json(c.contradictions)},
                 {"gold", std::move(gold)},
                 {"majority_share", c.majority_share},
                 {"choices", std::move(choices)},
                 {"shortest_chars", c.shortest},
                 {"shortest_line", c.shortest_line},
                 {"longest_chars", c.longest},
                 {"longest_line", c.longest_line}});
    if (c.train) {
      json["overlap"] = c.overlap_count;
      json["overlap_lines"] = pairs_json(c.overlap);
    }
  }
  json["errors"] = c.errors;
  json["warnings"] = c.warnings;
  return json;
}

struct Findings {
  std::size_t errors = 0, warnings = 0;
};

Findings print_checks(const std::vector<TaskCheck>& checks, const DataFlags& o) {
  Findings found;
  Json tasks = Json::array();
  if (!o.output.json) {
    fmt::print("{:<26} {:>6} {:>9} {:>10} {:>6} {:>7} {:>8}  {:<27} {:<22} {:<14} {}\n", "file",
               "rows", "published", "unreadable", "double", "same q.", "major %",
               "gold 0 / 1 / .. in %", "choices", "characters", "SHA-256");
  }
  for (const TaskCheck& check : checks) {
    for (const FileCheck* file : {&check.evaluation, &check.train}) {
      found.errors += file->errors.size();
      found.warnings += file->warnings.size();
      if (!o.output.json) print_file(*file);
    }
    tasks.push_back(
        {{"task", check.task}, {"files", {file_json(check.evaluation), file_json(check.train)}}});
  }
  if (o.output.json) {
    const Json json{
        {"tasks", std::move(tasks)}, {"errors", found.errors}, {"warnings", found.warnings}};
    fmt::print("{}\n", dump_json(json, 2, false, true));
    return found;
  }
  for (const TaskCheck& check : checks) {
    for (const FileCheck* file : {&check.evaluation, &check.train}) {
      for (const std::string& text : file->errors) {
        fmt::print("error: {}: {}\n", file->path, without_controls(text));
      }
      for (const std::string& text : file->warnings) {
        fmt::print("warning: {}: {}\n", file->path, without_controls(text));
      }
    }
  }
  fmt::print("{} errors, {} warnings\n", found.errors, found.warnings);
  return found;
}

void run_check(const DataFlags& o) {
  CheckOptions options;
  if (!o.data.empty()) {
    options.folder = o.data;
    if (!fs::is_directory(o.data)) fail(o.data, "expected a folder with task data");
  }
  std::vector<TaskCheck> checks;
  for (const Task* task : chosen_tasks(o.tasks)) {
    check_interrupt();
    TaskCheck check = check_task_data(*task, options, !o.tasks.empty());
    if (check.evaluation.present || check.train.present || !o.tasks.empty()) {
      checks.push_back(std::move(check));
    }
  }
  if (checks.empty()) fail(o.data, "holds no data of any task; qx data fetch gets it");
  const Findings found = print_checks(checks, o);
  if (found.errors > 0) {
    throw Error(o.data.empty() ? "task data" : o.data,
                fmt::format("{} errors, listed above", found.errors));
  }
}

void add_common(CLI::App& verb, DataFlags& o, const char* data_help) {
  verb.add_option("TASK", o.tasks,
                  "arc_challenge, arc_easy, boolq, hellaswag, openbookqa, piqa, winogrande or all "
                  "(the default), or the path of a description (.json)")
      ->delimiter(',');
  verb.add_option("--data", o.data, data_help);
  add_output_options(verb, o.output);
}

}  // namespace

void add_data(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("data", "get and validate the tasks' data");
  verb->require_subcommand(1);
  set_example(*verb, "qx data fetch arc_easy piqa && qx data check");

  auto fetch_options = std::make_shared<DataFlags>();
  DataFlags& f = *fetch_options;
  CLI::App* fetch = verb->add_subcommand(
      "fetch", "get evaluation and train sets from the Hugging Face Hub; resumes what was stopped");
  add_common(*fetch, f, "folder to write (default: tasks/ in the cache, where qx eval looks)");
  fetch->add_flag("--no-train", f.no_train,
                  "only the evaluation sets, not the train splits for few-shot examples");
  fetch->add_flag("--force", f.force, "fetch again what is there already, and replace it");
  fetch->add_flag("--accept-size", f.accept_size,
                  "take a set whose number of rows is not the published one");
  set_example(*fetch, "HF_TOKEN=hf_.. qx data fetch all");
  fetch->callback([fetch_options] { run_fetch(*fetch_options); });

  auto check_options = std::make_shared<DataFlags>();
  DataFlags& c = *check_options;
  CLI::App* check = verb->add_subcommand(
      "check", "what a folder of task data holds, and what is wrong with it (exit 1 on errors)");
  add_common(*check, c, "folder to check (default: where qx eval would take each task from)");
  set_example(*check, "qx data check arc_easy --data my_tasks --json");
  check->callback([check_options] { run_check(*check_options); });
}

}  // namespace qx::cli
