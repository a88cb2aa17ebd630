"""Measuring with frozen maps over checked data: what `assess` and `MemoryMeter` share."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import Carry, Streams, batches, chunk_steps, cut, fresh_carry, join_carries
from rnnmem.hull import EVERY
from rnnmem.moments import Rows
from rnnmem.recall import RecallMaps
from rnnmem.resident import ResidentMemory
from rnnmem.runner import Runner, stream_join, stream_slice
from rnnmem.scan import Projection
from rnnmem.semantics import SemanticSpace
from rnnmem.tally import Plan, Tally

WIDE = 32
NEVER = 2**62


class Measurement:
    """The sums measured so far, and where the streams stand.

    Attributes:
        maps: the frozen maps.
        curves_only: whether bits and hull coverage are left out (NaN).
        tally: the sums, or None before the first chunk.
        carry: history and ages of the streams, or None before their start.
        state: the network's state, or None before the streams' start.
    """

    def __init__(self, maps: RecallMaps, curves_only: bool = False) -> None:
        self.maps = maps
        self.curves_only = curves_only
        self.rows = Rows(maps.lags, maps.settings["split"], maps.settings["washout"])
        self.plan = Plan(maps, self.rows.min_age)
        self.tally: Tally | None = None
        self.carry: Carry | None = None
        self.state: Any = None
        self.resident = ResidentMemory()

    def feed(
        self,
        runner: Runner,
        space: SemanticSpace,
        data: Streams,
        flops: int,
        count: bool,
        progress: Any = None,
    ) -> None:
        """Runs checked data through, and sums what counts; a call that fails leaves all as it was."""
        before = copy.deepcopy(self.tally)
        try:
            self.run(runner, space, data, flops, count, progress)
        except BaseException:
            self.tally = before
            raise
        del before
        self.resident.settle()

    def run(
        self, runner: Runner, space: SemanticSpace, data: Streams, flops: int, count: bool, progress: Any
    ) -> None:
        """Does what `feed` says."""
        history = self.maps.history
        carry = self.carry or fresh_carry(space, data, history)
        state = runner.init_state(data.batch) if self.state is None else self.state
        tally = self.tally = Tally(self.maps) if self.tally is None else self.tally
        tally.add_streams(data.batch)
        kinds = len(self.maps.innovations.predictors)
        # The projection and the residuals' second moments take their share of a chunk's time too.
        d, maps = self.maps.dimension, len(self.plan.lag)
        flops += 2 * maps * d * (self.maps.features + d)
        floats = max(self.maps.features, kinds * self.maps.dimension, 2 * len(self.plan.lag))
        # The same tensors for every chunk, so that a backend packs them once.
        readers = self.readers(carry.vectors)
        states, carries = [], []
        for start, end in batches(data, history, flops):
            part, one = data.streams(start, end), carry.streams(start, end)
            held = stream_slice(runner, state, slice(start, end))
            steps = chunk_steps(part.batch, floats, flops)
            for chunk, after in cut(space, part, one, steps, start):
                one = after
                if not count:
                    _, held = runner.store(chunk, held)
                else:
                    targets = self.maps.innovations.targets(chunk.vectors)
                    projection = self.projection(readers, targets, chunk.age, chunk.step)
                    projected, held = runner.project(chunk, held, projection)
                    tally.add(chunk, projected, targets, self.maps, self.plan, self.moment_every)
                    tally.add_coordinates(chunk, projected, self.maps, self.plan, self.coordinates_every)
                if progress is not None:
                    progress(chunk.age.numel())
            states.append(held)
            carries.append(one)
        self.state, self.carry = stream_join(runner, states), join_carries(carries)

    @property
    def moment_every(self) -> int:
        """Second moments are of every step up to 32 dimensions, of every fourth above."""
        if self.curves_only:
            return NEVER
        return 1 if self.maps.dimension <= WIDE else 4

    @property
    def coordinates_every(self) -> int:
        """Coordinates along the directions are of every fourth step."""
        return NEVER if self.curves_only else EVERY

    def projection(
        self, readers: tuple[Tensor, Tensor, Tensor], targets: Tensor, age: Tensor, step: int
    ) -> Projection:
        """What the project sink is given for a chunk."""
        plan = self.plan
        weight, bias, directions = readers
        return Projection(
            weight=weight,
            bias=bias,
            targets=targets,
            buffer=plan.buffer,
            lag=plan.lag,
            age=age,
            min_age=plan.min_age,
            step=step,
            moment_every=self.moment_every,
            directions=directions,
            coordinate_maps=plan.lags + 1,
            coordinate_every=self.coordinates_every,
        )

    def readers(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weight [L, d, F], bias [L, d] and directions [R, d]: raw maps, the null map, own maps."""
        maps = self.maps
        weights, biases = [maps.raw.weight, maps.null_weight[None]], [maps.raw.bias, maps.null_bias[None]]
        if maps.has_own:
            weights.append(maps.own.weight)
            biases.append(maps.own.bias)
        parts = (torch.cat(weights), torch.cat(biases), maps.directions)
        return parts[0].to(like), parts[1].to(like), parts[2].to(like)
