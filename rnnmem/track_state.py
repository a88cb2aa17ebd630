"""The state of a tracker, as files and checkpoints give it back: checked, and copied."""

from __future__ import annotations

import math
from operator import index
from typing import Any, TypeAlias

from rnnmem.errors import shown
from rnnmem.lags import is_int, is_number
from rnnmem.report import MemoryReport

Number: TypeAlias = "float | int | bool | None"

WHEN = ("step", "seconds", "cost")  # what every entry of a curve has


def read_progress(state: dict[str, Any]) -> tuple[int, float, float]:
    """Steps, seconds of training and of measuring; raises ValueError for what are none."""
    steps, seconds, spent = state["steps"], state["seconds"], state["spent"]
    if not is_int(steps) or not all(map(is_time, (steps, seconds, spent))):
        raise ValueError(f"steps {shown(steps)}, seconds {shown(seconds)}, spent {shown(spent)}")
    return index(steps), float(seconds), float(spent)


def read_curve(given: Any, columns: list[str]) -> dict[str, list[Number]]:
    """The curve of a state, as a copy; raises ValueError for what is none with these columns."""
    if set(given) != set(columns):
        raise ValueError(f"a curve of {sorted(map(str, given))}, not {sorted(columns)}")
    curve = {name: list(given[name]) for name in columns}
    if len({len(column) for column in curve.values()}) > 1 or not curve["step"]:
        raise ValueError("a curve whose columns are empty or differ in length")
    for name, column in curve.items():
        needed = name in WHEN
        for value in column:
            if not (is_time(value) if needed else value is None or is_value(value)):
                raise ValueError(f"{shown(value)} in the curve's {name}")
    return curve


def read_report(given: Any) -> MemoryReport:
    """The latest report of a state; raises ValueError for what is none, or none of a tracker."""
    report = MemoryReport.from_dict(given)
    if not is_int(report.settings.get("training_step")):
        raise ValueError(f"a report of training step {shown(report.settings.get('training_step'))}")
    return report


def read_failures(given: Any) -> list[list[Any]]:
    """The failures of a state, as a copy; raises ValueError for what are none."""
    for first, last, times, what in given:
        if not all(is_int(count) for count in (first, last, times)) or not isinstance(what, str):
            raise ValueError(f"failures: {shown(given)}")
    return [list(failure) for failure in given]


def is_value(value: Any) -> bool:
    """Whether it is a finite number, or True or False."""
    return isinstance(value, bool) or (is_number(value) and math.isfinite(value))


def is_time(value: Any) -> bool:
    """Whether it is a finite number >= 0."""
    return is_number(value) and math.isfinite(value) and value >= 0
