"""mlx-lm's make_sampler and make_logits_processors, for scripts written for it.

They only carry settings; stream_generate() takes the same settings by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Settings(dict[str, Any]):
    """Sampling settings by name."""


def make_sampler(
    temp: float = 0.0,
    top_p: float = 0.0,
    min_p: float = 0.0,
    min_tokens_to_keep: int = 1,
    top_k: int = 0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.0,
    xtc_special_tokens: object = None,
) -> Settings:
    """Settings of sampling, for sampler=. min_tokens_to_keep must be 1; XTC's special tokens are always the model's
    own: a line feed and the end of the text."""
    if min_tokens_to_keep != 1:
        raise ValueError(f"min_tokens_to_keep: got {min_tokens_to_keep}, expected 1")
    return Settings(
        temp=temp, top_p=top_p, min_p=min_p, top_k=top_k, xtc_probability=xtc_probability, xtc_threshold=xtc_threshold
    )


def make_logits_processors(
    logit_bias: Mapping[int | str, float] | None = None,
    repetition_penalty: float | None = None,
    repetition_context_size: int = 20,
    presence_penalty: float | None = None,
    presence_context_size: int = 20,
    frequency_penalty: float | None = None,
    frequency_context_size: int = 20,
) -> Settings:
    """Settings of penalties and bias, for logits_processors=."""
    return Settings(
        logit_bias=dict(logit_bias or {}),
        repetition_penalty=repetition_penalty or 0.0,
        repetition_context_size=repetition_context_size,
        presence_penalty=presence_penalty or 0.0,
        presence_context_size=presence_context_size,
        frequency_penalty=frequency_penalty or 0.0,
        frequency_context_size=frequency_context_size,
    )
