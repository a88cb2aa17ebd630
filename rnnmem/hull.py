"""How far the recalled points reach: the null map and the directions of hull coverage."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.chunks import Chunk, Streams
from rnnmem.ridge import RidgeSystem
from rnnmem.semantics import SemanticSpace

DIRECTIONS = 8
BINS = 512
EVERY = 4


def directions(dimension: int, seed: int) -> Tensor:
    """Seeded random unit vectors [8, d], float64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(DIRECTIONS, dimension, dtype=torch.float64, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


class NullMoments:
    """Moments of features with unrelated targets: those half a fit part away, in time or in streams."""

    def __init__(self, streams: Streams, space: SemanticSpace, first_age: int, by_stream: bool) -> None:
        self.data, self.space = streams, space
        self.first_age, self.by_stream = first_age, by_stream and streams.batch > 1
        self.count = 0
        self.feature: Tensor | float = 0.0
        self.target: Tensor | float = 0.0
        self.cross: Tensor | float = 0.0
        self.pilot: tuple[Tensor, Tensor] | None = None

    def unrelated(self, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Vectors [T, B, d] from elsewhere, and the rows [T, B] that have one."""
        times = torch.arange(chunk.step, chunk.step + chunk.steps)
        batch = chunk.age.shape[1]
        columns = torch.arange(chunk.stream, chunk.stream + batch)
        counts = chunk.age >= self.first_age
        if self.by_stream:
            columns = (columns + self.data.batch // 2) % self.data.batch
            if self.data.lengths is not None:
                counts = counts & (times[:, None].to(counts.device) < self.data.lengths[columns])
            block = self.data.time(chunk.step, chunk.step + chunk.steps)
            inputs = block.inputs[:, columns]
            aligned = None if block.aligned is None else block.aligned[:, columns]
        else:
            span = max(1, self.data.steps - self.first_age)
            away = self.first_age + (times - self.first_age + span // 2).remainder(span)
            if self.data.lengths is not None:
                counts = counts & (away[:, None].to(counts.device) < self.data.lengths[columns])
            block = self.data.streams(chunk.stream, chunk.stream + batch)
            inputs = block.inputs[away]
            aligned = None if block.aligned is None else block.aligned[away]
        return self.space.vectors(inputs, aligned), counts

    def add(self, features: Tensor, chunk: Chunk) -> None:
        vectors, counts = self.unrelated(chunk)
        if not bool(counts.any()):
            return
        h, e = features[counts], vectors[counts]
        if self.pilot is None:
            self.pilot = (h.mean(dim=0), e.mean(dim=0))
        h, e = h - self.pilot[0], e - self.pilot[1]
        self.count += len(h)
        self.feature = self.feature + h.sum(dim=0, dtype=torch.float64)
        self.target = self.target + e.sum(dim=0, dtype=torch.float64)
        self.cross = self.cross + (h.T @ e).double()

    def fit(self, system: RidgeSystem, dimension: int) -> tuple[Tensor, Tensor]:
        """The null map: weight [d, F] and bias [d]."""
        if self.pilot is None or not isinstance(self.feature, Tensor) or not isinstance(self.cross, Tensor):
            return system.mean.new_zeros(dimension, len(system.mean)), system.mean.new_zeros(dimension)
        assert isinstance(self.target, Tensor)
        mean, target = self.feature / self.count, self.target / self.count
        weight = system.solve(self.cross / self.count - mean.outer(target))
        return weight, target + self.pilot[1].double() - weight @ (mean + self.pilot[0].double())
