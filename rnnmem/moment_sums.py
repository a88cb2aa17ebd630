"""Second moments of rows, with themselves and with targets at a distance: what every fit here is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """Where the two factors of each row are to be found; float32 or float64.

    The left factor of row r is the rows `row[r] + left_at[a]` of `left` side by side, F = A * P numbers; its
    l-th target is the row `row[r] + right_at[l]` of `right`.

    Attributes:
        left: [N, P].
        left_at: int64 [A].
        right: [M, d].
        right_at: int64 [L].
        row: int64 [R].
        left_pilot: what left factors are taken about [F], float64.
        right_pilot: what each target is taken about [L, d], float64.
    """

    left: Tensor
    left_at: Tensor
    right: Tensor
    right_at: Tensor
    row: Tensor
    left_pilot: Tensor
    right_pilot: Tensor


@dataclass(frozen=True)
class MomentSums:
    """Sums over the rows of what is left about the pilots; float64.

    Attributes:
        left: of left factors [F].
        square: of their products [F, F].
        right: of targets [L, d].
        cross: of products of left factors and targets [L, F, d].
    """

    left: Tensor
    square: Tensor
    right: Tensor
    cross: Tensor


SumMoments = Callable[[Factors], MomentSums]


def sum_moments(of: Factors) -> MomentSums:
    """The reference: everything in float64."""
    left = torch.cat([of.left[of.row + at] for at in of.left_at], dim=1).double() - of.left_pilot
    right = left.new_zeros(of.right_pilot.shape)
    cross = left.new_zeros(len(right), left.shape[1], right.shape[1])
    for each, (at, pilot) in enumerate(zip(of.right_at, of.right_pilot, strict=True)):
        target = of.right[of.row + at].double() - pilot
        right[each], cross[each] = target.sum(dim=0), left.T @ target
    return MomentSums(left.sum(dim=0), left.T @ left, right, cross)
