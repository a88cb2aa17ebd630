"""Pieces of the data run on their own: from states that the network visited, or from the initial one.

What is forgotten, learned and used is measured on such pieces. They are run chunk by chunk, and nothing but
the last state stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import FRESH, Chunk, Streams, chunk_steps
from rnnmem.runner import NetworkRunner, stream_join
from rnnmem.tree import tree_map

SPAN, ROUNDS = 32_768, 16  # rows, and stretches, that are run to visit states
MOST_ROWS, SHARED = 65_536, 4  # rows whose gates are kept, and how often each is read at least


@dataclass(frozen=True)
class Visited:
    """States that the network was in: after step `step[i] - 1` of stream `stream[i]`.

    Attributes:
        state: of N streams.
        features: what is measured of it [N, F].
        step: int64 [N], the step that comes next.
        stream: int64 [N].
    """

    state: Any
    features: Tensor
    step: Tensor
    stream: Tensor


class Pieces:
    """A network in motion over pieces of its data.

    Args:
        runner: the network.
        data: the streams, without resets.
        features: numbers that a row leaves behind, for the size of chunks.
        flops: of a step and stream.
        seed: of what is drawn.
    """

    def __init__(self, runner: NetworkRunner, data: Streams, features: int, flops: int, seed: int) -> None:
        self.runner, self.data, self.features, self.flops = runner, data, features, flops
        self.generator = torch.Generator().manual_seed(seed)
        self.lengths = data.ends

    def visited(self, stretch: int, room: int, most: int) -> Visited | None:
        """States visited in one run, drawn at random among those `stretch` steps apart in every stream.

        The run ends where `SPAN` rows or 16 stretches, whichever is longer, are over.

        Args:
            stretch: steps before the first and between two.
            room: steps that must follow in the same stream.
            most: states.

        Returns:
            At most `most` of them, in random order; None where there is none.
        """
        last = min(self.span(stretch), self.data.steps - room)
        steps = torch.tensor([*range(stretch, last + 1, stretch)], dtype=torch.int64)
        places = (self.lengths >= steps.unsqueeze(1) + room).nonzero()
        if not len(places):
            return None
        index, stream = places[torch.randperm(len(places), generator=self.generator)[:most]].T
        step = steps[index]
        return Visited(*self.before(step, stream), step, stream)

    def span(self, stretch: int) -> int:
        """Steps that are run, from the beginning, to visit states."""
        return max(ROUNDS * stretch, SPAN // self.data.batch)

    def before(self, step: Tensor, stream: Tensor) -> tuple[Any, Tensor]:
        """The state before steps >= 1 [N] of streams [N], and what is measured of it [N, F], in one run."""
        state, at, found, features, order = self.runner.init_state(self.data.batch), 0, [], [], []
        for time in step.unique().tolist():
            state, last = self.follow(self.data.time(at, time), state)
            at, here = time, (step == time).nonzero().flatten()
            found.append(self.pick(state, stream[here]))
            features.append(last[stream[here].to(last.device)])
            order.append(here)
        back = torch.cat(order).argsort()
        joined = torch.cat(features)
        return self.pick(stream_join(self.runner, found), back), joined[back.to(joined.device)]

    def pick(self, state: Any, order: Tensor) -> Any:
        """The state of some streams, in this order."""
        dim = self.runner.stream_dim
        return tree_map(lambda tensor: tensor.index_select(dim, order.to(tensor.device)), state)

    def apart(self, count: int, steps: int) -> Streams | None:
        """At most so many stretches, no two of which overlap; None where there is none."""
        slots = self.lengths // steps
        before = slots.cumsum(0) - slots
        drawn = torch.randperm(int(slots.sum()), generator=self.generator)[:count]
        if not len(drawn):
            return None
        stream = torch.searchsorted(before, drawn, right=True) - 1
        return self.at((drawn - before[stream]) * steps, stream, steps)

    def anywhere(self, count: int, steps: int) -> Streams:
        """So many stretches, each possible one equally likely."""
        room = (self.lengths - steps + 1).clamp(min=0).double()
        stream = torch.multinomial(room, count, replacement=True, generator=self.generator)
        share = torch.rand(count, dtype=torch.float64, generator=self.generator)
        return self.at((share * room[stream]).long(), stream, steps)

    def at(self, step: Tensor, stream: Tensor, steps: int) -> Streams:
        """The stretches that begin at steps [N] of streams [N], as streams of their own."""
        times = (step + torch.arange(steps).unsqueeze(1)).to(self.data.inputs.device)
        return alone(self.data.inputs[times, stream.to(times.device)])

    def follow(self, data: Streams, state: Any) -> tuple[Any, Tensor]:
        """Runs streams on from a state: the state after them, and the last step's features [B, F]."""
        last = torch.empty(0)
        for features, after in self.chunks(data, state):
            state, last = after, features[-1].clone()
        return state, last

    def steps_of(self, streams: int) -> int:
        """How many steps of so many streams may run at once."""
        return chunk_steps(streams, self.features, self.flops)

    def chunks(self, data: Streams, state: Any) -> Iterator[tuple[Tensor, Any]]:
        """Features [t, B, F] of the next steps, and the state after them."""
        size = self.steps_of(data.batch)
        for start in range(0, data.steps, size):
            values, state = self.runner.store(piece(data.inputs[start : start + size], start), state)
            yield values, state


class Reading:
    """A network that reads only some rows of the data, again and again.

    Where each is read often, and they are fewer than the tokens, its share of the gates is worked out once.

    Args:
        pieces: the network in motion, and all data.
        step: steps [N].
        stream: of which stream [N]; the rows are these and so many before each.
        before: how many.
    """

    def __init__(self, pieces: Pieces, step: Tensor, stream: Tensor, before: int) -> None:
        self.data, self.runner = pieces.data, pieces.runner
        self.rows: Tensor | None = None
        times = (step - torch.arange(before + 1).unsqueeze(1)).clamp(min=0)
        rows = (stream * self.data.steps + times).unique()
        embedding = pieces.runner.embedding
        known = embedding is not None and len(embedding) <= len(rows)  # tokens are fewer than rows
        if known or len(rows) > MOST_ROWS or len(rows) * SHARED > times.numel():
            return
        self.rows, at = rows, rows.to(self.data.inputs.device)
        self.runner = pieces.runner.reading(self.data.inputs[at % self.data.steps, at // self.data.steps])

    def store(self, step: Tensor, stream: Tensor, at: int, state: Any) -> tuple[Tensor, Any]:
        """Runs steps [t, N] of streams [N], the first of them the `at`-th: (features [t, N, F], state)."""
        if self.rows is None:
            inputs = self.data.inputs[step.to(self.data.inputs.device), stream.to(self.data.inputs.device)]
        else:
            numbers = torch.searchsorted(self.rows, stream * self.data.steps + step)
            inputs = numbers.to(self.data.inputs.device)
        return self.runner.store(piece(inputs, at), state)


def alone(inputs: Tensor) -> Streams:
    """Inputs as streams that have nothing beside them."""
    return Streams(inputs, None, None, None)


def piece(inputs: Tensor, step: int) -> Chunk:
    """Steps of a piece as a chunk, for a runner to take."""
    age = torch.full(inputs.shape[:2], FRESH + 1, device=inputs.device)
    return Chunk(inputs, inputs, None, age, None, step, 0)
