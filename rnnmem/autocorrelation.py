"""How many independent rows there are: autocorrelations and effective sample sizes.

Rows of one stream follow each other and are alike. The variance of a fitted map depends on the products of
the states' and the residuals' autocorrelations; the width of jackknife blocks on that of the row losses.

Sources: Sokal's automatic window, "Monte Carlo methods in statistical mechanics", 1997; blocking after
Flyvbjerg and Petersen, "Error estimates on averages of correlated data", 1989.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 5.0
FIRST_WIDTH = 64
FEWEST_SUMS = 32


def lagged_products(values: Tensor, width: int) -> Tensor:
    """Sums over t of x_t . x_{t+k} for k in 0 ... width - 1, from values [n, F]: float64 [width].

    Two Gram matrices of tiles of `width` rows, a tile with itself and with the next, hold all of them on
    their diagonals; both are one GEMM.
    """
    n = len(values)
    tiles = -(-n // width)
    padded = values.new_zeros((tiles + 1) * width, values.shape[1])
    padded[:n] = values
    tiled = padded.view(tiles + 1, width, -1).transpose(0, 1)
    here, following = tiled[:, :-1].flatten(1), tiled[:, 1:].flatten(1)
    gram = torch.cat((here @ here.T, here @ following.T), dim=1).double().cpu()
    return gram.as_strided((width, width), (2 * width + 1, 1)).sum(dim=0)


class Autocorrelation:
    """Mean autocorrelation of the components of sequences, over pairs of rows that both count.

    Args:
        segments: sequences [n, B, F], rows that do not count zeroed; no pair spans two of them.
        masks: which rows count [n, B].
    """

    def __init__(self, segments: list[Tensor], masks: list[Tensor]) -> None:
        self.segments, self.masks = segments, masks
        self.longest = max((len(s) for s in segments), default=1)

    def summed(self, sequences: list[Tensor], width: int) -> Tensor:
        total = torch.zeros(width, dtype=torch.float64)
        for values in sequences:
            total += lagged_products(values.flatten(1), width)
        return total

    def biased(self, width: int) -> Tensor:
        """Each offset's sum relative to that of offset 0: pairs that do not exist count as zero."""
        total = self.summed(self.segments, width)
        return total / total[0].clamp(min=1e-300)

    def unbiased(self, width: int) -> Tensor:
        """The same over each offset's own number of pairs."""
        pairs = self.summed([mask.float() for mask in self.masks], width).round()
        share = pairs / pairs[0].clamp(min=1)
        return torch.where(pairs > 0, self.biased(width) / share.clamp(min=1e-300), 0.0)


class Remembered:
    """The unbiased autocorrelation of an `Autocorrelation`, worked out once for each width."""

    def __init__(self, autocorrelation: Autocorrelation) -> None:
        self.autocorrelation = autocorrelation
        self.values: dict[int, Tensor] = {}

    def unbiased(self, width: int) -> Tensor:
        if width not in self.values:
            self.values[width] = self.autocorrelation.unbiased(width)
        return self.values[width]


def integrated_time(sequence: Autocorrelation, other: Remembered | None = None) -> float:
    """1 + 2 sum_k r(k) by Sokal's window, r an autocorrelation or the product of two.

    The window is the smallest M with M >= 5 (1/2 + sum_{k<=M} r(k)).
    """
    width = FIRST_WIDTH
    while True:
        r = sequence.biased(width)
        if other is not None:
            r = r * other.unbiased(width)
        times = 0.5 + r[1:].cumsum(0)
        enough = (torch.arange(1, width) >= WINDOW * times).nonzero()
        if len(enough):
            return float(2 * times[enough[0, 0]])
        if width >= sequence.longest:
            return float(2 * times[-1])
        width *= 4


def blocking_time(segments: list[Tensor], masks: list[Tensor]) -> float:
    """The variance of sums of neighbouring rows over that of as many independent ones, at its largest.

    Sums of 1, 2, 4, ... rows from the first that counts are tried, while there are at least 32 such sums.

    Args:
        segments: sequences [n, B, F] of mean zero, rows that do not count zeroed.
        masks: which rows count [n, B].
    """
    begins = [int(mask.any(dim=1).int().argmax()) if len(mask) else 0 for mask in masks]
    sums = [segment[begin:] for segment, begin in zip(segments, begins, strict=True)]
    rows = sum(int(mask.sum()) for mask in masks)
    total = power(sums)
    longest, width = 1.0, 2
    while width * FEWEST_SUMS <= rows and total > 0:
        sums = [joined_pairs(each) for each in sums]
        longest = max(longest, power(sums) / total)
        width *= 2
    return longest


def power(segments: list[Tensor]) -> float:
    return sum(float(each.square().sum(dtype=torch.float64)) for each in segments)


def joined_pairs(values: Tensor) -> Tensor:
    """Sums [ceil(n / 2), B, F] of neighbouring rows of values [n, B, F]."""
    odd = values.new_zeros(len(values) % 2, *values.shape[1:])
    return torch.cat((values, odd)).unflatten(0, (-1, 2)).sum(dim=1)
