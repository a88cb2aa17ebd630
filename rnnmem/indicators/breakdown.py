"""Retention by position in the stream and by class of token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Table = dict[str, list[float]]


def retention_cells(
    distance: Tensor, variance: Tensor, rows: Tensor, correction: Tensor
) -> tuple[Tensor, Tensor]:
    """Root mean squared distance and corrected retention from sums, each [..., K]."""
    retention = 1 - distance / variance * correction
    return (distance / rows).sqrt(), retention


def by_position(
    index: Tensor,
    width: int,
    distance: Tensor,
    variance: Tensor,
    rows: Tensor,
    correction: Tensor,
    lags: Tensor,
) -> Table:
    """A table of retention by bin of absolute steps.

    Args:
        index: which bin each row is [n].
        width: steps of a bin.
        distance: summed squared distances [n, K].
        variance: of the targets about their fit mean [n, K].
        rows: [n, K].
        correction: 1 - H_eff / N_eff [K].
        lags: [K].
    """
    root, retention = retention_cells(distance, variance, rows, correction)
    table: Table = {name: [] for name in ("first_step", "end_step", "lag", "distance", "retention", "rows")}
    for cell, position in enumerate(index.tolist()):
        for k, lag in enumerate(lags.tolist()):
            if rows[cell, k] > 0:
                values = (
                    position * width,
                    (position + 1) * width,
                    lag,
                    *cells(root, retention, rows, cell, k),
                )
                append(table, values)
    return table


def by_token_class(
    distance: Tensor, variance: Tensor, rows: Tensor, correction: Tensor, lags: Tensor
) -> Table:
    """A table of retention by band of the target's frequency, band 0 the most frequent; sums are [5, K]."""
    root, retention = retention_cells(distance, variance, rows, correction)
    table: Table = {name: [] for name in ("band", "lag", "distance", "retention", "rows")}
    for band in range(len(rows)):
        for k, lag in enumerate(lags.tolist()):
            if rows[band, k] > 0:
                append(table, (band, lag, *cells(root, retention, rows, band, k)))
    return table


def cells(root: Tensor, retention: Tensor, rows: Tensor, i: int, k: int) -> tuple[float, float, int]:
    return float(root[i, k]), float(retention[i, k]), int(rows[i, k])


def append(table: Table, values: Sequence[float]) -> None:
    for column, value in zip(table.values(), values, strict=True):
        column.append(value)
