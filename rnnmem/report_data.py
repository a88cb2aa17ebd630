"""What a report is in a file: plain data out, checked data in."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError, expected
from rnnmem.lags import is_int, is_number

if TYPE_CHECKING:
    from rnnmem.report import MemoryReport

T = TypeVar("T")
SIZES = ("parameters", "state_floats", "state_bytes", "flops_per_step", "layers", "hidden_size")
TABLES = {
    "by_position": ("first_step", "end_step", "lag", "distance", "retention", "rows"),
    "by_token_class": ("band", "lag", "distance", "retention", "rows"),
}


def plain(value: Any) -> Any:
    """Tensors, curves and numbers as strict JSON."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(what: str, path: str | os.PathLike[str], read: Callable[[Any], T]) -> T:
    """What a JSON file holds.

    Raises:
        RnnMemError: a file that is not there, cannot be read, or holds something else.
    """
    try:
        return read(json.loads(Path(path).read_text(encoding="utf-8")))
    except RnnMemError as error:
        raise expected("path", what, f"{str(path)!r}, {error}") from error
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise expected("path", what, f"{str(path)!r}: {error}") from error


def tensor(values: Any) -> Tensor:
    """Nested lists with None for NaN as a float64 tensor."""

    def filled(part: Any) -> Any:
        return [filled(p) for p in part] if isinstance(part, list) else (math.nan if part is None else part)

    return torch.tensor(filled(values), dtype=torch.float64)


def read_parts(kind: type[Any], values: Any) -> Any:
    """A dataclass of tensors and plain values as `plain` wrote it, its axis of ints; None as None.

    Raises:
        ValueError: parts that do not belong together.
        KeyError, TypeError: other parts.
    """
    if values is None:
        return None
    parts = {item.name: values[item.name] for item in dataclasses.fields(kind)}
    axis = "lags" if "lags" in parts else "lengths"
    count = len(parts[axis])
    for name, part in parts.items():
        if isinstance(part, list):
            parts[name] = tensor(part)
            if tuple(parts[name].shape) != (count,):
                raise ValueError(f"{kind.__name__}: {name} of shape {tuple(parts[name].shape)}")
    parts[axis] = parts[axis].long()
    return kind(**parts)


def check_table(name: str, table: Any, columns: tuple[str, ...]) -> None:
    """Raises ValueError for what is neither None nor a dict of these columns, lists of one length."""
    if table is None:
        return
    if not isinstance(table, dict) or set(table) != set(columns):
        raise ValueError(f"{name} of columns {sorted(table) if isinstance(table, dict) else table!r}")
    if not all(isinstance(column, list) for column in table.values()):
        raise ValueError(f"{name}, whose columns are not lists")
    if len({len(column) for column in table.values()}) > 1:
        raise ValueError(f"{name}, whose columns differ in length")


def check_report(report: MemoryReport) -> None:
    """Raises ValueError for a report whose parts do not belong together, as a damaged file holds them."""
    count = len(report.lags)
    tensors = {name: getattr(report, name) for name in ("bits", "own_bits", "hull_coverage")}
    for name, curve in (("raw", report.raw), ("own", report.own)):
        for item in dataclasses.fields(curve):
            tensors[f"{name}.{item.name}"] = getattr(curve, item.name)
    tensors |= {f"controls.{name}": part for name, part in report.controls.items() if part is not None}
    for name, value in tensors.items():
        shape = (len(value), count) if name.endswith("jackknife") else (count,)
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} of shape {tuple(value.shape)}, not {shape}")
    for name in ("model", "settings", "rows", "controls"):
        if not isinstance(getattr(report, name), dict):
            raise ValueError(name)
    for name in ("name", "dtype"):
        if not isinstance(report.model[name], str):
            raise ValueError(f"model: {name} {report.model[name]!r}")
    counts: dict[str, Any] = {f"rows: {name}": report.rows[name] for name in ("fit", "measured")}
    counts |= {f"model: {name}": report.model.get(name) for name in SIZES}
    for name, value in counts.items():
        if value is not None and not is_int(value):
            raise ValueError(f"{name} {value!r}")
    for name in ("utilisation", "own_capacity_ceiling", "exponent"):
        value = getattr(report, name)
        if value is not None and not is_number(value):
            raise ValueError(f"{name} {value!r}")
    for name in ("backend", "precision"):
        if not isinstance(getattr(report, name), str):
            raise ValueError(f"{name} {getattr(report, name)!r}")
    for name, columns in TABLES.items():
        check_table(name, getattr(report, name), columns)
    for name in ("features", "split", "fit", "washout", "layer", "state", "innovation_order"):
        report.settings[name]
    if not isinstance(report.warnings, list) or not all(isinstance(w, str) for w in report.warnings):
        raise ValueError("warnings")
