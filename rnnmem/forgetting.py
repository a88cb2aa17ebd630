"""How fast two different pasts become the same state: twin trajectories on the same inputs.

State forgetting starts the twins from states that the network itself visited at unrelated times; input
forgetting from the initial state, through different real stretches of input. From step 0 on both read the
same inputs. Their distance is taken on the measured state as the twins run, chunk by chunk; no trajectory is
stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.pieces import Pieces, alone

MOST_PAIRS = 64
CONVERGED = 0.01
FLOOR = 16.0  # in roundings of the states: what is below is no distance


@dataclass(frozen=True)
class Forgetting:
    """The distance of twins by step; every tensor on the CPU.

    Attributes:
        lags: steps since the shared inputs began, int64 [L + 1], 0 ... max lag; 0 is the state before them.
        median: of the twins' distance over the mean distance of unrelated states, float64 [L + 1].
        q10: its 10 % quantile over pairs.
        q90: its 90 % quantile over pairs.
        rate: asymptotic growth of the median in nats a step, negative where the network forgets; None where
            it is at the floor from the start.
        convergence_length: the first step from which on the median stays at .01 or below, None if none.
        esp_index: mean ratio over the last quarter of the steps; 0 is evidence of the echo state property.
        pairs: how many.
        kind: "state" or "input", what the twins' pasts differ in.
    """

    lags: Tensor
    median: Tensor
    q10: Tensor
    q90: Tensor
    rate: float | None
    convergence_length: int | None
    esp_index: float
    pairs: int
    kind: str


class Twins:
    """Pairs of pasts out of a network's own data, and what becomes of them.

    Args:
        pieces: the network in motion over pieces of the data.
        longest: steps that the twins are followed for.
        washout: steps before a visited state counts.
    """

    def __init__(self, pieces: Pieces, longest: int, washout: int) -> None:
        self.pieces, self.longest = pieces, longest
        self.stretch = max(washout, longest, 1)

    def from_states(self) -> Forgetting | str:
        """State forgetting: the twins start from states visited at unrelated times and streams."""
        found = self.pieces.visited(self.stretch, 0, 2 * MOST_PAIRS)
        return self.too_short() if found is None else self.run(found.state, found.features, "state")

    def from_inputs(self) -> Forgetting | str:
        """Input forgetting: the twins start from the initial state and read different real stretches."""
        stretches = self.pieces.apart(2 * MOST_PAIRS, self.stretch)
        if stretches is None:
            return self.too_short()
        state = self.pieces.runner.init_state(stretches.batch)
        return self.run(*self.pieces.follow(stretches, state), "input")

    def too_short(self) -> str:
        return f"no two pasts of {self.stretch} steps (washout, max lag) in the streams"

    def run(self, state: Any, features: Tensor, kind: str) -> Forgetting | str:
        """Runs twins, the first half and the second of these pasts, on shared inputs.

        Args:
            state: of the pasts.
            features: what is measured of it [N, F].
            kind: of forgetting.

        Returns:
            What becomes of their distance, or why that cannot be said.
        """
        pairs = len(features) // 2
        if pairs < 1:
            return self.too_short()
        if len(features) % 2:
            state, features = self.pieces.pick(state, torch.arange(2 * pairs)), features[: 2 * pairs]
        scale = unrelated_distance(features)
        size = float(features.double().square().sum(dim=1).mean().sqrt())
        floor = FLOOR * torch.finfo(features.dtype).eps * max(size, scale)
        if scale <= floor:
            return "unrelated states coincide, so that there is nothing to forget"
        distance = [twin_distance(features)]
        if self.longest:
            shared = self.pieces.anywhere(pairs, self.longest).inputs
            both = alone(torch.cat((shared, shared), dim=1))
            distance += [twin_distance(values) for values, _ in self.pieces.chunks(both, state)]
        ratio = torch.cat([part.reshape(-1, pairs) for part in distance]).cpu() / scale
        return summary(ratio, floor / scale, kind)


def twin_distance(features: Tensor) -> Tensor:
    """Distance [..., P] of the first to the second half of features [..., 2 P, F]."""
    one, other = features.double().chunk(2, dim=-2)
    return (one - other).norm(dim=-1)


def unrelated_distance(features: Tensor) -> float:
    """Mean distance between different states [N, F]."""
    values = features.double()
    count = len(values)
    return float(torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").sum()) / (
        count * (count - 1)
    )


def summary(ratio: Tensor, floor: float, kind: str) -> Forgetting:
    """What ratios [L + 1, P] of twins' distance to that of unrelated states say; below `floor` is noise."""
    q10, median, q90 = torch.quantile(ratio, torch.tensor([0.1, 0.5, 0.9], dtype=ratio.dtype), dim=1)
    apart = (median > CONVERGED).nonzero()
    first = int(apart[-1]) + 1 if len(apart) else 0
    last_quarter = ratio[-max(1, len(ratio) // 4) :]
    return Forgetting(
        lags=torch.arange(len(ratio)),
        median=median,
        q10=q10,
        q90=q90,
        rate=asymptotic_rate(median, floor),
        convergence_length=first if first < len(ratio) else None,
        esp_index=float(last_quarter.mean()),
        pairs=ratio.shape[1],
        kind=kind,
    )


def asymptotic_rate(median: Tensor, floor: float) -> float | None:
    """Slope of log median over the later half of the steps before it first falls to the floor."""
    low = (median <= floor).nonzero()
    end = int(low[0]) if len(low) else len(median)
    start = end // 2
    if end - start < 2:
        return None
    steps = torch.arange(start, end, dtype=torch.float64)
    centred = steps - steps.mean()
    return float((centred * median[start:end].log()).sum() / centred.square().sum())
