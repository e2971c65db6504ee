// SPDX-License-Identifier: Apache-2.0
#include "report/flips_to_read.h"

#include <algorithm>
#include <memory>
#include <set>
#include <system_error>

#include "base/error.h"
#include "eval/recorded_run.h"
#include "runs/choice_metric.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Flips that change the score before those that do not; find_flips() sorted each by its move.
void put_scoring_first(std::vector<Flip>& flips) {
  std::stable_partition(flips.begin(), flips.end(),
                        [](const Flip& flip) { return flip.kind != FlipKind::kChanged; });
}

// The texts of one task's items, from what is still there: the model's tokenizer and template, the
// kept prompts, or the data alone.
class TaskTexts {
 public:
  TaskTexts(const RecordedRun& run, std::string task, const FlipSettings& settings,
            const RecordedPrompter* prompter)
      : task_(std::move(task)), settings_(settings), prompter_(prompter) {
    try {
      kept_ = kept_prompts(run, task_);
    } catch (const Error& error) {
      problem_ = error.what();
    }
    try {
      data_ = std::make_unique<RecordedData>(run, task_, settings.data);
    } catch (const Error& error) {
      problem_ = error.what();
    }
  }

  // Why texts are missing; "" while none is.
  const std::string& problem() const { return problem_; }

  // answers: rising by index. One item per answer, without texts where there are none.
  std::vector<AskedItem> items(const std::vector<Answer>& answers) {
    std::vector<DataItem> rows;
    try {
      if (data_) rows = data_->items(answers);
    } catch (const Error& error) {
      problem_ = error.what();
      data_.reset();
    }
    try {
      return items_of(answers, rows);
    } catch (const Error& error) {  // of the template: the question alone is shown then
      problem_ = error.what();
      prompter_ = nullptr;
      return items_of(answers, rows);
    }
  }

 private:
  std::vector<AskedItem> items_of(const std::vector<Answer>& answers,
                                  const std::vector<DataItem>& rows) const {
    std::vector<AskedItem> items;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      items.push_back(item(answers[i], rows.empty() ? nullptr : &rows[i]));
    }
    return items;
  }

  AskedItem item(const Answer& answer, const DataItem* row) const {
    AskedItem item;
    item.task = task_;
    item.index = answer.index;
    std::vector<std::string> contexts, choices;
    const auto kept = kept_.find(answer.index);
    if (kept != kept_.end() && kept->second.size() == answer.choices.size()) {
      item.as_sent = true;
      for (const KeptChoice& choice : kept->second) {
        contexts.push_back(choice.context);
        choices.push_back(choice.continuation);
      }
    } else if (row != nullptr && prompter_ != nullptr) {
      item.as_sent = true;
      for (const Prompt& prompt : prompter_->prompts(data_->task(), *row)) {
        contexts.push_back(prompt.context);
        choices.push_back(prompt.continuation);
      }
    } else if (row != nullptr) {
      for (std::size_t c = 0; c < row->item.continuations.size(); ++c) {
        contexts.push_back(row->item.context_of(c));
        choices.push_back(row->item.continuations[c]);
      }
    }
    put_texts(item, contexts, choices);
    return item;
  }

  void put_texts(AskedItem& item, const std::vector<std::string>& contexts,
                 const std::vector<std::string>& choices) const {
    const bool shared =
        !contexts.empty() && std::all_of(contexts.begin(), contexts.end(),
                                         [&](const std::string& c) { return c == contexts[0]; });
    if (shared) item.prompt = shorten_middle(contexts[0], settings_.prompt_bytes, item.cut_bytes);
    for (std::size_t c = 0; c < choices.size(); ++c) {
      const std::string text = shared ? choices[c] : contexts[c] + choices[c];
      item.choices.push_back(shorten_middle(text, settings_.choice_bytes, item.cut_bytes));
    }
  }

  std::string task_;
  const FlipSettings& settings_;
  const RecordedPrompter* prompter_;
  std::map<std::int64_t, std::vector<KeptChoice>> kept_;
  std::unique_ptr<RecordedData> data_;
  std::string problem_;
};

// Bytes that a text takes on the page: what is special in HTML or JSON is escaped there (html.h).
std::size_t page_size(const std::string& text) {
  std::size_t size = 3;
  for (const char c : text) {
    const bool special = c == '<' || c == '>' || c == '&' || static_cast<unsigned char>(c) < 0x20;
    size += special ? 6 : c == '"' || c == '\\' ? 2 : 1;
  }
  return size;
}

std::size_t page_size(const AskedItem& item) {
  std::size_t size = 100 + page_size(item.prompt);
  for (const std::string& choice : item.choices) size += page_size(choice);
  return size;
}

std::size_t page_size(const FlipToRead& flip) {
  return 180 + 20 * flip.values_from.size();
}

const Answer* find_answer(const std::vector<Answer>& answers, std::int64_t index) {
  const auto found =
      std::lower_bound(answers.begin(), answers.end(), index,
                       [](const Answer& a, std::int64_t wanted) { return a.index < wanted; });
  return found == answers.end() || found->index != index ? nullptr : &*found;
}

// Takes flips in turns from all lists, the first of each before the second of any, until they fill
// the budget; so that no variant and no task is starved by those before it.
void spend_budget(FlipsToRead& result, std::size_t budget) {
  std::vector<bool> paid(result.items.size());
  std::vector<std::size_t> kept(result.lists.size());
  std::size_t spent = 0;
  bool more = true;
  for (std::size_t rank = 0; more; ++rank) {
    more = false;
    for (std::size_t l = 0; l < result.lists.size(); ++l) {
      FlipList& list = result.lists[l];
      if (rank >= list.flips.size() || kept[l] < rank) continue;
      const std::size_t item = list.flips[rank].item;
      const std::size_t price =
          page_size(list.flips[rank]) + (paid[item] ? 0 : page_size(result.items[item]));
      if (spent + price > budget) continue;
      spent += price;
      paid[item] = true;
      kept[l] = rank + 1;
      more = true;
    }
  }
  for (std::size_t l = 0; l < result.lists.size(); ++l) {
    FlipList& list = result.lists[l];
    list.left_out += static_cast<std::int64_t>(list.flips.size() - kept[l]);
    list.flips.resize(kept[l]);
  }
  // Items that nobody refers to any more are dropped.
  std::vector<std::size_t> position(result.items.size());
  std::vector<AskedItem> items;
  for (std::size_t i = 0; i < result.items.size(); ++i) {
    position[i] = items.size();
    if (paid[i]) items.push_back(std::move(result.items[i]));
  }
  result.items = std::move(items);
  for (FlipList& list : result.lists) {
    for (FlipToRead& flip : list.flips) flip.item = position[flip.item];
  }
}

// Reads texts and answers for the chosen flips.
class FlipReader {
 public:
  FlipReader(const std::vector<RunResults>& runs, std::size_t baseline,
             const std::vector<fs::path>& folders, const FlipSettings& settings)
      : runs_(runs),
        baseline_(baseline),
        folders_(folders),
        settings_(settings),
        base_(folders[baseline]) {
    open_prompter();
  }

  FlipsToRead read() {
    for (const auto& [task, results] : runs_[baseline_].tasks) read_task(task, results);
    order_lists();
    spend_budget(result_, settings_.page_bytes);
    return std::move(result_);
  }

 private:
  void open_prompter() {
    const fs::path directory = base_.model_directory();
    std::error_code ignored;
    if (directory.empty() || !fs::is_directory(directory, ignored)) {
      result_.notes.push_back(fmt::format(
          "Prompts are shown without chat template and examples where the run kept none: "
          "the model of {} is not where it was ({}).",
          base_.name(), directory.empty() ? "not recorded" : directory.string()));
      return;
    }
    try {
      prompter_ = std::make_unique<RecordedPrompter>(base_, directory);
    } catch (const Error& error) {
      result_.notes.push_back(
          fmt::format("Prompts are shown without chat template and examples: {}", error.what()));
    }
  }

  void read_task(const std::string& task, const TaskResults& results) {
    std::vector<FlipList> lists;
    std::set<std::int64_t> wanted;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      const auto other = runs_[r].tasks.find(task);
      if (r == baseline_ || other == runs_[r].tasks.end()) continue;
      lists.push_back(choose(runs_[r].name, results, other->second));
      for (const FlipToRead& flip : lists.back().flips) wanted.insert(flip.flip.index);
    }
    const std::size_t first_item = result_.items.size();
    const std::vector<Answer> before = base_.answers(task);
    std::vector<Answer> asked;
    for (const std::int64_t index : wanted) {
      if (const Answer* answer = find_answer(before, index)) asked.push_back(*answer);
    }
    if (!asked.empty()) {
      TaskTexts texts(base_, task, settings_, prompter_.get());
      for (AskedItem& item : texts.items(asked)) result_.items.push_back(std::move(item));
      if (!texts.problem().empty()) {
        result_.notes.push_back(
            fmt::format("The questions of {} cannot be shown in full: {}", task, texts.problem()));
      }
    }
    for (FlipList& list : lists) {
      fill(list, before, first_item);
      result_.lists.push_back(std::move(list));
    }
  }

  FlipList choose(const std::string& variant, const TaskResults& before,
                  const TaskResults& after) const {
    FlipList list;
    list.variant = variant;
    list.task = before.task;
    list.metric = before.metric;
    std::vector<Flip> flips = find_flips(before, after);
    for (const Flip& flip : flips) ++list.counts[static_cast<std::size_t>(flip.kind)];
    for (const ItemResult& item : before.items) {
      list.items += std::binary_search(
          after.items.begin(), after.items.end(), item,
          [](const ItemResult& a, const ItemResult& b) { return a.index < b.index; });
    }
    put_scoring_first(flips);
    if (flips.size() > settings_.per_task) {
      list.left_out = static_cast<std::int64_t>(flips.size() - settings_.per_task);
      flips.resize(settings_.per_task);
    }
    for (Flip& flip : flips) list.flips.push_back({std::move(flip), 0, {}, {}});
    return list;
  }

  // Points each flip at its item and looks up what both runs made of the choices.
  void fill(FlipList& list, const std::vector<Answer>& before, std::size_t first_item) const {
    const auto metric = find_choice_metric(list.metric);
    if (!metric) throw InternalError("flips: unknown metric " + list.metric);
    std::size_t variant = 0;
    while (runs_[variant].name != list.variant) ++variant;
    const std::vector<Answer> after = RecordedRun(folders_[variant]).answers(list.task);
    for (FlipToRead& flip : list.flips) {
      const Answer* from = find_answer(before, flip.flip.index);
      const Answer* to = find_answer(after, flip.flip.index);
      if (from == nullptr || to == nullptr) {
        fail(list.task, "item {} changed while it was read, expected runs that nothing writes to",
             flip.flip.index);
      }
      flip.values_from = choice_values(from->choices, *metric);
      flip.values_to = choice_values(to->choices, *metric);
      const auto item = std::lower_bound(
          result_.items.begin() + static_cast<std::ptrdiff_t>(first_item), result_.items.end(),
          flip.flip.index,
          [](const AskedItem& a, std::int64_t wanted) { return a.index < wanted; });
      flip.item = static_cast<std::size_t>(item - result_.items.begin());
    }
  }

  void order_lists() {
    const auto place = [&](const FlipList& list) {
      std::size_t r = 0;
      while (runs_[r].name != list.variant) ++r;
      return r;
    };
    std::stable_sort(result_.lists.begin(), result_.lists.end(),
                     [&](const FlipList& a, const FlipList& b) { return place(a) < place(b); });
  }

  const std::vector<RunResults>& runs_;
  std::size_t baseline_;
  const std::vector<fs::path>& folders_;
  const FlipSettings& settings_;
  RecordedRun base_;
  std::unique_ptr<RecordedPrompter> prompter_;
  FlipsToRead result_;
};

}  // namespace

std::string shorten_middle(const std::string& text, std::size_t limit, std::int64_t& cut) {
  if (text.size() <= limit) return text;
  std::size_t head = limit / 2, tail = text.size() - (limit - head);
  while (head > 0 && is_continuation(text[head])) --head;
  while (tail < text.size() && is_continuation(text[tail])) ++tail;
  cut += static_cast<std::int64_t>(tail - head);
  return fmt::format("{}\n[.. {} bytes left out ..]\n{}", text.substr(0, head), tail - head,
                     text.substr(tail));
}

FlipsToRead flips_to_read(const std::vector<RunResults>& runs, std::size_t baseline,
                          const std::vector<fs::path>& folders, const FlipSettings& settings) {
  QX_CHECK(runs.size() == folders.size() && baseline < runs.size());
  return FlipReader(runs, baseline, folders, settings).read();
}

}  // namespace qx
