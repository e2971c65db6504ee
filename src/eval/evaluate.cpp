// Running an evaluation.
// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>

#include "base/build_info.h"
#include "base/error.h"
#include "base/progress.h"
#include "eval/prompt.h"
#include "io/staged.h"
#include "kernels/api.h"
#include "runs/model_facts.h"
#include "tasks/python_text.h"
#include "text/chat_template.h"

namespace qx {
namespace {

constexpr std::size_t kWindowItems = 256;    // scored together: they share passes and beginnings
constexpr std::int64_t kSampleTokens = 384;  // of a dry run's speed measurement

// A model's texts: everything but its weights.
struct Asker {
  EvalModel model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::unique_ptr<Prompter> prompter;
  PairRules rules;
};

Asker make_asker(const EvalModel& model, const EvalRequest& request) {
  Asker asker{model, nullptr, ChatTemplate::load(model.directory), nullptr, {}};
  asker.rules.chat = request.chat.value_or(asker.chat_template.has_value());
  if (asker.rules.chat && !asker.chat_template) {
    throw UsageError(fmt::format("--chat: {} has no chat template; leave it out or say --plain",
                                 model.directory.string()));
  }
  asker.rules.convention =
      request.convention.value_or(asker.rules.chat ? Convention::kMlxLm : Convention::kLmEval);
  asker.rules.max_length = load_model_config(model.directory).max_position_embeddings;
  asker.tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(model.directory));
  return asker;
}

// The prompter keeps pointers, so it is made once the asker lies where it stays.
void complete(Asker& asker, const Json& template_variables) {
  asker.prompter = std::make_unique<Prompter>(*asker.tokenizer,
                                              asker.chat_template ? &*asker.chat_template : nullptr,
                                              PromptRules{asker.rules, template_variables});
}

std::vector<TaskData> load_data(const EvalRequest& request) {
  std::vector<TaskData> data;
  for (const Task* task : request.tasks) {
    data.push_back(load_task_data(*task, request.data_directory, request.rows));
  }
  return data;
}

std::vector<DataUsed> data_used(const std::vector<TaskData>& data) {
  std::vector<DataUsed> used;
  for (const TaskData& d : data) {
    used.push_back({std::string(d.task->name), d.origin, d.file, d.hash,
                    static_cast<std::int64_t>(d.items.size()), d.rows});
  }
  return used;
}

// run.json without its times.
Json run_json(const Asker& asker, const std::vector<TaskData>& data, const EvalRequest& request,
              int threads) {
  Json run;
  run["name"] = asker.model.name;
  run["model"] = model_facts_json(measure_model(asker.model.directory));
  run["mode"] = asker.rules.chat ? "chat" : "plain";
  run["convention"] = convention_name(asker.rules.convention);
  run["template_hash"] = asker.rules.chat ? Json(asker.chat_template->hash()) : Json();
  run["template_variables"] = asker.rules.chat ? asker.prompter->template_variables() : Json();
  run["max_length"] = asker.rules.max_length;
  run["few_shot"] = 0;
  run["offset"] = request.rows.offset;
  run["tasks"] = Json::object();
  for (const TaskData& d : data) {
    Json& task = run["tasks"][std::string(d.task->name)];
    task["data"] = d.file;
    task["origin"] = d.origin;
    task["data_hash"] = d.hash;
    task["items"] = d.items.size();
    task["rows"] = d.rows;
  }
  run["precision"] = precision_name(request.precision);
  run["kv_bits"] = static_cast<int>(request.kv_bits);
  run["kernels"] = kernels().name;
  run["threads"] = threads;
  const BuildInfo& build = build_info();
  run["version"] = build.version;
  run["commit"] = build.commit;
  run["dirty"] = build.dirty;
  run["compiler"] = build.compiler;
  return run;
}

std::vector<EncodedItem> encode(const Asker& asker, const TaskData& data, ThreadPool& pool,
                                std::string* prompt_lines) {
  std::vector<EncodedItem> encoded(data.items.size());
  std::vector<std::string> lines(prompt_lines != nullptr ? data.items.size() : 0);
  pool.parallel_for(data.items.size(), 16, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      std::vector<Prompt> prompts = asker.prompter->prompts(data.items[i]);
      if (prompt_lines != nullptr) {
        lines[i] = prompts_json(data.task->name, data.items[i].index, prompts).dump() + '\n';
      }
      encoded[i].data = &data.items[i];
      for (Prompt& prompt : prompts) encoded[i].pairs.push_back(std::move(prompt.pair));
    }
  });
  for (const std::string& line : lines) *prompt_lines += line;
  return encoded;
}

std::int64_t count_cut(std::span<const EncodedItem> items) {
  std::int64_t cut = 0;
  for (const EncodedItem& item : items) {
    cut += std::count_if(item.pairs.begin(), item.pairs.end(),
                         [](const EncodedPair& pair) { return pair.cut_tokens > 0; });
  }
  return cut;
}

// The answers that a log holds must be answers to these items.
void check_answers(const AnswerLog& log, const TaskData& data, const std::string& file) {
  std::map<std::int64_t, const DataItem*> items;
  for (const DataItem& item : data.items) items[item.index] = &item;
  std::set<std::int64_t> seen;
  for (const Answer& answer : log.answers()) {
    const auto found = items.find(answer.index);
    const std::string place = fmt::format("{}: item {}", file, answer.index);
    if (answer.task != data.task->name || found == items.end()) {
      fail(place, "is not among the items of this run; start over with --force");
    }
    if (!seen.insert(answer.index).second)
      fail(place, "is answered twice; start over with --force");
    const DataItem& item = *found->second;
    if (answer.doc_hash != item.doc_hash || answer.gold != item.item.gold ||
        answer.choices.size() != item.item.continuations.size()) {
      fail(place, "was another question when it was answered; start over with --force");
    }
  }
}

Answer make_answer(const Task& task, const DataItem& data, const std::vector<PairScore>& scores) {
  Answer answer;
  answer.task = task.name;
  answer.index = data.index;
  answer.doc_hash = data.doc_hash;
  answer.gold = data.item.gold;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::string& text = data.item.continuations[i];
    answer.choices.push_back({scores[i].ll, scores[i].tokens, python_len(text),
                              static_cast<std::int64_t>(text.size()), scores[i].greedy});
  }
  const auto gold = static_cast<std::size_t>(answer.gold);
  answer.acc = picked_by_ll(answer.choices) == gold ? 1 : 0;
  if (task.has_acc_norm) answer.acc_norm = picked_by_ll_per_char(answer.choices) == gold ? 1 : 0;
  return answer;
}

// Everything of one model's part of an evaluation that is known before its weights are loaded.
struct Part {
  Asker asker;
  std::unique_ptr<RunFolder> folder;
  std::vector<std::unique_ptr<AnswerLog>> logs;  // one per task
  Json run;
  std::int64_t unanswered = 0;
};

std::unique_ptr<Part> make_part(const EvalModel& model, const std::vector<TaskData>& data,
                                const EvalRequest& request, int threads) {
  auto part = std::make_unique<Part>();
  part->asker = make_asker(model, request);
  complete(part->asker, request.template_variables);
  part->run = run_json(part->asker, data, request, threads);
  return part;
}

void open_folder(Part& part, const std::vector<TaskData>& data, const EvalRequest& request) {
  part.folder =
      std::make_unique<RunFolder>(request.runs / part.asker.model.name, part.run, request.how);
  for (const TaskData& d : data) {
    const std::filesystem::path file = part.folder->answers_file(d.task->name);
    part.logs.push_back(std::make_unique<AnswerLog>(file));
    check_answers(*part.logs.back(), d, file.string());
    part.unanswered +=
        static_cast<std::int64_t>(d.items.size() - part.logs.back()->answers().size());
  }
}

void warn_of_cuts(const Asker& asker, const TaskResult& result, bool quiet) {
  if (result.cut_requests == 0 || quiet) return;
  fmt::print(stderr, "{}: {}: {} contexts were cut on the left to fit the model's {} positions\n",
             asker.model.name, result.task->name, result.cut_requests, asker.rules.max_length);
}

ModelOutcome run_part(Part& part, const std::vector<TaskData>& data, const EvalRequest& request,
                      ThreadPool& pool, Progress& progress) {
  const Asker& asker = part.asker;
  std::unique_ptr<Model> model;
  ModelOutcome outcome{asker.model, part.folder->path(), part.run, {}};
  for (std::size_t t = 0; t < data.size(); ++t) {
    AnswerLog& log = *part.logs[t];
    std::string lines;
    std::vector<EncodedItem> items =
        encode(asker, data[t], pool, request.write_prompts ? &lines : nullptr);
    if (request.write_prompts)
      write_file_atomic(part.folder->prompts_file(data[t].task->name), lines, true);
    const std::int64_t cut = count_cut(items);

    std::set<std::int64_t> answered;
    for (const Answer& answer : log.answers()) answered.insert(answer.index);
    std::erase_if(items,
                  [&](const EncodedItem& item) { return answered.contains(item.data->index); });
    if (!items.empty() && !model)
      model = load_model(asker.model.directory, pool, request.precision, request.kv_bits);
    progress.note(fmt::format("{} {}", asker.model.name, data[t].task->name));
    if (model) {
      answer_items(*model, *data[t].task, items, {}, [&](Answer answer) {
        log.append(std::move(answer));
        progress.advance();
      });
    }
    log.finish();
    TaskResult result = summarize(*data[t].task, log.answers());
    result.rows = data[t].rows;
    result.cut_requests = cut;
    warn_of_cuts(asker, result, request.quiet);
    outcome.results.push_back(result);
  }
  part.folder->finish(results_json(outcome.results));
  return outcome;
}

double measure_seconds(Model& model, std::span<const EncodedItem> items, const Task& task,
                       std::int64_t tokens_to_forward) {
  std::vector<ScoreRequest> sample;
  std::size_t count = 0;
  std::int64_t tokens = 0;
  while (count < items.size() && tokens < kSampleTokens) {
    for (const EncodedPair& pair : items[count].pairs)
      sample.push_back({pair, items[count].data->index});
    tokens = count_tokens(sample, {}).forward;
    ++count;
  }
  if (tokens == 0) return 0;
  const auto begin = std::chrono::steady_clock::now();
  answer_items(model, task, items.first(count), {}, [](const Answer&) {});
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / static_cast<double>(tokens) * static_cast<double>(tokens_to_forward);
}

std::vector<ScoreRequest> requests_of(std::span<const EncodedItem> items) {
  std::vector<ScoreRequest> requests;
  for (const EncodedItem& item : items) {
    for (const EncodedPair& pair : item.pairs) requests.push_back({pair, item.data->index});
  }
  return requests;
}

}  // namespace

void answer_items(Model& model, const Task& task, std::span<const EncodedItem> items,
                  const PassRules& rules, const std::function<void(Answer)>& on_answer) {
  struct Progressing {
    std::vector<PairScore> scores;
    std::size_t left = 0;
  };
  for (std::size_t first = 0; first < items.size(); first += kWindowItems) {
    const std::span<const EncodedItem> window =
        items.subspan(first, std::min(kWindowItems, items.size() - first));
    std::vector<Progressing> state;
    std::vector<std::pair<std::size_t, std::size_t>>
        origin;  // request -> item of the window, choice
    for (std::size_t i = 0; i < window.size(); ++i) {
      const std::size_t choices = window[i].pairs.size();
      for (std::size_t c = 0; c < choices; ++c) origin.emplace_back(i, c);
      state.push_back({std::vector<PairScore>(choices), choices});
    }
    score_pairs(model, requests_of(window), rules,
                [&](std::size_t request, const PairScore& score) {
                  const auto [item, choice] = origin[request];
                  state[item].scores[choice] = score;
                  if (--state[item].left == 0) {
                    on_answer(make_answer(task, *window[item].data, state[item].scores));
                  }
                });
  }
}

EvalOutcome evaluate(const EvalRequest& request, ThreadPool& pool) {
  const std::vector<TaskData> data = load_data(request);
  std::vector<std::unique_ptr<Part>> parts;
  for (const EvalModel& model : request.models) {
    parts.push_back(make_part(model, data, request, pool.threads()));
  }
  std::int64_t unanswered = 0;
  for (const auto& part : parts) {
    open_folder(*part, data, request);
    unanswered += part->unanswered;
  }
  Progress progress("eval", static_cast<std::uint64_t>(unanswered), "items", request.quiet);
  EvalOutcome outcome;
  outcome.data = data_used(data);
  for (const auto& part : parts) {
    outcome.models.push_back(run_part(*part, data, request, pool, progress));
  }
  return outcome;
}

EvalEstimate estimate(const EvalRequest& request, ThreadPool& pool) {
  const std::vector<TaskData> data = load_data(request);
  EvalEstimate result;
  result.data = data_used(data);
  for (const EvalModel& model : request.models) {
    Asker asker = make_asker(model, request);
    complete(asker, request.template_variables);
    const std::unique_ptr<Model> weights =
        load_model(model.directory, pool, request.precision, request.kv_bits);
    ModelEstimate estimate{model, {}, 0};
    for (const TaskData& d : data) {
      std::string lines;
      const std::vector<EncodedItem> items =
          encode(asker, d, pool, request.write_prompts ? &lines : nullptr);
      if (request.write_prompts) {
        const std::string name = fmt::format("prompts-{}.jsonl", d.task->name);
        write_file_atomic(request.runs / model.name / name, lines, true);
      }
      TaskEstimate task{d.task, static_cast<std::int64_t>(items.size()), {}};
      for (std::size_t first = 0; first < items.size(); first += kWindowItems) {
        const std::size_t count = std::min(kWindowItems, items.size() - first);
        const TokenCounts counts =
            count_tokens(requests_of(std::span(items).subspan(first, count)), {});
        task.tokens.forward += counts.forward;
        task.tokens.unshared += counts.unshared;
        task.tokens.scored += counts.scored;
      }
      estimate.seconds += measure_seconds(*weights, items, *d.task, task.tokens.forward);
      estimate.tasks.push_back(task);
    }
    result.models.push_back(std::move(estimate));
  }
  return result;
}

}  // namespace qx
