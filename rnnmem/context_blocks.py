"""Which targets the use of context is measured on, and how they are blocked for its errors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnmem.indicators.curve import FEWEST_BLOCKS, jackknife_variance

REGION = 64  # steps of a stream whose targets are taken together
BLOCK = 32  # steps that a block of the jackknife spans at least
GOLDEN = (math.sqrt(5) - 1) / 2


def spread_evenly(count: int, begin: float) -> Iterator[int]:
    """0 ... count - 1 in an order of which every beginning is spread evenly: steps by the golden section."""
    seen = set()
    # The largest gap that n such steps leave in the unit circle is under 3 / n: none is missed.
    for each in range(3 * count):
        index = int((begin + each * GOLDEN) % 1 * count)
        if index not in seen:
            seen.add(index)
            yield index


def blocks_of(region: Tensor, step: Tensor) -> Tensor:
    """Which block of the jackknife each target is in, from regions and steps [N] in order.

    Regions that touch are one run, cut into blocks as wide as leaves 16 of them, and never under 32 steps:
    what targets have in common with their neighbours outlasts a narrow block.
    """
    apart = torch.ones(len(region), dtype=torch.bool)
    apart[1:] = region.diff() > 1
    run = apart.cumsum(0) - 1
    within = (region - region[apart][run]) * REGION + step % REGION
    longest = int(within.max()) + 1
    width = BLOCK << (longest // BLOCK).bit_length()
    while True:
        held, block = (run * longest + within // width).unique(return_inverse=True)
        if width == BLOCK or len(held) >= FEWEST_BLOCKS:
            return block
        width //= 2


def block_error(losses: Tensor, block: Tensor) -> Tensor:
    """The standard error [n] of mean losses [n, N] over blocks of targets [N]; NaN below 16 of them."""
    rows = torch.bincount(block).double()
    sums = torch.zeros(len(losses), len(rows), dtype=torch.float64).index_add_(1, block, losses)
    left_out = (sums.sum(1, keepdim=True) - sums) / (rows.sum() - rows)
    return jackknife_variance(left_out.T).sqrt()
