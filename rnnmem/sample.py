"""The last fit rows, kept for what cannot be had from sums: autocorrelations and residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnmem.chunks import Chunk

MOST_ROWS = 65_536
FEWEST_ROWS = 16_384
FLOATS = 2**22


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
    """A bounded number of the last rows: at most 65,536, and fewer for states so large that it would tell.

    Args:
        features: F.
        by_stream: rows are dropped by whole streams (`split="streams"`), not by steps.
    """

    def __init__(self, features: int, by_stream: bool) -> None:
        self.limit = min(MOST_ROWS, max(FEWEST_ROWS, FLOATS // features))
        self.by_stream = by_stream
        self.runs: list[list[tuple[Tensor, Chunk]]] = []

    def add(self, features: Tensor, chunk: Chunk, starts_run: bool) -> None:
        """Adds a chunk; `starts_run` where it does not follow the one before."""
        if starts_run:
            self.runs.append([])
        self.runs[-1].append((features, chunk))
        while len(self.runs) > 1 and self.rows(self.runs[1:]) >= self.limit:
            self.runs.pop(0)
        if not self.by_stream:
            first = self.runs[0]
            while len(first) > 1 and self.rows([first[1:], *self.runs[1:]]) >= self.limit:
                first.pop(0)

    @staticmethod
    def rows(runs: list[list[tuple[Tensor, Chunk]]]) -> int:
        return sum(chunk.age.numel() for run in runs for _, chunk in run)

    def segments(self) -> list[Segment]:
        """What was kept, trimmed to the limit."""
        joined = [self.join(run) for run in self.runs if run]
        spare = sum(s.age.numel() for s in joined) - self.limit
        if spare <= 0:
            return joined
        first = joined[0]
        steps, streams = first.age.shape
        if self.by_stream:
            drop = min(spare // steps, streams - 1)
            cut = Segment(first.features[:, drop:], first.vectors[:, drop:], first.age[:, drop:])
        else:
            drop = min(-(-spare // streams), steps - 1)
            cut = Segment(first.features[drop:], first.vectors[drop:], first.age[drop:])
        return [cut, *joined[1:]]

    @staticmethod
    def join(run: list[tuple[Tensor, Chunk]]) -> Segment:
        vectors = [run[0][1].vectors, *(chunk.vectors[chunk.history :] for _, chunk in run[1:])]
        return Segment(
            torch.cat([features for features, _ in run]),
            torch.cat(vectors),
            torch.cat([chunk.age for _, chunk in run]),
        )
