"""How far the recalled points reach along random directions, against the points expressed.

coverage = sqrt(max(0, w^2 - (1 - retention) w_0^2)), w the width (5-95 %) of recalled over expressed points,
w_0 the same for a map fitted to unrelated targets. Both are means over the directions.

Source: this project (docs/definitions.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

LOW, HIGH = 0.05, 0.95


def hull_coverage(recalled: Tensor, expressed: Tensor, ranges: Tensor, retention: Tensor) -> Tensor:
    """Coverage by lag [K].

    Args:
        recalled: histograms of recalled points, the null map's last [K + 1, R, bins].
        expressed: histograms of expressed points [K, R, bins].
        ranges: where the histograms begin and end [R, 2].
        retention: [K].
    """
    shown = widths(expressed, ranges)
    w = (widths(recalled[:-1], ranges) / shown).mean(dim=-1)
    null = (widths(recalled[-1:], ranges) / shown[:1]).mean(dim=-1)
    return (w.square() - (1 - retention) * null.square()).clamp(min=0).sqrt()


def widths(counts: Tensor, ranges: Tensor) -> Tensor:
    """Width from the 5 % to the 95 % quantile [..., R], linear within a bin."""
    edges = [quantile(counts, share) for share in (LOW, HIGH)]
    return (edges[1] - edges[0]) * (ranges[:, 1] - ranges[:, 0]) / counts.shape[-1]


def quantile(counts: Tensor, share: float) -> Tensor:
    """Position [...] in bins of a quantile of histograms [..., bins]; NaN where a histogram is empty."""
    cumulated = counts.cumsum(dim=-1).double()
    wanted = share * cumulated[..., -1:]
    cell = (cumulated < wanted).sum(dim=-1, keepdim=True).clamp(max=counts.shape[-1] - 1)
    inside = counts.gather(-1, cell).double()
    before = cumulated.gather(-1, cell) - inside
    position = (cell + (wanted - before) / inside).squeeze(-1)
    return torch.where(cumulated[..., -1] > 0, position, float("nan"))
