// Models: loading, hidden states, logits and scores as NumPy arrays that own their memory.
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>
#include <variant>

#include "arrays.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "bindings.h"
#include "eval/scorer.h"
#include "interruptible.h"
#include "io/find_model.h"
#include "model/memory_need.h"

namespace nb = nanobind;
using namespace nb::literals;

// What type checkers see where a list of tokens is taken.
#define QX_TOKENS "collections.abc.Sequence[int] | numpy.typing.NDArray[numpy.integer]"
#define QX_ARRAY "numpy.typing.NDArray[numpy.float32]"

namespace qx::python {
namespace {

std::shared_ptr<LoadedModel> load_model_directory(const std::string& name,
                                                  const std::string& precision, int kv_bits,
                                                  int threads, std::int64_t context,
                                                  bool allow_swap) {
  auto loaded = std::make_shared<LoadedModel>();
  loaded->precision = precision_of(precision);
  loaded->kv_bits = kv_bits_of(kv_bits);
  std::string tight;
  {
    const nb::gil_scoped_release release;
    loaded->directory = resolve_model(name);
    const ModelConfig config = load_model_config(loaded->directory);
    const std::int64_t positions = std::min(context, config.max_position_embeddings);
    tight = check_memory(loaded->directory, config, positions, loaded->kv_bits, allow_swap);
    loaded->pool = make_pool(threads);
    loaded->model =
        load_model(loaded->directory, *loaded->pool, loaded->precision, loaded->kv_bits);
  }
  if (!tight.empty()) warn(tight);
  for (const std::string& text : loaded->model->warnings()) warn(text);
  return loaded;
}

void check_tokens(const LoadedModel& self, std::span<const TokenId> tokens) {
  const ModelConfig& config = self.model->config();
  if (tokens.empty()) fail("tokens", "got none, expected at least one");
  if (static_cast<std::int64_t>(tokens.size()) > config.max_position_embeddings) {
    fail("tokens", "got {}, expected at most the model's {} positions", tokens.size(),
         config.max_position_embeddings);
  }
  for (const TokenId id : tokens) {
    if (id >= 0 && id < config.vocab_size) continue;
    fail("tokens", "got {}, expected one of the model's, 0 to {}", id, config.vocab_size - 1);
  }
}

// Calls take(hidden, first position) for every piece of the tokens; with last_only for the last
// token alone. Needs the GIL, which it gives up while it computes.
void run_tokens(LoadedModel& self, const std::vector<TokenId>& tokens, bool last_only,
                const std::function<void(const Hidden&, std::size_t)>& take) {
  check_tokens(self, tokens);
  std::vector<std::int32_t> every(static_cast<std::size_t>(kPromptPiece));
  std::iota(every.begin(), every.end(), 0);
  const nb::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.mutex);
  const auto segment = self.model->new_segment(nullptr, static_cast<std::int64_t>(tokens.size()));
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t count = std::min(tokens.size() - begin, every.size());
    const bool last = begin + count == tokens.size();
    const std::span<const std::int32_t> all(every.data(), count);
    const Chunk chunk{segment.get(), std::span(tokens).subspan(begin, count),
                      !last_only ? all
                      : last     ? all.last(1)
                                 : all.first(0)};
    const Hidden hidden = self.model->forward({&chunk, 1});
    if (hidden.rows > 0) take(hidden, last_only ? 0 : begin);
    begin += count;
    const nb::gil_scoped_acquire gil;
    check_signals();
  }
}

FloatMatrix logits(LoadedModel& self, const std::vector<TokenId>& tokens, bool last_only) {
  const auto vocab = static_cast<std::size_t>(self.model->config().vocab_size);
  OwnedArray<float> out(last_only ? 1 : tokens.size(), vocab);
  run_tokens(self, tokens, last_only, [&](const Hidden& hidden, std::size_t position) {
    const auto rows = static_cast<std::size_t>(hidden.rows);
    self.model->logits_rows(hidden, 0, hidden.rows, {out.data() + position * vocab, rows * vocab});
  });
  return std::move(out).as_matrix();
}

FloatMatrix hidden_states(LoadedModel& self, const std::vector<TokenId>& tokens) {
  const auto width = static_cast<std::size_t>(self.model->config().hidden_size);
  OwnedArray<float> out(tokens.size(), width);
  run_tokens(self, tokens, false, [&](const Hidden& hidden, std::size_t position) {
    std::copy(hidden.values.begin(), hidden.values.end(), out.data() + position * width);
  });
  return std::move(out).as_matrix();
}

using TextOrTokens = std::variant<std::string, std::vector<TokenId>>;
using ScorePair = std::pair<TextOrTokens, TextOrTokens>;

EncodedPair encode_pair(const PairEncoder& encoder, const LoadedModel& self, const ScorePair& pair,
                        const std::string& place) {
  const auto* context = std::get_if<std::string>(&pair.first);
  const auto* continuation = std::get_if<std::string>(&pair.second);
  if ((context == nullptr) != (continuation == nullptr)) {
    fail(place, "got a text and tokens, expected two texts or two lists of tokens");
  }
  if (context != nullptr) {
    const std::string one[] = {*continuation};
    return encoder.encode(*context, one, place).front();
  }
  const auto& before = std::get<std::vector<TokenId>>(pair.first);
  const auto& scored = std::get<std::vector<TokenId>>(pair.second);
  for (const std::vector<TokenId>* ids : {&before, &scored}) {
    for (const TokenId id : *ids) {
      if (id >= 0 && id < self.model->config().vocab_size) continue;
      fail(place, "got token {}, expected one of the model's, 0 to {}", id,
           self.model->config().vocab_size - 1);
    }
  }
  return encoder.fit(before, scored, place);
}

struct ScoreColumns {
  std::vector<double> logprobs;
  std::vector<std::uint8_t> greedy;
  std::vector<std::int64_t> offsets = {0};  // of a pair's tokens in token_logprobs
  std::vector<double> token_logprobs;
  std::vector<TokenId> token_best;
  std::int64_t cut = 0;
};

constexpr std::size_t kScoreWindow = 1024;  // pairs that are scored together

void score_window(LoadedModel& self, std::span<const ScoreRequest> window, std::size_t first,
                  ScoreColumns& out) {
  score_pairs(
      *self.model, window, {},
      [&](std::size_t i, const PairScore& score) {
        out.logprobs[first + i] = score.ll;
        out.greedy[first + i] = score.greedy ? 1 : 0;
      },
      [&](std::size_t i, std::size_t position, const TokenScore& token) {
        const std::size_t at = static_cast<std::size_t>(out.offsets[first + i]) + position;
        out.token_logprobs[at] = token.logprob;
        out.token_best[at] = token.best;
      });
}

ScoreColumns score_all(LoadedModel& self, const PairEncoder& encoder,
                       const std::vector<ScorePair>& pairs) {
  ScoreColumns out;
  std::vector<ScoreRequest> requests;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    requests.push_back({encode_pair(encoder, self, pairs[i], fmt::format("pair {}", i)),
                        static_cast<std::int64_t>(i)});
    const EncodedPair& pair = requests.back().pair;
    out.cut += pair.cut_tokens > 0 ? 1 : 0;
    out.offsets.push_back(out.offsets.back() + static_cast<std::int64_t>(pair.continuation.size()));
  }
  out.logprobs.resize(pairs.size());
  out.greedy.resize(pairs.size());
  out.token_logprobs.resize(static_cast<std::size_t>(out.offsets.back()));
  out.token_best.resize(out.token_logprobs.size());
  const std::lock_guard<std::mutex> lock(self.mutex);
  Progress progress("scoring", pairs.size(), "pairs", true);
  for (std::size_t begin = 0; begin < pairs.size(); begin += kScoreWindow) {
    check_interrupt();
    const std::size_t count = std::min(kScoreWindow, pairs.size() - begin);
    score_window(self, std::span(requests).subspan(begin, count), begin, out);
    progress.advance(count);
  }
  return out;
}

// (logprobs, greedy, offsets, token_logprobs, token_best, cut)
nb::tuple score(LoadedModel& self, const ModelTokenizer& tokenizer,
                const std::vector<ScorePair>& pairs, const nb::object& progress) {
  const PairEncoder encoder(tokenizer.tokenizer, {Convention::kLmEval, false,
                                                  self.model->config().max_position_embeddings});
  ScoreColumns out = interruptible([&] { return score_all(self, encoder, pairs); }, progress);
  return nb::make_tuple(owned_column(std::move(out.logprobs)), owned_bools(std::move(out.greedy)),
                        owned_column(std::move(out.offsets)),
                        owned_column(std::move(out.token_logprobs)),
                        owned_column(std::move(out.token_best)), out.cut);
}

std::shared_ptr<PromptCache> new_cache(const std::shared_ptr<LoadedModel>& model,
                                       std::int64_t context) {
  const std::int64_t longest = model->model->config().max_position_embeddings;
  if (context < 0 || context > longest) {
    throw UsageError(
        fmt::format("context: got {}, expected 1 to the model's {}, or None", context, longest));
  }
  auto cache = std::make_shared<PromptCache>();
  cache->owner = model;
  const nb::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(model->mutex);
  cache->kept = std::make_unique<KeptSequence>(*model->model, context > 0 ? context : longest);
  return cache;
}

void require_free(const PromptCache& cache) {
  if (cache.in_use) fail("prompt_cache", "is in use by a text that is not finished");
}

class InUse {
 public:
  explicit InUse(PromptCache& cache) : cache_(cache) { cache_.in_use = true; }
  ~InUse() { cache_.in_use = false; }  // with the GIL
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  PromptCache& cache_;
};

// Computes what follows and returns the logits after the last token.
FloatVector append(PromptCache& self, const std::vector<TokenId>& tokens) {
  require_free(self);
  LoadedModel& model = *self.owner;
  check_tokens(model, tokens);
  const std::size_t held = self.kept->tokens().size();
  if (static_cast<std::int64_t>(held + tokens.size()) > self.kept->context()) {
    fail("prompt_cache", "got {} tokens after {}, expected at most {} together", tokens.size(),
         held, self.kept->context());
  }
  std::vector<float> out(static_cast<std::size_t>(model.model->config().vocab_size));
  const InUse in_use(self);
  const nb::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(model.mutex);
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t count =
        std::min(tokens.size() - begin, static_cast<std::size_t>(kPromptPiece));
    const bool last = begin + count == tokens.size();
    const Hidden hidden = self.kept->append(std::span(tokens).subspan(begin, count), last);
    if (last) model.model->logits(hidden.row(0), out);
    begin += count;
    const nb::gil_scoped_acquire gil;
    check_signals();
  }
  const nb::gil_scoped_acquire gil;
  return owned_column(std::move(out));
}

std::int64_t keep_shared(PromptCache& self, const std::vector<TokenId>& tokens) {
  require_free(self);
  const InUse in_use(self);
  const nb::gil_scoped_release release;
  const std::lock_guard<std::mutex> lock(self.owner->mutex);
  return self.kept->keep_shared(tokens);
}

}  // namespace

void bind_model(nb::module_& m) {
  nb::class_<LoadedModel>(m, "Model", "A loaded model. Its methods may be called from any thread.")
      .def("logits", &logits, "tokens"_a, "last_only"_a = false,
           nb::sig("def logits(self, tokens: " QX_TOKENS ", last_only: bool = False) -> " QX_ARRAY),
           "Logits after each token, float32 [tokens, vocab_size]; with last_only after the last "
           "one, [1, vocab_size].")
      .def("hidden", &hidden_states, "tokens"_a,
           nb::sig("def hidden(self, tokens: " QX_TOKENS ") -> " QX_ARRAY),
           "Final hidden states after the last norm, float32 [tokens, hidden_size].")
      .def("score_pairs", &score, "tokenizer"_a, "pairs"_a, "progress"_a.none(),
           nb::sig("def score_pairs(self, tokenizer: Tokenizer, pairs: collections.abc.Sequence["
                   "tuple[str | collections.abc.Sequence[int], str | "
                   "collections.abc.Sequence[int]]], progress: object | None) -> tuple["
                   "numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.bool_], "
                   "numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64], "
                   "numpy.typing.NDArray[numpy.int32], int]"))
      .def_prop_ro(
          "path", [](const LoadedModel& self) { return self.directory.string(); },
          "The directory that it was loaded from.")
      .def_prop_ro("model_type",
                   [](const LoadedModel& self) { return self.model->config().model_type; })
      .def_prop_ro("vocab_size",
                   [](const LoadedModel& self) { return self.model->config().vocab_size; })
      .def_prop_ro("hidden_size",
                   [](const LoadedModel& self) { return self.model->config().hidden_size; })
      .def_prop_ro(
          "context",
          [](const LoadedModel& self) { return self.model->config().max_position_embeddings; },
          "The most positions that a text may have.")
      .def_prop_ro(
          "precision",
          [](const LoadedModel& self) { return std::string(precision_name(self.precision)); })
      .def_prop_ro("kv_bits",
                   [](const LoadedModel& self) { return static_cast<int>(self.kv_bits); })
      .def_prop_ro("threads", [](const LoadedModel& self) { return self.pool->threads(); })
      .def_prop_ro("backend", [](const LoadedModel& self) { return self.model->backend(); });
  m.def("load_model", &load_model_directory, "model"_a, "precision"_a, "kv_bits"_a, "threads"_a,
        "context"_a, "allow_swap"_a);
  nb::class_<PromptCache>(
      m, "PromptCache",
      "Keys and values that outlive one text: the next prompt computes only what follows the "
      "longest beginning that both share.")
      .def("append", &append, "tokens"_a,
           nb::sig("def append(self, tokens: " QX_TOKENS ") -> " QX_ARRAY),
           "Compute these tokens after those held; the logits after the last one, float32 "
           "[vocab_size].")
      .def("keep_shared", &keep_shared, "tokens"_a,
           nb::sig("def keep_shared(self, tokens: " QX_TOKENS ") -> int"),
           "Forget all behind the beginning shared with these tokens; how many stay.")
      .def_prop_ro(
          "tokens",
          [](const PromptCache& self) {
            require_free(self);
            const auto held = self.kept->tokens();
            return std::vector<TokenId>(held.begin(), held.end());
          },
          "The tokens whose keys and values are held.")
      .def_prop_ro("context", [](const PromptCache& self) { return self.kept->context(); });
  m.def("new_cache", &new_cache, "model"_a, "context"_a);
}

}  // namespace qx::python
