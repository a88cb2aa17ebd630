"""Writes reports and comparisons to files, in the form that the ending of the path names."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rnnmem.errors import expected

if TYPE_CHECKING:
    from torch import Tensor

    from rnnmem.comparison import Comparison
    from rnnmem.report import MemoryReport
    from rnnmem.track import Tracker

COLUMNS = (
    "lag_steps",
    "retention",
    "retention_se",
    "retention_low_95",
    "retention_high_95",
    "retention_heldout",
    "distance",
    "own_retention",
    "own_retention_se",
    "own_retention_low_95",
    "own_retention_high_95",
    "own_retention_heldout",
    "inference",
    "inference_se",
    "memoryless",
    "window",
    "linear",
    "linear_se",
    "linear_own",
    "linear_own_se",
    "bits",
    "own_bits",
    "bits_per_byte",
    "own_bits_per_byte",
    "hull_coverage",
    "forgotten_median",
    "forgotten_inputs_median",
    "learnable_gain",
    "used_loss",
    "used_excess",
)


def write_report(report: MemoryReport, path: str | os.PathLike[str]) -> None:
    """Writes a report as .html, .json, .png or .csv.

    Args:
        report: what to write.
        path: where to; its ending says in which form.

    Raises:
        RnnMemError: another ending, or a place that cannot be written to.
    """
    from rnnmem import drawing, page, plot

    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: encode(page.report_page(report)),
        ".json": lambda: json_bytes(report.to_dict()),
        ".png": lambda: drawing.png(plot.report_figure(report, title=True)),
        ".csv": lambda: csv_bytes(list(COLUMNS), lag_rows(report)),
    }
    write(path, forms)


def write_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Writes a comparison as .html, .json, .png or .csv.

    Args:
        comparison: what to write.
        path: where to; its ending says in which form.

    Raises:
        RnnMemError: another ending, or a place that cannot be written to.
    """
    from rnnmem import drawing, page, plot

    def rows() -> list[list[Any]]:
        return [
            [name, state, seed, *cells]
            for name, by_state in comparison.reports.items()
            for state, reports in by_state.items()
            for seed, report in enumerate(reports)
            for cells in lag_rows(report)
        ]

    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: encode(page.comparison_page([("What each network remembers", "", comparison)])),
        ".json": lambda: json_bytes(comparison.to_dict()),
        ".png": lambda: drawing.png(plot.comparison_figure(comparison)),
        ".csv": lambda: csv_bytes(["network", "state", "seed", *COLUMNS], rows()),
    }
    write(path, forms)


def write_track(tracker: Tracker, path: str | os.PathLike[str]) -> None:
    """Writes a tracker as .html, .json, .png or .csv.

    Args:
        tracker: what to write.
        path: where to; its ending says in which form.

    Raises:
        RnnMemError: another ending, or a place that cannot be written to.
    """
    from rnnmem import drawing, track_page, track_plot

    def rows() -> list[list[Any]]:
        return [list(row) for row in zip(*tracker.curve.values(), strict=True)]

    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: encode(track_page.track_page(tracker)),
        ".json": lambda: json_bytes(tracker.state_dict()),
        ".png": lambda: drawing.png(track_plot.track_figure(tracker, title=True)),
        ".csv": lambda: csv_bytes(
            list(tracker.curve), list(map(list, zip(*tracker.curve.values(), strict=True)))
        ),
    }
    write(path, forms)


def write(path: str | os.PathLike[str], forms: dict[str, Callable[[], bytes]]) -> None:
    """Makes the form that the path's ending names, whole, and only then touches the file."""
    endings = ", ".join(forms)
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise expected("path", f"a str or path that ends in one of {endings}", repr(path))
    make = forms.get(Path(path).suffix.lower())
    if make is None:
        raise expected("path", f"a name that ends in one of {endings}", repr(os.fspath(path)))
    content = make()
    try:
        Path(path).write_bytes(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise expected("path", "a place that can be written to", f"{os.fspath(path)!r}: {reason}") from error


def lag_rows(report: MemoryReport) -> list[list[float | int | None]]:
    """A row for each lag, in the order of `COLUMNS`; None where there is no number."""
    low, high = report.interval()
    own_low, own_high = report.interval(own=True)
    named = {
        "retention_low_95": low,
        "retention_high_95": high,
        "own_retention_low_95": own_low,
        "own_retention_high_95": own_high,
        "own_retention_heldout": report.own.heldout,
        **report.controls,
        **dynamics(report),
    }
    found = [named[name] if name in named else getattr(report, name) for name in COLUMNS[1:]]
    values = [[None] * len(report.lags) if column is None else column.tolist() for column in found]
    return [
        [lag, *(None if v is None or not math.isfinite(v) else v for v in cells)]
        for lag, *cells in zip(report.lags.tolist(), *values, strict=True)
    ]


def dynamics(report: MemoryReport) -> dict[str, Tensor | None]:
    """What is forgotten, learnable and used, at the report's lags; used: given lag + 1 tokens."""
    found: dict[str, Tensor | None] = {}
    twins = {"forgotten_median": report.forgotten, "forgotten_inputs_median": report.forgotten_inputs}
    for name, each in twins.items():
        found[name] = None if each is None else at_lags(report.lags, each.lags, each.median)
    learnable, used = report.learnable, report.used
    found["learnable_gain"] = None
    if learnable is not None:
        found["learnable_gain"] = at_lags(report.lags, learnable.lags, learnable.gain)
    for name in ("loss", "excess"):
        values = None if used is None else at_lags(report.lags, used.lengths - 1, getattr(used, name))
        found[f"used_{name}"] = values
    return found


def at_lags(lags: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """A curve's values at some lags; NaN where it does not go."""
    place = torch.searchsorted(known, lags).clamp(max=len(known) - 1)
    return torch.where(known[place] == lags, values[place], math.nan)


def csv_bytes(head: list[str], rows: list[list[Any]]) -> bytes:
    """A table with full precision, an empty cell where there is no number."""
    with io.StringIO(newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([head, *rows])
        return encode(file.getvalue())


def json_bytes(data: dict[str, Any]) -> bytes:
    """Strict JSON: NaN and Infinity would raise."""
    return (json.dumps(data, allow_nan=False) + "\n").encode()


def encode(text: str) -> bytes:
    """UTF-8; what it has no bytes for (half a surrogate pair in a name) is written out."""
    return text.encode("utf-8", "backslashreplace")
