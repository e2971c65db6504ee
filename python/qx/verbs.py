"""The verbs of the program as functions. Each returns the document that the verb prints with --json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from . import _qx
from .progress import ProgressCallback, listener

Path = str | os.PathLike[str]


def _path(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)


def plan(
    model: Path,
    recipe: Path | None = None,
    *,
    like: Path | None = None,
    group_size: int | None = None,
    dtype: str | None = None,
    ctx: int | None = None,
    kv_bits: int = 32,
    fit: str | None = None,
) -> dict[str, Any]:
    """What a recipe does to a model, tensor by tensor, before anything is written (`qx plan`).

    model: a model directory, a bare config.json, a .gguf file or a cached Hub id. recipe: a name ("q4-hi") or file;
    like: instead, the map of this model directory. ctx, kv_bits: of the memory to run; fit: "16GB", does it fit?
    """
    return _qx.plan(os.fspath(model), _path(recipe), _path(like), group_size, dtype, ctx or 0, kv_bits, fit)


def convert(
    model: Path,
    output: Path,
    recipe: Path | None = None,
    *,
    like: Path | None = None,
    group_size: int | None = None,
    dtype: str | None = None,
    rounding: str = "cpu",
    fit: str = "minmax",
    calibration: Path | None = None,
    damping: float = 0.01,
    column_order: str = "natural",
    fit_memory: int | None = None,
    steps: int = 40,
    rate: float = 0.0012,
    seed: int = 1,
    resume: bool = False,
    force: bool = False,
    allow_requantize: bool = False,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write an MLX model directory (`qx convert`). The output is whole or absent.

    model: a model directory, a .gguf file or a cached Hub id. The arguments are the options of the verb. Stopped by
    Ctrl-C, what is finished is kept for resume=True.
    """
    return _qx.convert(
        os.fspath(model), os.fspath(output), _path(recipe), _path(like), group_size, dtype, rounding, fit,
        _path(calibration), damping, column_order, fit_memory or 0, steps, rate, seed, resume, force, allow_requantize,
        threads or 0, listener(progress),
    )  # fmt: skip


def evaluate(
    models: Path | Sequence[Path] | Mapping[str, Path],
    tasks: str | Sequence[str],
    output: Path,
    *,
    data: Path | None = None,
    limit: int | None = None,
    offset: int = 0,
    sample: int | None = None,
    seed: int = 0,
    indices: Path | None = None,
    shard: str | None = None,
    chat: bool | None = None,
    convention: str | None = None,
    chat_template_config: Mapping[str, Any] | None = None,
    shots: int = 0,
    fewshot_seed: int | None = None,
    fewshot_as_multiturn: bool | None = None,
    precision: str = "exact",
    kv_bits: int = 32,
    write_prompts: bool = False,
    resume: bool = False,
    force: bool = False,
    allow_swap: bool = False,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Answer tasks with one or several models and keep every answer in a run folder OUTPUT/NAME (`qx eval`).

    models: directories or cached Hub ids, or {name: directory}. tasks: "all", names, or files of your own. chat: None
    for chat mode where the model has a template; False is --plain. The other arguments are the options of the verb.
    Answers that the folders hold already are kept; stopped by Ctrl-C, the same call goes on.
    """
    if isinstance(models, Mapping):
        named = [f"{name}={os.fspath(path)}" for name, path in models.items()]
    elif isinstance(models, (str, os.PathLike)):
        named = [os.fspath(models)]
    else:
        named = [os.fspath(path) for path in models]
    config = None if chat_template_config is None else dict(chat_template_config)
    return _qx.evaluate(
        named, tasks if isinstance(tasks, str) else ",".join(tasks), os.fspath(output), _path(data), offset, limit,
        sample, seed, _path(indices), shard, chat, convention, config, shots, fewshot_seed, fewshot_as_multiturn,
        precision, kv_bits, write_prompts, resume, force, allow_swap, threads or 0, listener(progress),
    )  # fmt: skip


@overload
def compare(
    runs: Sequence[Path],
    *,
    baseline: str | None = None,
    metric: str = "default",
    margin: float = 0.01,
    intersect: bool = False,
    all_pairs: bool = False,
    flips: str | None = None,
    gates: Sequence[str] = (),
    budget: str | None = None,
    format: Literal["dict"] = "dict",
) -> dict[str, Any]: ...
@overload
def compare(
    runs: Sequence[Path],
    *,
    baseline: str | None = None,
    metric: str = "default",
    margin: float = 0.01,
    intersect: bool = False,
    all_pairs: bool = False,
    flips: str | None = None,
    gates: Sequence[str] = (),
    budget: str | None = None,
    format: Literal["text", "md", "html", "csv"],
) -> str: ...
def compare(
    runs: Sequence[Path],
    *,
    baseline: str | None = None,
    metric: str = "default",
    margin: float = 0.01,
    intersect: bool = False,
    all_pairs: bool = False,
    flips: str | None = None,
    gates: Sequence[str] = (),
    budget: str | None = None,
    format: str = "dict",
) -> dict[str, Any] | str:
    """Compare run folders item by item, with honest statistics (`qx compare`).

    baseline: a run's name, None for the first. flips: a task's name or "all": list the items answered otherwise. gates:
    limits such as "hellaswag>-0.01"; their results are in the document, and a gate that does not hold is no exception.
    format: "dict", or the text of "text", "md", "html" or "csv".
    """
    folders = [os.fspath(run) for run in runs]
    result: dict[str, Any] | str = _qx.compare(
        folders, baseline, metric, margin, intersect, all_pairs, flips, list(gates), budget, format
    )
    return result


def audit(path: Path | None = None, *, text: str | None = None) -> dict[str, Any]:
    """Which claims of a model card its own numbers support (`qx audit`), of a file or of a text."""
    return _qx.audit(_path(path), text)
