"""Log-likelihoods of continuations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _qx
from .progress import ProgressCallback, listener
from .tokenizer import Tokenizer, token_list


@dataclass
class Scores:
    """One entry for each pair, and one for each token of all continuations, in their order."""

    logprobs: npt.NDArray[np.float64]
    """Natural log of the continuation's probability after its context."""
    greedy: npt.NDArray[np.bool_]
    """Whether every token of the continuation is the most probable one."""
    offsets: npt.NDArray[np.int64]
    """The tokens of pair i are those from offsets[i] to offsets[i + 1]; one more entry than pairs."""
    token_logprobs: npt.NDArray[np.float64]
    token_best: npt.NDArray[np.int32]
    """The most probable token at each place."""
    truncated: int
    """Pairs whose context was cut on the left to fit the model's context."""

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """How many tokens each continuation has."""
        return np.diff(self.offsets)

    def of_pair(self, i: int) -> npt.NDArray[np.float64]:
        """The log-probabilities of the tokens of one continuation."""
        return self.token_logprobs[self.offsets[i] : self.offsets[i + 1]]


def score(
    model: _qx.Model,
    tokenizer: Tokenizer,
    pairs: Iterable[tuple[str | Sequence[int], str | Sequence[int]]],
    *,
    progress: ProgressCallback | None = None,
) -> Scores:
    """How probable each continuation is after its context: what `qx score` computes.

    pairs: (context, continuation), both texts (encoded by lm-eval's rule) or both token ids. Beginnings that several
    contexts share are computed once; no score depends on that. Raises Error for pairs without tokens, or a
    continuation longer than the model's context.
    """

    def one(side: str | Sequence[int]) -> str | list[int]:
        return side if isinstance(side, str) else token_list(side)

    columns = model.score_pairs(
        tokenizer._raw, [(one(context), one(rest)) for context, rest in pairs], listener(progress)
    )
    return Scores(*columns)
