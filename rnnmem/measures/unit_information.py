"""How much each single unit says: of its own range, and about a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.measures.arguments import read_floats

LEVELS = 16


def unit_information(states: Tensor, tokens: Tensor) -> Tensor:
    """Mutual information between each unit's value and the token beside it, in bits.

    A unit's values are cut into 16 levels of equal mass. The estimate from counts is too high by about (cells
    - levels - tokens + 1) / (2 N ln 2); that is taken off, so a unit that says nothing comes out at 0 on
    average, and now and then below. What is left of the bias shows where most tokens are rare.

    Args:
        states: (N, H) or (T, B, H), float32 or float64.
        tokens: int64 (N,) or (T, B), the token that each state is held against: shift it to ask about the
            token of some steps ago.

    Returns:
        Bits by unit, float64 [H]; at most 4, and at most the tokens' entropy, but for the correction.

    Raises:
        RnnMemError: tensors of a wrong type or shape, fewer than two states, or numbers that are not finite.

    Source:
        Bias of entropies from counts: Miller 1955; Panzeri and Treves 1996.

    Example:
        >>> import torch, rnnmem
        >>> tokens = torch.arange(4096) % 4
        >>> said = torch.stack([tokens.double(), torch.zeros(4096).double()], dim=1)
        >>> rnnmem.unit_information(said, tokens).round(decimals=2)
        tensor([2., 0.], dtype=torch.float64)
    """
    rank = states.dim() if isinstance(states, Tensor) and states.dim() in (2, 3) else 2
    values = read_floats("states", states, "(N, H) or (T, B, H)", rank)
    if not isinstance(tokens, Tensor):
        raise expected("tokens", "an int64 Tensor", type(tokens).__name__)
    if tokens.dtype != torch.int64 or tokens.is_meta:
        raise expected("tokens", "int64 tokens with values", tokens.dtype)
    if tokens.shape != values.shape[:-1]:
        raise expected("tokens", f"shape {tuple(values.shape[:-1])} like states", tuple(tokens.shape))
    if tokens.device != values.device:
        raise expected("tokens", f"device {values.device} like states", tokens.device)
    values, tokens = values.flatten(0, -2), tokens.flatten()
    if len(values) < 2:
        raise expected("states", "at least two states", len(values))
    kinds, token = torch.unique(tokens, return_inverse=True)
    information = [count_information(levels(unit), token, len(kinds)) for unit in values.T]
    return torch.tensor(information, dtype=torch.float64)


def unit_entropy(states: Tensor) -> Tensor:
    """Entropy of each unit's value over its own range, in bits: how much of the range a unit makes use of.

    The range from a unit's lowest value to its highest is cut into 16 levels of equal width. A unit that is
    always at one of its two ends says 1 bit at most, one that is anywhere in between 4. The estimate from
    counts is too low by about (levels - 1) / (2 N ln 2), which is put back.

    Args:
        states: (N, H) or (T, B, H), float32 or float64.

    Returns:
        Bits by unit, float64 [H]; at most 4, but for the correction; 0 for a unit that never moves.

    Raises:
        RnnMemError: a tensor of a wrong type or shape, fewer than two states, or numbers that are not finite.

    Source:
        Bias of entropies from counts: Miller 1955.

    Example:
        >>> import torch, rnnmem
        >>> switch = torch.arange(4096).double() % 2
        >>> rnnmem.unit_entropy(torch.stack([switch, torch.ones(4096).double()], dim=1)).round(decimals=2)
        tensor([1., 0.], dtype=torch.float64)
    """
    rank = states.dim() if isinstance(states, Tensor) and states.dim() in (2, 3) else 2
    values = read_floats("states", states, "(N, H) or (T, B, H)", rank).flatten(0, -2)
    if len(values) < 2:
        raise expected("states", "at least two states", len(values))
    low, high = values.amin(dim=0), values.amax(dim=0)
    width = (high - low).clamp(min=torch.finfo(torch.float64).tiny)
    level = ((values - low) / width * LEVELS).long().clamp(max=LEVELS - 1)
    found = []
    for unit in level.T:
        share = torch.bincount(unit, minlength=LEVELS).double() / len(unit)
        used = share[share > 0]
        correction = (len(used) - 1) / (2 * len(unit) * math.log(2))
        found.append(correction - float((used * used.log2()).sum()))
    return torch.tensor(found, dtype=torch.float64)


def levels(values: Tensor) -> Tensor:
    """Level of each of the values [N]: 0 ... 15, of equal mass; equal values share one."""
    distinct, where, counts = torch.unique(values, return_inverse=True, return_counts=True)
    below = counts.cumsum(0) - counts
    middle = below + counts.double() / 2
    level: Tensor = (middle * LEVELS / len(values)).long().clamp(max=LEVELS - 1)
    return level[where] if len(distinct) > 1 else torch.zeros_like(where)


def count_information(level: Tensor, token: Tensor, kinds: int) -> float:
    """Bits between two columns of counts, the estimate's bias taken off."""
    joint = torch.bincount(level * kinds + token, minlength=LEVELS * kinds).view(LEVELS, kinds).double()
    total = joint.sum()
    entropies, cells = [], []
    for counts in (joint.sum(1), joint.sum(0), joint):
        share = counts[counts > 0] / total
        entropies.append(-float((share * share.log2()).sum()))
        cells.append(len(share))
    bias = (cells[2] - cells[0] - cells[1] + 1) / (2 * float(total) * math.log(2))
    return entropies[0] + entropies[1] - entropies[2] - bias
