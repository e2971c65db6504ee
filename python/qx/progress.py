"""What a progress callback hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far work is. Callbacks hear it at the start of each part, then at most ten times a second, and at its end."""

    title: str
    """Of the part of the work: "converting", "eval"."""
    done: int
    total: int
    """0 when it is not known."""
    unit: str
    """What done and total count: "MB", "items"."""
    label: str
    """A text about the part at hand, or ""."""


ProgressCallback = Callable[[Progress], object]


def listener(callback: ProgressCallback | None) -> Callable[[str, int, int, str, str], object] | None:
    """The callback in the form that the compiled part calls."""
    if callback is None:
        return None
    return lambda title, done, total, unit, label: callback(Progress(title, done, total, unit, label))
