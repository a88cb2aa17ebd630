"""What a report is in a file: plain data out, checked data in."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnmem.indicators.curve import Curve

if TYPE_CHECKING:
    from rnnmem.report import MemoryReport


def plain(value: Any) -> Any:
    """Tensors, curves and numbers as strict JSON."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, Curve):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tensor(values: Any) -> Tensor:
    """Nested lists with None for NaN as a float64 tensor."""

    def filled(part: Any) -> Any:
        return [filled(p) for p in part] if isinstance(part, list) else (math.nan if part is None else part)

    return torch.tensor(filled(values), dtype=torch.float64)


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
    for name in ("model", "settings", "rows"):
        if not isinstance(getattr(report, name), dict):
            raise ValueError(name)
    for name in ("name", "dtype", "parameters"):
        report.model[name]
    for name in ("features", "split", "fit", "washout", "layer", "state", "innovation_order"):
        report.settings[name]
    if not isinstance(report.warnings, list) or not all(isinstance(w, str) for w in report.warnings):
        raise ValueError("warnings")
