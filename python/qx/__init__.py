"""qx makes, measures and compares quantizations of language models (MLX format), on the CPU.

>>> from qx import load, generate
>>> model, tokenizer = load("models/q4-hi")          # doctest: +SKIP
>>> generate(model, tokenizer, "The capital of France is", max_tokens=8)  # doctest: +SKIP

What the functions of this package return is what the verbs of the program `qx` print with --json.
"""

from ._qx import (
    Error,
    Model,
    PromptCache,
    __version__,
    available_kernels,
    commit,
    kernels,
    select_kernels,
)
from .generation import GenerationResponse, generate, make_prompt_cache, stream_generate
from .models import load, load_tokenizer
from .progress import Progress
from .scoring import Scores, score
from .tokenizer import Detokenizer, Tokenizer
from .verbs import audit, compare, convert, evaluate, plan

__all__ = [
    "Detokenizer",
    "Error",
    "GenerationResponse",
    "Model",
    "Progress",
    "PromptCache",
    "Scores",
    "Tokenizer",
    "__version__",
    "audit",
    "available_kernels",
    "commit",
    "compare",
    "convert",
    "evaluate",
    "generate",
    "kernels",
    "load",
    "load_tokenizer",
    "make_prompt_cache",
    "plan",
    "score",
    "select_kernels",
    "stream_generate",
]
