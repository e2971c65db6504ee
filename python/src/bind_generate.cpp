// The settings of a generation, and the stream of its steps.
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "base/error.h"
#include "bindings.h"
#include "json_python.h"
#include "text_stream.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qx::python {
namespace {

TokenId token_of(nb::handle value, const char* place, const LoadedModel& model,
                 const ModelTokenizer& tokenizer) {
  std::int64_t id = -1;
  if (nb::isinstance<nb::str>(value)) {
    const auto text = nb::cast<std::string>(value);
    const std::optional<TokenId> found = tokenizer.tokenizer.id_of(text);
    if (!found) throw UsageError(fmt::format("{}: no token '{}' in this model", place, text));
    id = *found;
  } else if (!nb::try_cast(value, id)) {
    throw UsageError(fmt::format("{}: expected tokens as int or str", place));
  }
  if (id < 0 || id >= model.model->config().vocab_size) {
    throw UsageError(fmt::format("{}: got token {}, expected one of the model's, 0 to {}", place,
                                 id, model.model->config().vocab_size - 1));
  }
  return static_cast<TokenId>(id);
}

template <typename T>
void take(nb::dict& settings, const char* name, T& value) {
  if (!settings.contains(name)) return;
  if (!nb::try_cast(nb::object(settings[name]), value)) {
    throw UsageError(fmt::format("{}: got {}, expected a number in its range", name,
                                 nb::cast<std::string>(nb::repr(nb::object(settings[name])))));
  }
  nb::del(settings[name]);
}

SamplerOptions sampling_of(nb::dict settings, const LoadedModel& model,
                           const ModelTokenizer& tokenizer) {
  SamplerOptions s;
  take(settings, "temp", s.temperature);
  take(settings, "top_p", s.top_p);
  take(settings, "min_p", s.min_p);
  take(settings, "top_k", s.top_k);
  take(settings, "seed", s.seed);
  take(settings, "xtc_probability", s.xtc_probability);
  take(settings, "xtc_threshold", s.xtc_threshold);
  take(settings, "repetition_penalty", s.repetition_penalty);
  take(settings, "presence_penalty", s.presence_penalty);
  take(settings, "frequency_penalty", s.frequency_penalty);
  take(settings, "repetition_context_size", s.repetition_context_size);
  take(settings, "presence_context_size", s.presence_context_size);
  take(settings, "frequency_context_size", s.frequency_context_size);
  if (settings.contains("logit_bias")) {
    for (const auto& [token, bias] : nb::cast<nb::dict>(settings["logit_bias"])) {
      double value = 0;
      if (!nb::try_cast(nb::object(nb::borrow(bias)), value)) {
        throw UsageError(fmt::format("logit_bias: got {}, expected a number",
                                     nb::cast<std::string>(nb::repr(bias))));
      }
      s.logit_bias.emplace_back(token_of(token, "logit_bias", model, tokenizer), value);
    }
    nb::del(settings["logit_bias"]);
  }
  for (const auto& [name, value] : settings) {
    throw UsageError(
        fmt::format("no sampling setting is called '{}'", nb::cast<std::string>(nb::str(name))));
  }
  try {
    check_sampler_options(s, model.model->config().vocab_size);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  return s;
}

std::shared_ptr<TextStream> new_stream(const std::shared_ptr<LoadedModel>& model,
                                       const std::shared_ptr<ModelTokenizer>& tokenizer,
                                       std::vector<TokenId> prompt, std::int64_t max_tokens,
                                       const nb::dict& sampling,
                                       const std::vector<std::string>& stop,
                                       const nb::list& stop_tokens, const nb::object& json_schema,
                                       const std::shared_ptr<PromptCache>& cache,
                                       bool skip_special_tokens) {
  if (max_tokens == 0 || max_tokens < -1) {
    throw UsageError(fmt::format(
        "max_tokens: got {}, expected a positive number, or -1 for no limit", max_tokens));
  }
  TextSettings settings;
  settings.prompt = std::move(prompt);
  settings.generate.max_tokens =
      max_tokens < 0 ? std::numeric_limits<std::int64_t>::max() : max_tokens;
  settings.generate.sampling =
      sampling_of(nb::cast<nb::dict>(sampling.attr("copy")()), *model, *tokenizer);
  for (const std::string& text : stop) {
    if (text.empty())
      throw UsageError("stop: got an empty text, expected one that ends the answer");
  }
  settings.stop = stop;
  for (nb::handle token : stop_tokens) {
    settings.generate.stop.push_back(token_of(token, "extra_eos_tokens", *model, *tokenizer));
  }
  if (!json_schema.is_none()) {
    try {
      settings.schema =
          std::make_shared<SchemaGrammar>(from_python(json_schema, "json_schema"), "json_schema");
    } catch (const Error& e) {
      throw UsageError(e.what());
    }
  }
  settings.skip_special_tokens = skip_special_tokens;
  return std::make_shared<TextStream>(model, tokenizer, cache, std::move(settings));
}

double per_second(std::int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

// (text, token, logprobs or None, prompt_tokens, prompt_tps, generation_tokens, generation_tps,
// peak GB, finish_reason or None, reused_tokens)
nb::tuple next_step(TextStream& self) {
  std::optional<TextStep> step = self.next();
  if (!step) throw nb::stop_iteration();
  const bool any = step->generated > 0;
  const nb::object reason =
      step->finish_reason.empty() ? nb::none() : nb::object(nb::str(step->finish_reason.c_str()));
  return nb::make_tuple(
      step->text, step->token, any ? nb::cast(owned_column(std::move(step->logprobs))) : nb::none(),
      step->prompt_tokens, per_second(step->prompt_tokens, step->prompt_seconds), step->generated,
      per_second(step->generation_steps, step->generation_seconds),
      static_cast<double>(peak_memory_bytes()) / 1e9, reason, step->reused_tokens);
}

}  // namespace

void bind_generate(nb::module_& m) {
  nb::class_<TextStream>(m, "TextStream")
      .def(
          "__iter__", [](nb::handle self) { return self; },
          nb::sig("def __iter__(self) -> TextStream"))
      .def("__next__", &next_step,
           nb::sig("def __next__(self) -> tuple[str, int, numpy.typing.NDArray[numpy.float32] | "
                   "None, int, float, int, float, float, str | None, int]"))
      .def("close", &TextStream::close);
  m.def("new_stream", &new_stream, "model"_a, "tokenizer"_a, "prompt"_a, "max_tokens"_a,
        "sampling"_a, "stop"_a, "stop_tokens"_a, "json_schema"_a.none(), "cache"_a.none(),
        "skip_special_tokens"_a,
        nb::sig("def new_stream(model: Model, tokenizer: Tokenizer, prompt: "
                "collections.abc.Sequence[int], max_tokens: int, sampling: dict[str, object], "
                "stop: collections.abc.Sequence[str], stop_tokens: list[int | str], json_schema: "
                "object | None, cache: PromptCache | None, skip_special_tokens: bool) -> "
                "TextStream"));
}

}  // namespace qx::python
