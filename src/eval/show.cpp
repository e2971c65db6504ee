// SPDX-License-Identifier: Apache-2.0
#include "eval/show.h"

#include <algorithm>
#include <bit>
#include <system_error>

#include "base/build_info.h"
#include "base/error.h"
#include "kernels/api.h"
#include "tasks/python_text.h"

namespace qx {
namespace fs = std::filesystem;
namespace {

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

bool same_score(const ChoiceAnswer& a, const ChoiceAnswer& b) {
  return same_bits(a.ll, b.ll) && a.tokens == b.tokens && a.greedy == b.greedy;
}

Precision recorded_precision(const RecordedRun& run) {
  const std::string place = (run.folder() / "run.json").string();
  const std::string name = json_string(run.run(), "precision", place);
  for (const Precision p : {Precision::kReference, Precision::kExact, Precision::kFast}) {
    if (name == precision_name(p)) return p;
  }
  fail(place, "key 'precision': got '{}', expected reference, exact or fast", name);
}

KvBits recorded_kv_bits(const RecordedRun& run) {
  const std::string place = (run.folder() / "run.json").string();
  const std::int64_t bits = json_int_or(run.run(), "kv_bits", 32, place);
  if (bits != 4 && bits != 8 && bits != 16 && bits != 32) {
    fail(place, "key 'kv_bits': got {}, expected 32, 16, 8 or 4", bits);
  }
  return static_cast<KvBits>(bits);
}

std::string told(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "unknown" : value.dump();
}

}  // namespace

std::vector<ChoiceAnswer> ShownItem::answers() const {
  std::vector<ChoiceAnswer> all;
  for (const ShownChoice& choice : choices) all.push_back(choice.answer());
  return all;
}

ItemViewer::ItemViewer(const RecordedRun& run, std::string task, const ShowOptions& options,
                       ThreadPool& pool)
    : run_(run), task_(std::move(task)), pool_(pool) {
  open_data(options);
  open_model(options);
  kept_ = kept_prompts(run_, task_);
}

void ItemViewer::open_data(const ShowOptions& options) {
  try {
    data_ = std::make_unique<RecordedData>(run_, task_, options.data);
  } catch (const Error& error) {
    if (options.data) throw;
    missing_.push_back(
        fmt::format("the question's row: {}{}", error.what(),
                    run_.imported() ? "" : "; --data DIR names a folder that has it"));
  }
}

void ItemViewer::open_model(const ShowOptions& options) {
  if (!options.use_model) {
    missing_.push_back("log-probabilities of tokens: --no-model was given");
    return;
  }
  const fs::path directory = options.model.value_or(run_.model_directory());
  std::error_code ignored;
  if (directory.empty()) {
    missing_.push_back(
        run_.imported()
            ? "log-probabilities of tokens: an imported run names no model that can be run here"
            : "log-probabilities of tokens: run.json names no model");
    return;
  }
  if (!options.model && !fs::is_directory(directory, ignored)) {
    missing_.push_back(
        fmt::format("log-probabilities of tokens: the model {} is gone; --model DIR names where it "
                    "lies now",
                    directory.string()));
    return;
  }
  const std::string difference = model_difference(run_, directory);
  if (!difference.empty()) {
    fail(directory.string(),
         "is not the model that answered: {}. --model DIR names where that one lies; --no-model "
         "shows what the log holds",
         difference);
  }
  if (!data_) {
    missing_.push_back("log-probabilities of tokens: they need the question's row");
    return;
  }
  directory_ = directory;
  prompter_ = std::make_unique<RecordedPrompter>(run_, directory);
}

ShownItem ItemViewer::show(const Answer& answer) {
  ShownItem shown;
  shown.logged = answer;
  shown.missing = missing_;
  for (const ChoiceAnswer& choice : answer.choices) {
    shown.choices.emplace_back();
    shown.choices.back().logged = choice;
  }
  std::optional<DataItem> item;
  if (data_) {
    item = data_->item(answer);
    shown.row = data_->row(answer);
    shown.place = item->place;
    if (!data_->same_file()) {
      shown.notes.push_back(
          fmt::format("{} changed since the run, but this row did not", data_->file()));
    }
    for (std::size_t c = 0; c < shown.choices.size(); ++c) {
      shown.choices[c].text = item->item.continuations[c];
    }
  }
  if (item && prompter_) {
    recompute(shown, *item);
  } else {
    add_kept_prompts(shown);
    if (item && !shown.choices.front().context) {
      for (std::size_t c = 0; c < shown.choices.size(); ++c) {
        shown.choices[c].context = item->item.context_of(c);
      }
      shown.missing.push_back(
          "the exact prompt: it needs the model's tokenizer and template, or the file of qx eval "
          "--write-prompts; what is shown is the question before the template");
    }
  }
  return shown;
}

void ItemViewer::add_kept_prompts(ShownItem& shown) const {
  const auto found = kept_.find(shown.logged.index);
  if (found == kept_.end()) return;
  if (found->second.size() != shown.choices.size()) {
    fail((run_.folder() / fmt::format("prompts-{}.jsonl", task_)).string(),
         "item {} has {} choices, expected {} as answered", shown.logged.index,
         found->second.size(), shown.choices.size());
  }
  for (std::size_t c = 0; c < shown.choices.size(); ++c) {
    const KeptChoice& kept = found->second[c];
    shown.choices[c].context = kept.context;
    shown.choices[c].continuation = kept.continuation;
    shown.choices[c].ids = kept.ids;
    shown.choices[c].scored_begin = kept.scored_begin;
  }
}

void ItemViewer::recompute(ShownItem& shown, const DataItem& item) {
  if (!model_) {
    model_ = load_model(directory_, pool_, recorded_precision(run_), recorded_kv_bits(run_));
  }
  const Tokenizer& tokenizer = prompter_->tokenizer();
  std::vector<Prompt> prompts = prompter_->prompts(data_->task(), item);
  std::vector<ScoreRequest> requests;
  std::vector<EncodedPair> pairs;
  for (std::size_t c = 0; c < prompts.size(); ++c) {
    ShownChoice& choice = shown.choices[c];
    const EncodedPair& pair = prompts[c].pair;
    choice.context = prompts[c].context;
    choice.continuation = prompts[c].continuation;
    choice.ids = pair.context;
    choice.ids.insert(choice.ids.end(), pair.continuation.begin(), pair.continuation.end());
    for (const TokenId id : choice.ids) choice.id_texts.push_back(tokenizer.token_bytes(id));
    choice.scored_begin = static_cast<std::int64_t>(pair.context.size());
    choice.cut_tokens = pair.cut_tokens;
    if (!pair.dropped) {
      for (const TokenId id : pair.continuation) {
        choice.scored.push_back({id, 0, 0, 0, tokenizer.token_bytes(id), ""});
      }
    }
    requests.push_back({pair, 0});
    pairs.push_back(pair);
  }
  score_pairs(
      *model_, requests, {},
      [&](std::size_t c, const PairScore& score) {
        ChoiceAnswer now = shown.choices[c].logged;
        now.ll = score.ll;
        now.tokens = score.tokens;
        now.greedy = score.greedy;
        shown.choices[c].now = now;
      },
      [&](std::size_t c, std::size_t position, const TokenScore& score) {
        ShownToken& token = shown.choices[c].scored[position];
        token.logprob = score.logprob;
        token.best = score.best;
        token.best_text = tokenizer.token_bytes(score.best);
      });
  add_best(shown, pairs);
  shown.recomputed = true;
  shown.equal = std::all_of(shown.choices.begin(), shown.choices.end(), [](const ShownChoice& c) {
    return c.now && same_score(*c.now, c.logged);
  });
  if (!shown.equal) explain_difference(shown);
}

// The probability of the most likely token wherever another one was scored: one more pass.
void ItemViewer::add_best(ShownItem& shown, const std::vector<EncodedPair>& pairs) {
  std::vector<ScoreRequest> requests;
  std::vector<ShownToken*> wanted;
  for (std::size_t c = 0; c < pairs.size(); ++c) {
    std::vector<TokenId> context = pairs[c].context;
    for (ShownToken& token : shown.choices[c].scored) {
      if (token.best == token.id) {
        token.best_logprob = token.logprob;
      } else {
        requests.push_back({EncodedPair{context, {token.best}, 0, false}, 0});
        wanted.push_back(&token);
      }
      context.push_back(token.id);
    }
  }
  score_pairs(*model_, requests, {},
              [&](std::size_t r, const PairScore& score) { wanted[r]->best_logprob = score.ll; });
}

void ItemViewer::explain_difference(ShownItem& shown) const {
  std::vector<std::string> causes;
  const std::string kernels_then = told(run_.setting("kernels"));
  if (kernels_then != kernels().name) {
    causes.push_back(
        fmt::format("kernels {} then, {} now (--isa chooses them)", kernels_then, kernels().name));
  }
  const BuildInfo& build = build_info();
  if (run_.setting("version") != Json(build.version)) {
    causes.push_back(
        fmt::format("version {} then, {} now", told(run_.setting("version")), build.version));
  }
  if (run_.setting("commit") != Json(build.commit)) {
    causes.push_back(
        fmt::format("commit {} then, {} now", told(run_.setting("commit")), build.commit));
  }
  if (!run_.setting("earlier_sessions").empty()) {
    causes.push_back("the run was answered by several builds or machines (earlier_sessions)");
  }
  shown.notes.push_back(
      causes.empty()
          ? std::string(
                "the recomputed answer differs from the logged one, and nothing that run.json "
                "records does: the log was changed, or a fault of qx; please report it")
          : fmt::format("the recomputed answer differs from the logged one. What differs: {}",
                        fmt::join(causes, "; ")));
}

}  // namespace qx
