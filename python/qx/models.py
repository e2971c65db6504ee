"""Loading models."""

from __future__ import annotations

import os

from . import _qx
from .tokenizer import Tokenizer


def load(
    path_or_hf_repo: str | os.PathLike[str],
    *,
    precision: str = "exact",
    kv_bits: int = 32,
    threads: int | None = None,
    context: int = 4096,
    allow_swap: bool = False,
) -> tuple[_qx.Model, Tokenizer]:
    """A model directory (or the Hub id of one in the local cache) as (model, tokenizer).

    precision: arithmetic of linear layers: "reference" (float32), "exact" (activations of 16 bits) or "fast" (8 bits).
    kv_bits: bits of the keys and values that are kept: 32, 16, 8 or 4.
    threads: None for the machine's physical cores.
    context: positions that must fit in memory beside the weights; a model that does not fit is refused unless
    allow_swap. It limits no text.

    The weights stay in the mapped files, so loading takes little time. Raises Error for a directory that is no whole
    model, and warns (RuntimeWarning) of what is odd about it.
    """
    name = os.fspath(path_or_hf_repo)
    model = _qx.load_model(name, precision, kv_bits, threads or 0, context, allow_swap)
    return model, load_tokenizer(name)


def load_tokenizer(path_or_hf_repo: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer alone."""
    return Tokenizer(_qx.load_tokenizer(os.fspath(path_or_hf_repo)))
