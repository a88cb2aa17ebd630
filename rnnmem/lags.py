"""Which lags are measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnmem.errors import expected

DENSE = 8


def lag_grid(lags: int | Sequence[int] | Tensor) -> Tensor:
    """Returns the lags to measure, int64 [K], increasing.

    An int n gives 0, 1, ..., 8 and from there steps of a quarter, max(lag + 1, 5 * lag // 4), n itself the
    last; a sequence is taken as it is.

    Args:
        lags: the largest lag in steps, or an increasing sequence of lags.

    Raises:
        RnnMemError: not an int >= 0 nor an increasing sequence of ints >= 0.

    Example:
        >>> lag_grid(20).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 20]
    """
    wanted = "an int >= 0 or an increasing sequence of ints >= 0"
    if isinstance(lags, Tensor):
        if lags.is_floating_point() or lags.is_complex() or lags.dtype == torch.bool or lags.dim() > 1:
            raise expected("lags", wanted, f"a {lags.dtype} tensor of shape {tuple(lags.shape)}")
        lags = lags.tolist()
    if isinstance(lags, bool) or not hasattr(lags, "__index__"):
        if isinstance(lags, (str, bytes, bool)) or not hasattr(lags, "__iter__"):
            raise expected("lags", wanted, repr(lags))
        values = list(lags)  # type: ignore[arg-type]
        if not values:
            raise expected("lags", wanted, "an empty sequence")
        for value in values:
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise expected("lags", wanted, f"{value!r} in it")
        grid = [int(value) for value in values]
        if grid[0] < 0 or any(b <= a for a, b in zip(grid, grid[1:], strict=False)):
            raise expected("lags", wanted, short(grid))
        return torch.tensor(grid, dtype=torch.int64)
    last = lags.__index__()  # type: ignore[union-attr]
    if last < 0:
        raise expected("lags", wanted, last)
    grid = list(range(min(last, DENSE) + 1))
    while grid[-1] < last:
        grid.append(min(last, max(grid[-1] + 1, 5 * grid[-1] // 4)))
    return torch.tensor(grid, dtype=torch.int64)


def short(values: list[int]) -> str:
    """A list as text that stays short."""
    return str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:8]))}, ...]"
