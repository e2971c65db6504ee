"""Text from a prompt, under mlx-lm's names."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _qx
from .sample_utils import Settings
from .tokenizer import Tokenizer, token_list


@dataclass
class GenerationResponse:
    """One step of a text."""

    text: str
    """The next piece; it may be empty, since a character may take several tokens."""
    token: int
    """The token chosen. In the last response of a text that a stop token ended, the token before it."""
    logprobs: npt.NDArray[np.float32] | None
    """Log-probabilities of the whole vocabulary that the token was chosen by: after penalties and bias, before
    sampling's filters. None where no token was made."""
    prompt_tokens: int
    prompt_tps: float
    generation_tokens: int
    generation_tps: float
    peak_memory: float
    """Of the process, in GB."""
    finish_reason: str | None = None
    """None, and in the last response "stop" or "length"."""
    reused_tokens: int = 0
    """In the last response: tokens of the prompt whose keys and values prompt_cache held already."""
    from_draft: bool = False
    """Always False: here for scripts written for mlx-lm."""


def make_prompt_cache(model: _qx.Model, max_kv_size: int | None = None) -> _qx.PromptCache:
    """Keys and values that outlive one text, of at most max_kv_size positions (None: the model's context, whose
    memory is taken as it is used)."""
    return _qx.new_cache(model, 0 if max_kv_size is None else max_kv_size)


def encode_prompt(tokenizer: Tokenizer, prompt: str | Iterable[int]) -> list[int]:
    """mlx-lm's rule: a text that begins with the BOS token gets no special tokens."""
    if not isinstance(prompt, str):
        return token_list(prompt)
    bos = tokenizer.bos_token
    return tokenizer.encode(prompt, add_special_tokens=bos is None or not prompt.startswith(bos))


def stream_generate(
    model: _qx.Model,
    tokenizer: Tokenizer,
    prompt: str | Iterable[int],
    max_tokens: int = 256,
    *,
    temp: float = 0.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    top_k: int = 0,
    seed: int = 0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    logit_bias: Mapping[int | str, float] | None = None,
    repetition_penalty: float = 0.0,
    repetition_context_size: int = 20,
    presence_penalty: float = 0.0,
    presence_context_size: int = 20,
    frequency_penalty: float = 0.0,
    frequency_context_size: int = 20,
    stop: str | Sequence[str] = (),
    extra_eos_tokens: Sequence[int | str] = (),
    json_schema: Mapping[str, Any] | bool | None = None,
    prompt_cache: _qx.PromptCache | None = None,
    skip_special_tokens: bool = False,
    sampler: Settings | None = None,
    logits_processors: Settings | None = None,
) -> Generator[GenerationResponse, None, None]:
    """Yields a response for each token, then the last one with finish_reason.

    prompt: text, or token ids (apply_chat_template gives them). max_tokens: -1 for as many as fit.
    The settings are those of `qx generate`, in mlx-lm's order and with its defaults; temp 0 takes the best token. The
    same seed gives the same text. stop: texts that end the answer, across the borders of tokens.
    json_schema: the answer is one JSON document that the schema takes (docs/json-schema.md).
    prompt_cache: from make_prompt_cache(). Unlike mlx-lm's, it takes the whole prompt: what both share is not computed
    again.
    sampler, logits_processors: what qx.sample_utils makes, instead of the settings by name.

    Raises ValueError for settings out of range, Error for an empty prompt or one longer than the context. Ends at once
    when the generator is closed; the model may be used for other things between two steps.
    """
    settings: dict[str, Any] = {
        "temp": temp, "top_p": top_p, "min_p": min_p, "top_k": top_k, "seed": seed,
        "xtc_probability": xtc_probability, "xtc_threshold": xtc_threshold,
        "logit_bias": dict(logit_bias or {}),
        "repetition_penalty": repetition_penalty, "repetition_context_size": repetition_context_size,
        "presence_penalty": presence_penalty, "presence_context_size": presence_context_size,
        "frequency_penalty": frequency_penalty, "frequency_context_size": frequency_context_size,
    }  # fmt: skip
    given: Settings | None
    for name, given in (("sampler", sampler), ("logits_processors", logits_processors)):
        if given is None:
            continue
        if not isinstance(given, Settings):
            raise TypeError(f"{name}: got {type(given).__name__}, expected what qx.sample_utils makes; for a loop of "
                            "your own, see PromptCache.append")  # fmt: skip
        settings.update(given)
    stream = _qx.new_stream(
        model,
        tokenizer._raw,
        encode_prompt(tokenizer, prompt),
        max_tokens,
        settings,
        [stop] if isinstance(stop, str) else list(stop),
        list(extra_eos_tokens),
        dict(json_schema) if isinstance(json_schema, Mapping) else json_schema,
        prompt_cache,
        skip_special_tokens,
    )
    return _responses(stream)


def _responses(stream: _qx.TextStream) -> Generator[GenerationResponse, None, None]:
    try:
        for step in stream:
            yield GenerationResponse(*step)
    finally:
        stream.close()


def generate(
    model: _qx.Model, tokenizer: Tokenizer, prompt: str | Iterable[int], verbose: bool = False, **settings: Any
) -> str:
    """The whole answer. settings: those of stream_generate(). verbose prints it as it comes, and the speed."""
    if verbose:
        print("=" * 10)
    text = ""
    response = None
    for response in stream_generate(model, tokenizer, prompt, **settings):
        if verbose:
            print(response.text, end="", flush=True)
        text += response.text
    if verbose and response is not None:
        print()
        print("=" * 10)
        if not text:
            print("No text generated for this prompt")
            return text
        print(f"Prompt: {response.prompt_tokens} tokens, {response.prompt_tps:.3f} tokens-per-sec")
        print(f"Generation: {response.generation_tokens} tokens, {response.generation_tps:.3f} tokens-per-sec")
        print(f"Peak memory: {response.peak_memory:.3f} GB")
    return text
