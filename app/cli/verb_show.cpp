// qx show: one item of a run in full.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "base/error.h"
#include "eval/show.h"
#include "options.h"
#include "runs/choice_metric.h"
#include "terminal.h"
#include "text/visible.h"
#include "verbs.h"

namespace qx::cli {
namespace {
namespace fs = std::filesystem;

constexpr int kWidthOfPipes = 100;

struct ShowFlags {
  std::string run, task, data, model, flipped_from;
  std::vector<std::int64_t> indices;
  bool wrong = false, no_model = false, allow_swap = false;
  std::int64_t limit = 5;
  OutputOptions out;
  ComputeOptions compute;
};

// An item to show, and what the other run of --flipped-from made of it.
struct Wanted {
  const Answer* answer = nullptr;
  std::string heading;  // "right in base (picks 0), wrong here (picks 2)"
};

const Answer& find_answer(const std::vector<Answer>& answers, std::int64_t index,
                          const ShowFlags& o) {
  for (const Answer& answer : answers) {
    if (answer.index == index) return answer;
  }
  const std::string place = fmt::format("{}: {} {}", o.run, o.task, index);
  if (answers.empty()) fail(place, "is not answered in this run: it has no answers yet");
  fail(place, "is not answered in this run, which holds {} items with index {} to {}",
       answers.size(), answers.front().index, answers.back().index);
}

std::vector<Wanted> flipped(const std::vector<Answer>& answers, const ShowFlags& o) {
  const RecordedRun other(o.flipped_from);
  const std::vector<Answer> others = other.answers(o.task);
  std::map<std::int64_t, const Answer*> by_index;
  for (const Answer& answer : others) by_index[answer.index] = &answer;
  std::vector<Wanted> wanted;
  for (const Answer& answer : answers) {
    const auto found = by_index.find(answer.index);
    if (found == by_index.end()) continue;
    const Answer& before = *found->second;
    if (before.doc_hash != answer.doc_hash || before.choices.size() != answer.choices.size()) {
      fail(fmt::format("{} item {}", o.task, answer.index),
           "{} and {} answered different questions (doc_hash {} and {}), expected runs over the "
           "same "
           "data file",
           o.flipped_from, o.run, before.doc_hash, answer.doc_hash);
    }
    const ChoiceMetric metric = default_choice_metric(answer);
    const auto was = static_cast<int>(picked_choice(before.choices, metric));
    const auto is = static_cast<int>(picked_choice(answer.choices, metric));
    if (was == is) continue;
    const auto judged = [&](int pick) { return pick == answer.gold ? "right" : "wrong"; };
    wanted.push_back({&answer, fmt::format("{}: {} in {} (picks {}), {} here (picks {})",
                                           choice_metric_name(metric), judged(was), other.name(),
                                           was, judged(is), is)});
  }
  return wanted;
}

std::vector<Wanted> wanted_items(const std::vector<Answer>& answers, const ShowFlags& o) {
  std::vector<Wanted> wanted;
  for (const std::int64_t index : o.indices)
    wanted.push_back({&find_answer(answers, index, o), ""});
  if (!o.flipped_from.empty()) wanted = flipped(answers, o);
  if (o.wrong) {
    const auto is_wrong = [](const Answer& a) {
      return picked_choice(a.choices, default_choice_metric(a)) != static_cast<std::size_t>(a.gold);
    };
    if (o.flipped_from.empty()) {
      for (const Answer& answer : answers) wanted.push_back({&answer, ""});
    }
    std::erase_if(wanted, [&](const Wanted& w) { return !is_wrong(*w.answer); });
  }
  return wanted;
}

void check_options(const ShowFlags& o) {
  const bool chooses = o.wrong || !o.flipped_from.empty();
  if (chooses && !o.indices.empty()) {
    throw UsageError("got INDEX and --wrong or --flipped-from, expected one way to choose items");
  }
  if (!chooses && o.indices.empty()) {
    throw UsageError("got no item, expected an INDEX, --wrong or --flipped-from");
  }
  for (const std::int64_t index : o.indices) {
    if (index < 0) throw UsageError(fmt::format("INDEX: got {}, expected at least 0", index));
  }
  if (o.no_model && !o.model.empty()) throw UsageError("--model and --no-model exclude each other");
}

void run(const ShowFlags& o) {
  check_options(o);
  const RecordedRun recorded(o.run);
  const std::vector<Answer> answers = recorded.answers(o.task);
  std::vector<Wanted> wanted = wanted_items(answers, o);
  const std::size_t all = wanted.size();
  if (o.indices.empty() && wanted.size() > static_cast<std::size_t>(o.limit)) {
    wanted.resize(static_cast<std::size_t>(o.limit));
  }
  const std::unique_ptr<ThreadPool> pool = start_compute(o.compute);
  ShowOptions options;
  options.use_model = !o.no_model;
  if (!o.data.empty()) options.data = o.data;
  if (!o.model.empty()) options.model = resolve_model(o.model);
  ItemViewer viewer(recorded, o.task, options, *pool);
  if (!viewer.model_directory().empty() && !wanted.empty()) {
    const Json& kv_bits = recorded.setting("kv_bits");
    KvBits bits = KvBits::k32;
    for (const KvBits fewer : {KvBits::k16, KvBits::k8, KvBits::k4}) {
      if (kv_bits == static_cast<int>(fewer)) bits = fewer;
    }
    require_memory("show", viewer.model_directory(), kDefaultContext, bits, o.allow_swap);
  }

  Json items = Json::array();
  const TextStyle style{output_width(kWidthOfPipes), colours_wanted()};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const ShownItem item = viewer.show(*wanted[i].answer);
    if (o.out.json) {
      items.push_back(shown_json(recorded, item));
      if (!wanted[i].heading.empty()) items.back()["flip"] = wanted[i].heading;
      continue;
    }
    if (i > 0) fmt::print("\n{}\n\n", std::string(static_cast<std::size_t>(style.width), '='));
    if (!wanted[i].heading.empty()) fmt::print("{}\n", wanted[i].heading);
    fmt::print("{}", shown_text(recorded, item, style));
    std::fflush(stdout);
  }
  if (o.out.json) {
    // Model text may hold anything; the dump is valid UTF-8 because every string was made so.
    const bool one = o.indices.size() == 1;
    Json document = one ? items[0] : Json{{"of", all}, {"items", items}};
    fmt::print("{}\n", dump_json(document, 2, false, false));
  } else if (wanted.empty()) {
    fmt::print("no item of {} {}\n", o.task,
               o.flipped_from.empty() ? "is wrong" : "changed its answer");
  } else if (all > wanted.size()) {
    fmt::print("\n{} of {} items; --limit N shows more\n", wanted.size(), all);
  }
}

}  // namespace

void add_show(CLI::App& app) {
  auto o = std::make_shared<ShowFlags>();
  CLI::App* verb = app.add_subcommand(
      "show", "one item of a run in full: prompt, tokens, log-probabilities, scores, gold");
  verb->add_option("RUN", o->run, "a run folder RUNS/NAME")->required();
  verb->add_option("TASK", o->task, "one of its tasks")->required();
  verb->add_option("INDEX", o->indices, "0-based rows of the data file");
  verb->add_flag("--wrong", o->wrong, "the items that the run got wrong, instead of INDEX");
  verb->add_option("--flipped-from", o->flipped_from,
                   "the items that this other run RUNS/NAME answered otherwise, instead of INDEX");
  verb->add_option("--limit", o->limit, "how many items --wrong and --flipped-from show")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--data", o->data, "folder of TASK.jsonl (default: the file that the run read)");
  verb->add_option("-m,--model", o->model,
                   "where the model lies now (default: where the run found it)");
  verb->add_flag("--no-model", o->no_model, "only what the files of the run hold");
  add_compute_options(*verb, o->compute);
  add_memory_option(*verb, o->allow_swap);
  add_output_options(*verb, o->out);
  set_example(*verb, "qx show runs/q4-hi arc_easy 17");
  verb->callback([o] { run(*o); });
}

}  // namespace qx::cli
