"""Streaming second moments of features with lagged targets, float64, never a trajectory.

Every sum is of values shifted by a fixed pilot (about their mean), so that a large mean costs no digits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnmem.moment_sums import Factors, SumMoments
from rnnmem.ridge import RidgeSystem


@dataclass(frozen=True)
class Lagged:
    """The targets of each row of a chunk, by map.

    Attributes:
        points: N kinds of them [N, M + T, B, d], the chunk preceded by its history.
        pairs: of which kind and how many steps back each map's are.
        steps: T.
    """

    points: Tensor
    pairs: list[tuple[int, int]]
    steps: int

    def of(self, index: int) -> Tensor:
        """One map's targets [T, B, d]."""
        kind, lag = self.pairs[index]
        start = self.points.shape[1] - self.steps - lag
        return self.points[kind, start : start + self.steps]

    def places(self) -> Tensor:
        """Where the target of the chunk's first row is among the points, all in one line: int64 [L]."""
        length, streams = self.points.shape[1:3]
        starts = [(kind + 1) * length - self.steps - lag for kind, lag in self.pairs]
        return streams * torch.tensor(starts, dtype=torch.int64, device=self.points.device)


class Rows:
    """Which rows count for which lag.

    With `split="time"` all lags share their rows, those of age max(washout, max lag) and more. With
    `split="streams"` the rows of lag k are those of age `lags[k]` and more; moments are then kept by bands
    of age, from one lag to the next, and summed from the oldest band down.

    Attributes:
        min_age: [K], the age from which a row counts for lag k.
        band_start: first age of each band [S]; one band when all lags share their rows.
        band: which band lag k starts at [K].
    """

    def __init__(self, lags: Tensor, split: str, washout: int) -> None:
        if split == "time":
            first = max(washout, int(lags[-1]))
            self.min_age = torch.full_like(lags, first)
            self.band_start = [first]
            self.band = [0] * len(lags)
        else:
            self.min_age = lags.clone()
            self.band_start = lags.tolist()
            self.band = list(range(len(lags)))

    def masks(self, age: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The rows of each band [T, B]."""
        ends = [*self.band_start[1:], None]
        for index, (start, end) in enumerate(zip(self.band_start, ends, strict=True)):
            mask = age >= start
            yield index, mask if end is None else mask & (age < end)


class Moments:
    """Sums over rows of features h [F] and of the targets [d] of L maps, by bands of age.

    Args:
        rows: which rows count.
        band: which band each map's rows start at [L].
        features: F.
        dimension: d.
        device: where the sums live.
        sum_moments: what sums them.
    """

    def __init__(
        self,
        rows: Rows,
        band: list[int],
        features: int,
        dimension: int,
        device: torch.device,
        sum_moments: SumMoments,
    ) -> None:
        bands, maps = len(rows.band_start), len(band)
        self.rows, self.band, self.sum_moments = rows, band, sum_moments
        self.count = torch.zeros(bands, dtype=torch.float64, device=device)
        self.feature = torch.zeros(bands, features, dtype=torch.float64, device=device)
        self.square = torch.zeros(bands, features, features, dtype=torch.float64, device=device)
        self.target = torch.zeros(maps, dimension, dtype=torch.float64, device=device)
        self.cross = torch.zeros(maps, features, dimension, dtype=torch.float64, device=device)
        self.feature_pilot: Tensor | None = None
        self.target_pilot: Tensor | None = None

    def add(self, features: Tensor, age: Tensor, targets: Lagged, places: Sequence[int] = (0,)) -> None:
        """Adds a chunk.

        Args:
            features: rows [N, P], those of the chunk's steps and streams one after the other among them.
            age: of each row of the chunk [T, B].
            targets: of each row, by map.
            places: where the first row's features are among `features`, F / P of them side by side.
        """
        at = torch.tensor(places, dtype=torch.int64, device=age.device)
        points, starts = targets.points.flatten(0, 2), targets.places()
        counted = (age >= self.rows.band_start[0]).flatten().nonzero().flatten()
        if not len(counted):
            return
        if self.feature_pilot is None:
            self.feature_pilot = torch.cat([mean_of(features, counted + place) for place in at])
            self.target_pilot = torch.zeros_like(self.target)
            for pilot, start in zip(self.target_pilot, starts, strict=True):
                pilot.copy_(mean_of(points, counted + start))
        assert self.target_pilot is not None
        for band, mask in self.rows.masks(age):
            row = mask.flatten().nonzero().flatten()
            if not len(row):
                continue
            # A row of this band counts for every map whose rows start at it or at a younger one.
            maps = [index for index, start in enumerate(self.band) if start <= band]
            pilots = (self.feature_pilot, self.target_pilot[maps])
            sums = self.sum_moments(Factors(features, at, points, starts[maps], row, *pilots))
            self.count[band] += len(row)
            self.feature[band] += sums.left
            self.square[band] += sums.square
            self.target[maps] += sums.right
            self.cross[maps] += sums.cross

    def of_first(self, features: int) -> Moments:
        """The moments of the first features alone; views."""
        part = copy.copy(self)
        part.feature, part.cross = self.feature[:, :features], self.cross[:, :features]
        part.square = self.square[:, :features, :features]
        part.feature_pilot = None if self.feature_pilot is None else self.feature_pilot[:features]
        return part

    def merged_bands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Counts [S], means [S, F] about the pilot and covariances [S, F, F] of all rows from band s on."""
        count = self.count.flip(0).cumsum(0).flip(0)
        safe = count.clamp(min=1)
        mean = self.feature.flip(0).cumsum(0).flip(0) / safe[:, None]
        square = self.square.flip(0).cumsum(0).flip(0) / safe[:, None, None]
        return count, mean, square - mean[:, :, None] * mean[:, None, :]

    def counts(self) -> Tensor:
        """Rows by map [L]."""
        return self.count.flip(0).cumsum(0).flip(0)[self.band]

    def systems(self, ridge: float) -> list[RidgeSystem]:
        """The ridge system of each band, its mean about zero."""
        _, mean, covariance = self.merged_bands()
        pilot = 0 if self.feature_pilot is None else self.feature_pilot
        return [RidgeSystem(m + pilot, c, ridge) for m, c in zip(mean, covariance, strict=True)]

    def target_mean(self) -> Tensor:
        """Mean target by map [L, d]."""
        pilot = 0 if self.target_pilot is None else self.target_pilot
        return self.target / self.counts().clamp(min=1)[:, None] + pilot

    def cross_covariance(self) -> Tensor:
        """Of features with targets, by map [L, F, d]."""
        count = self.counts().clamp(min=1)
        _, mean, _ = self.merged_bands()
        target = self.target / count[:, None]
        return self.cross / count[:, None, None] - mean[self.band][:, :, None] * target[:, None, :]


def solve_maps(moments: Moments, systems: list[RidgeSystem]) -> tuple[Tensor, Tensor]:
    """The affine ridge maps from features to each map's target: weight [L, d, F] and bias [L, d]."""
    cross, target = moments.cross_covariance(), moments.target_mean()
    weight = torch.empty(cross.mT.shape, dtype=torch.float64, device=cross.device)
    bias = torch.empty_like(target)
    for band, system in enumerate(systems):
        maps = [each for each, start in enumerate(moments.band) if start == band]
        weight[maps] = system.solve(cross[maps])
        bias[maps] = target[maps] - weight[maps] @ system.mean
    return weight, bias


def mean_of(values: Tensor, rows: Tensor) -> Tensor:
    """Mean [d] of some rows of values [N, d], float64."""
    return values[rows].mean(dim=0, dtype=torch.float64)
