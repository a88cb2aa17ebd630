"""Whether a state keeps tokens of different ages in the same place or in places of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.recall import RecallMaps

FLAT = 1e-10


def recall_angles(maps: RecallMaps) -> Tensor:
    """Largest principal angle between the subspaces that tokens of two lags are recalled from.

    The subspace of a lag is spanned by the rows of its recall map, in the coordinates of the state. 0: the
    smaller of the two lies within the other; π/2: it holds a direction that the other knows nothing of. A lag
    of which nothing is kept has a map all the same, of noise: read the angle beside the retention.

    Args:
        maps: recall maps, from `fit_recall`.

    Returns:
        Angles in radians between lags, float64 [K, K], symmetric, 0 on the diagonal; NaN where a map is zero.

    Raises:
        RnnMemError: not recall maps.

    Source:
        Björck and Golub, "Numerical methods for computing angles between linear subspaces", 1973.

    Example:
        >>> import torch, rnnmem
        >>> maps = rnnmem.fit_recall(torch.nn.GRU(2, 6), torch.randn(2000, 2, 2), lags=4)
        >>> rnnmem.recall_angles(maps).shape
        torch.Size([5, 5])
    """
    if not isinstance(maps, RecallMaps):
        raise expected("maps", "RecallMaps from fit_recall", type(maps).__name__)
    bases = [row_space(weight.double().cpu()) for weight in maps.weight]
    angles = torch.zeros(len(bases), len(bases), dtype=torch.float64)
    for i, one in enumerate(bases):
        for j, other in enumerate(bases[:i]):
            angles[i, j] = angles[j, i] = largest_angle(one, other)
        if one.shape[1] == 0:
            angles[i, i] = float("nan")
    return angles


def row_space(weight: Tensor) -> Tensor:
    """An orthonormal basis [H, r] of the rows of a map [d, H]."""
    _, values, right = torch.linalg.svd(weight, full_matrices=False)
    return right[values > FLAT * values.max()].T


def largest_angle(one: Tensor, other: Tensor) -> float:
    """Of the smaller subspace to the larger, from bases [H, r]; a small one by its sine, which is exact."""
    small, large = (one, other) if one.shape[1] <= other.shape[1] else (other, one)
    if small.shape[1] == 0:
        return float("nan")
    outside = small - large @ (large.T @ small)
    sine = float(torch.linalg.matrix_norm(outside, 2).clamp(max=1))
    if sine < 0.5**0.5:
        return float(torch.asin(torch.tensor(sine, dtype=torch.float64)))
    cosine = torch.linalg.svdvals(large.T @ small)[-1].clamp(max=1)
    return float(torch.acos(cosine))
