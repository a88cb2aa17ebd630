"""How many directions of the state space a network really uses."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.measures.arguments import read_floats


def effective_rank(states: Tensor) -> float:
    """Participation ratio of the states' covariance, (tr C)² / tr C².

    It is H where all units vary alike and independently, 1 where the states lie on a line. Scale does not
    matter between states, but it does between units: a loud unit counts more.

    Args:
        states: (N, H) or (T, B, H), float32 or float64.

    Returns:
        The participation ratio, between 1 and H; 0.0 for states that do not vary.

    Raises:
        RnnMemError: no such tensor, fewer than two states, or numbers that are not finite.

    Source:
        Participation ratio of a covariance's spectrum; for neural states, Rajan, Abbott and Sompolinsky 2010.

    Example:
        >>> import torch, rnnmem
        >>> round(rnnmem.effective_rank(torch.eye(6).repeat(100, 1)), 6)
        5.0
    """
    rank = states.dim() if isinstance(states, Tensor) and states.dim() in (2, 3) else 2
    values = read_floats("states", states, "(N, H) or (T, B, H)", rank).flatten(0, -2)
    if len(values) < 2:
        raise expected("states", "at least two states", len(values))
    largest = float(values.abs().max())
    if not largest:
        return 0.0
    values = values / largest  # squares of squares would leave the range of floats
    centred = values - values.mean(dim=0)
    # The smaller of the two Gram matrices has the same spectrum.
    gram = centred.T @ centred if len(centred) >= centred.shape[1] else centred @ centred.T
    power = float(gram.square().sum())
    scale = float(values.square().sum())
    if power <= (torch.finfo(torch.float64).eps * scale) ** 2:
        return 0.0
    return float(gram.trace()) ** 2 / power
