"""Which lags are measured."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import SupportsIndex, TypeGuard

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
    if is_int(lags):
        return torch.tensor(spread(operator.index(lags), wanted), dtype=torch.int64)
    if isinstance(lags, (str, bytes)) or not isinstance(lags, Iterable):
        raise expected("lags", wanted, repr(lags))
    values = list(lags)
    if not values:
        raise expected("lags", wanted, "an empty sequence")
    for value in values:
        if not is_int(value):
            raise expected("lags", wanted, f"{value!r} in it")
    grid = [operator.index(value) for value in values]
    if grid[0] < 0 or any(b <= a for a, b in itertools.pairwise(grid)):
        raise expected("lags", wanted, short(grid))
    return torch.tensor(grid, dtype=torch.int64)


def is_int(value: object) -> TypeGuard[SupportsIndex]:
    """Whether a value is an int and no bool."""
    return hasattr(value, "__index__") and not isinstance(value, (bool, Tensor))


def spread(last: int, wanted: str) -> list[int]:
    """The grid up to `last`."""
    if last < 0:
        raise expected("lags", wanted, last)
    grid = list(range(min(last, DENSE) + 1))
    while grid[-1] < last:
        grid.append(min(last, max(grid[-1] + 1, 5 * grid[-1] // 4)))
    return grid


def short(values: list[int]) -> str:
    """A list as text that stays short."""
    return str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:8]))}, ...]"
