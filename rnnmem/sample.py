"""The last fit rows, kept for what cannot be had from sums: autocorrelations and residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnmem.chunks import Chunk

MOST_ROWS = 65_536
FEWEST_ROWS = 16_384
FLOATS = 2**22
FLOATS_BESIDE = 2**25
MOST_STORED = 2


@dataclass(frozen=True)
class Segment:
    """Steps that follow each other: features [n, B, F], vectors [M + n, B, d], age [n, B]."""

    features: Tensor
    vectors: Tensor
    age: Tensor

    @property
    def history(self) -> int:
        return len(self.vectors) - len(self.age)


class FitSample:
    """A bounded number of the last rows that count: at most 65,536, and fewer for large states.

    Args:
        features: F.
        least_age: the age from which a row counts for some lag.
        steps: of each stream where whole streams are dropped (`split="streams"`), None where steps are.
        beside: numbers that are laid out for each row besides.
    """

    def __init__(self, features: int, least_age: int, steps: int | None, beside: int = 1) -> None:
        most = min(FLOATS // features, FLOATS_BESIDE // beside)
        self.limit = min(MOST_ROWS, max(FEWEST_ROWS, most))
        self.least_age = least_age
        self.streams = None if steps is None else max(1, self.limit // steps)
        self.runs: list[list[tuple[Tensor, Chunk]]] = []
        self.broken = True

    def add(self, features: Tensor, chunk: Chunk, starts_run: bool) -> None:
        """Adds a chunk; `starts_run` where it does not follow the one before."""
        if self.streams is not None and self.streams < features.shape[1]:
            features, chunk = features[:, -self.streams :].clone(), chunk.last_streams(self.streams)
        self.broken = self.broken or starts_run
        if not self.rows(chunk):
            self.broken = True
            return
        if self.broken:
            self.runs.append([])
            self.broken = False
        self.runs[-1].append((features, chunk))
        self.drop_old()

    def drop_old(self) -> None:
        """Lets go of what the limit can do without: whole runs, and in one long run its oldest chunks.

        Rows that do not count (padding, or too soon after a reset) take up memory too, so there may be at
        most so many times the limit of all rows together.
        """
        sizes = [[self.rows(chunk) for _, chunk in run] for run in self.runs]
        total = sum(map(sum, sizes))
        stored = sum(chunk.age.numel() for run in self.runs for _, chunk in run)

        def spare(counted: int, held: int) -> bool:
            return total - counted >= self.limit or stored - held >= MOST_STORED * self.limit

        while len(self.runs) > 1:
            held = sum(chunk.age.numel() for _, chunk in self.runs[0])
            if not spare(sum(sizes[0]), held):
                break
            total, stored = total - sum(sizes.pop(0)), stored - held
            self.runs.pop(0)
        while len(self.runs[0]) > 1 and self.streams in (None, 1):
            held = self.runs[0][0][1].age.numel()
            if not spare(sizes[0][0], held):
                break
            total, stored = total - sizes[0].pop(0), stored - held
            self.runs[0].pop(0)

    def rows(self, chunk: Chunk) -> int:
        """How many rows of a chunk count."""
        return int((chunk.age >= self.least_age).sum())

    def segments(self) -> list[Segment]:
        """What was kept, its oldest run trimmed to the limit by whole steps."""
        joined = [self.join(run) for run in self.runs]
        if self.streams not in (None, 1):
            return joined
        first = joined[0]
        later = sum(int((s.age >= self.least_age).sum()) for s in joined[1:])
        from_the_end = (first.age >= self.least_age).sum(dim=1).flip(0).cumsum(0).flip(0) + later
        drop = min(int((from_the_end > self.limit).sum()), len(first.age) - 1)
        cut = Segment(first.features[drop:], first.vectors[drop:], first.age[drop:])
        return [cut, *joined[1:]]

    @staticmethod
    def join(run: list[tuple[Tensor, Chunk]]) -> Segment:
        """The chunks of a run as one."""
        vectors = [run[0][1].vectors, *(chunk.vectors[chunk.history :] for _, chunk in run[1:])]
        return Segment(
            torch.cat([features for features, _ in run]),
            torch.cat(vectors),
            torch.cat([chunk.age for _, chunk in run]),
        )
