"""Reads the options of `assess`, `fit_recall` and `compare`: each is checked once, here."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import index
from typing import Any

from rnnmem.errors import expected, shown
from rnnmem.fit import FitOptions
from rnnmem.lags import is_int, is_number, lag_grid

MEASURES = ("kept", "forgotten", "learnable", "used")


def read_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        raise expected(name, " or ".join(map(repr, choices)), repr(value))
    return value


def read_share(name: str, value: Any) -> float:
    """A number strictly between 0 and 1."""
    if not is_number(value) or not 0 < value < 1:
        raise expected(name, "a number in (0, 1)", shown(value))
    return float(value)


def read_count(name: str, value: Any) -> int:
    """An int >= 0."""
    if not is_int(value):
        raise expected(name, "an int >= 0", shown(value))
    count = index(value)
    if not 0 <= count < 2**63:
        raise expected(name, "an int >= 0" if count < 0 else "an int below 2**63", shown(count))
    return count


def read_seed(value: Any) -> int:
    """A seed that torch takes."""
    return read_count("seed", value)


def read_ridge(value: Any) -> float:
    """A finite number >= 0."""
    if not is_number(value) or not 0 <= value <= sys.float_info.max:
        raise expected("ridge", "a finite number >= 0", shown(value))
    return float(value)


def read_fit_options(
    lags: Any, split: Any, washout: Any, ridge: Any, innovation_order: Any, seed: Any
) -> FitOptions:
    """How recall maps are to be fitted."""
    return FitOptions(
        lags=lag_grid(lags),
        split=read_choice("split", split, ("time", "streams")),
        washout=read_count("washout", washout),
        ridge=read_ridge(ridge),
        innovation_order=read_count("innovation_order", innovation_order),
        seed=read_seed(seed),
    )


def read_full(state: Any) -> bool:
    """Whether the whole state is measured, or the output alone."""
    return read_choice("state", state, ("output", "full")) == "full"


def read_measures(measures: Any, head: Any, targets: Any, trained_window: Any) -> tuple[str, ...]:
    """What to measure; a head turns on "used", and what belongs to it needs one."""
    if isinstance(measures, str) or not isinstance(measures, Iterable):
        raise expected("measures", f"a sequence of {MEASURES}", repr(measures))
    wanted = tuple(measures)
    for measure in wanted:
        if not isinstance(measure, str) or measure not in MEASURES:
            raise expected("measures", f"measures out of {MEASURES}", repr(measure))
    if not wanted:
        raise expected("measures", f"at least one of {MEASURES}", "none")
    if head is None:
        needs = "None without head=, the model's outputs (N, H) to logits (N, V)"
        for name, value in (("targets", targets), ("trained_window", trained_window)):
            if value is not None:
                raise expected(name, needs, type(value).__name__)
        if "used" in wanted:
            raise expected("head", "the model's outputs (N, H) to logits (N, V), for 'used'", "None")
    elif not callable(head):
        raise expected("head", "a module or function, outputs (N, H) to logits (N, V)", type(head).__name__)
    if trained_window is not None and read_count("trained_window", trained_window) < 1:
        raise expected("trained_window", "an int >= 1, or None", shown(trained_window))
    return wanted if head is None else (*wanted, "used")


def read_precision(precision: Any) -> str:
    """The precision of the recurrence, in torch's words."""
    return read_choice("precision", precision, ("highest", "high", "medium"))


def read_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise expected(name, "True or False", repr(value))
    return value


def parts(split: str, fit: float, steps: int, streams: int) -> int:
    """How many steps or streams fit the maps: F = int(fit * T), or int(fit * B)."""
    whole = steps if split == "time" else streams
    first = int(fit * whole)
    if first == 0 or first == whole:
        what = f"{first} of {whole} {'steps' if split == 'time' else 'streams'} to fit on"
        raise expected("fit", "a share that leaves a part to fit on and a part to measure", what)
    return first
