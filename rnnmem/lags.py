"""Which lags are measured."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Sequence
from numbers import Real
from typing import SupportsIndex, TypeGuard

import torch
from torch import Tensor

from rnnmem.errors import expected, shown

DENSE = 8
LARGEST = 2**62  # where int64 still has room to count on


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
        wrong = lags.is_floating_point() or lags.is_complex() or lags.dtype == torch.bool or lags.is_meta
        if wrong or lags.dim() > 1:
            raise expected(
                "lags", wanted, f"a {lags.dtype} tensor of shape {tuple(lags.shape)} on {lags.device}"
            )
        lags = lags.tolist()
    if is_int(lags):
        return torch.tensor(spread(operator.index(lags), wanted), dtype=torch.int64)
    if isinstance(lags, (str, bytes)) or not isinstance(lags, Collection):
        raise expected("lags", wanted, shown(lags))
    values = list(lags)
    if not values:
        raise expected("lags", wanted, "an empty sequence")
    for value in values:
        if not is_int(value):
            raise expected("lags", wanted, f"{shown(value)} in it")
    grid = [operator.index(value) for value in values]
    if max(grid) > LARGEST:
        raise expected("lags", "lags up to 2**62", short(grid))
    if grid[0] < 0 or any(b <= a for a, b in itertools.pairwise(grid)):
        raise expected("lags", wanted, short(grid))
    return torch.tensor(grid, dtype=torch.int64)


def is_int(value: object) -> TypeGuard[SupportsIndex]:
    """Whether a value is an int and no bool."""
    if isinstance(value, (bool, Tensor)):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # an array has __index__ too
        return False
    return True


def is_number(value: object) -> bool:
    """Whether a value is a real number, Python's or numpy's, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def spread(last: int, wanted: str) -> list[int]:
    """The grid up to `last`."""
    if last > LARGEST:
        raise expected("lags", "lags up to 2**62", shown(last))
    if last < 0:
        raise expected("lags", wanted, shown(last))
    grid = list(range(min(last, DENSE) + 1))
    while grid[-1] < last:
        grid.append(min(last, max(grid[-1] + 1, 5 * grid[-1] // 4)))
    return grid


def short(values: list[int]) -> str:
    """A list as text that stays short."""
    return f"[{', '.join(map(shown, values[:8]))}{', ...' if len(values) > 8 else ''}]"
