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

from rnnmem.chunks import FRESH, Chunk, Streams, chunk_steps
from rnnmem.runner import Runner, stream_join
from rnnmem.tree import tree_map

MOST_PAIRS = 64
CONVERGED = 0.01
FLOOR = 16.0  # in units of the dtype's rounding: below it a distance is rounding
SAME = 1e-12  # unrelated states closer than this, relative to their size, coincide


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
        kind: "state" or "input", what the twins' pasts differ in.
    """

    lags: Tensor
    median: Tensor
    q10: Tensor
    q90: Tensor
    rate: float | None
    convergence_length: int | None
    esp_index: float
    kind: str


@dataclass(frozen=True)
class Pasts:
    """States [N streams] that twins start from, and their measured features [N, F]."""

    state: Any
    features: Tensor

    def pick(self, runner: Runner, order: Tensor) -> Pasts:
        def taken(tensor: Tensor) -> Tensor:
            return tensor.index_select(runner.stream_dim, order.to(tensor.device))

        return Pasts(tree_map(taken, self.state), self.features[order.to(self.features.device)])


class Twins:
    """Pairs of pasts out of a network's own data, and what becomes of them.

    Args:
        runner: the network in motion.
        data: the streams.
        longest: steps that the twins are followed for.
        washout: steps before a visited state counts.
        features: F, for the size of chunks.
        flops: of a step and stream.
        seed: of what is drawn.
    """

    def __init__(
        self, runner: Runner, data: Streams, longest: int, washout: int, features: int, flops: int, seed: int
    ) -> None:
        self.runner, self.data, self.longest = runner, data, longest
        self.stretch = max(washout, longest, 1)
        self.features, self.flops = features, flops
        self.generator = torch.Generator().manual_seed(seed)
        whole = torch.full((data.batch,), data.steps)
        self.lengths = whole if data.lengths is None else data.lengths.cpu()

    def states(self) -> Pasts | None:
        """States visited in one long run, at least a stretch apart; None where there are not two."""
        found: list[Pasts] = []
        state, count = self.runner.init_state(self.data.batch), 0
        for start in range(0, self.data.steps - self.stretch + 1, self.stretch):
            state, last = self.follow(self.data.time(start, start + self.stretch), state)
            alive = (self.lengths >= start + self.stretch).nonzero().flatten()
            if len(alive):
                found.append(Pasts(state, last).pick(self.runner, alive))
                count += len(alive)
            if count >= 2 * MOST_PAIRS:
                break
        return self.shuffled(found) if count >= 2 else None

    def inputs(self) -> Pasts | None:
        """States reached from the initial one through different stretches; None where there are not two."""
        pairs = min(MOST_PAIRS, int((self.lengths // self.stretch).sum()) // 2)
        if pairs < 1:
            return None
        drawn = self.stretches(2 * pairs, self.stretch, apart=True)
        state, last = self.follow(drawn, self.runner.init_state(2 * pairs))
        return Pasts(state, last)

    def shuffled(self, found: list[Pasts]) -> Pasts:
        """An even number of states, at most 128, in an order drawn at random."""
        state = stream_join(self.runner, [each.state for each in found])
        both = Pasts(state, torch.cat([each.features for each in found]))
        order = torch.randperm(len(both.features), generator=self.generator)
        return both.pick(self.runner, order[: min(2 * MOST_PAIRS, len(order) // 2 * 2)])

    def stretches(self, count: int, steps: int, apart: bool) -> Streams:
        """Stretches of the data as streams of their own.

        Args:
            count: how many.
            steps: how long.
            apart: whether no two may overlap.
        """
        if apart:
            slots = [
                (stream, slot * steps)
                for stream, length in enumerate(self.lengths.tolist())
                for slot in range(length // steps)
            ]
            order = torch.randperm(len(slots), generator=self.generator)[:count].tolist()
            chosen = [slots[index] for index in order]
        else:
            room = (self.lengths - steps + 1).clamp(min=0).double()
            streams = torch.multinomial(room, count, replacement=True, generator=self.generator)
            share = torch.rand(count, dtype=torch.float64, generator=self.generator)
            starts = (share * room[streams]).long()
            chosen = list(zip(streams.tolist(), starts.tolist(), strict=True))
        taken = [self.data.inputs[start : start + steps, stream] for stream, start in chosen]
        return Streams(torch.stack(taken, dim=1), None, None, None)

    def follow(self, data: Streams, state: Any) -> tuple[Any, Tensor]:
        """Runs streams on from a state: the state after them, and the last step's features [B, F]."""
        last = torch.empty(0)
        for features, after in self.chunks(data, state):
            state, last = after, features[-1].clone()
        return state, last

    def chunks(self, data: Streams, state: Any) -> Any:
        """Features [t, B, F] of the next steps, and the state after them."""
        size = chunk_steps(data.batch, self.features, self.flops)
        for start in range(0, data.steps, size):
            part = data.time(start, min(data.steps, start + size))
            age = torch.full(part.inputs.shape[:2], FRESH + 1, device=part.inputs.device)
            chunk = Chunk(part.inputs, part.inputs, None, age, part.reset, start, 0)
            values, state = self.runner.store(chunk, state)
            yield values, state

    def run(self, pasts: Pasts, kind: str) -> Forgetting | None:
        """Runs twins from pairs of pasts on shared inputs; None where unrelated states coincide."""
        pairs = len(pasts.features) // 2
        scale = unrelated_distance(pasts.features)
        size = float(pasts.features.double().square().mean().sqrt()) * pasts.features.shape[1] ** 0.5
        if scale <= SAME * max(size, 1e-300):
            return None
        first, second = pasts.features[:pairs].double(), pasts.features[pairs:].double()
        distance = [(first - second).norm(dim=-1).unsqueeze(0)]
        if self.longest:
            shared = self.stretches(pairs, self.longest, apart=False)
            both = Streams(torch.cat((shared.inputs, shared.inputs), dim=1), None, None, None)
            for values, _ in self.chunks(both, pasts.state):
                one, other = values.double().split(pairs, dim=1)
                distance.append((one - other).norm(dim=-1))
        return summary(torch.cat(distance).cpu() / scale, torch.finfo(pasts.features.dtype).eps, kind)


def unrelated_distance(features: Tensor) -> float:
    """Mean distance between different states [N, F]."""
    values = features.double()
    count = len(values)
    return float(torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").sum()) / (
        count * (count - 1)
    )


def summary(ratio: Tensor, eps: float, kind: str) -> Forgetting:
    """What ratios [L + 1, P] of twins' distance to that of unrelated states say."""
    q10, median, q90 = torch.quantile(ratio, torch.tensor([0.1, 0.5, 0.9], dtype=ratio.dtype), dim=1)
    apart = (median > CONVERGED).nonzero()
    first = int(apart[-1]) + 1 if len(apart) else 0
    last_quarter = ratio[-max(1, len(ratio) // 4) :]
    return Forgetting(
        lags=torch.arange(len(ratio)),
        median=median,
        q10=q10,
        q90=q90,
        rate=asymptotic_rate(median, FLOOR * eps),
        convergence_length=first if first < len(ratio) else None,
        esp_index=float(last_quarter.mean()),
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
