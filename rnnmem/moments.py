"""Streaming second moments of features with lagged targets, float64, never a trajectory.

Every sum is of values shifted by a fixed pilot (about their mean), so that a large mean costs no digits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnmem.ridge import RidgeSystem

GROUP_COLUMNS = 512


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
    """

    def __init__(
        self, rows: Rows, band: list[int], features: int, dimension: int, device: torch.device
    ) -> None:
        bands, maps = len(rows.band_start), len(band)
        self.rows, self.band = rows, band
        self.count = torch.zeros(bands, dtype=torch.float64, device=device)
        self.feature = torch.zeros(bands, features, dtype=torch.float64, device=device)
        self.square = torch.zeros(bands, features, features, dtype=torch.float64, device=device)
        self.target = torch.zeros(maps, dimension, dtype=torch.float64, device=device)
        self.cross = torch.zeros(maps, features, dimension, dtype=torch.float64, device=device)
        self.feature_pilot: Tensor | None = None
        self.target_pilot: Tensor | None = None

    def add(self, features: Tensor, age: Tensor, targets: list[Tensor]) -> None:
        """Adds a chunk: features [T, B, F], age [T, B], and each map's targets [T, B, d]."""
        counted = age >= self.rows.band_start[0]
        if not bool(counted.any()):
            return
        if self.feature_pilot is None:
            self.feature_pilot = features[counted].mean(dim=0)
            self.target_pilot = torch.stack([each[counted].mean(dim=0) for each in targets])
        centred = features - self.feature_pilot
        for band, mask in self.rows.masks(age):
            count = int(mask.sum())
            if count:
                self.add_band(band, None if count == mask.numel() else mask, centred, targets)

    def add_band(self, band: int, mask: Tensor | None, centred: Tensor, targets: list[Tensor]) -> None:
        """Adds the rows of one band of age; no mask where all rows are of it."""
        assert self.target_pilot is not None
        rows = pick(centred, mask)
        wide = rows.double()
        self.count[band] += len(rows)
        self.feature[band] += wide.sum(dim=0)
        self.square[band] += wide.T @ wide
        dimension = self.target.shape[1]
        # A row of this band counts for every map whose rows start at it or at a younger one.
        maps = [index for index, start in enumerate(self.band) if start <= band]
        group = max(1, GROUP_COLUMNS // dimension)
        for first in range(0, len(maps), group):
            some = maps[first : first + group]
            index = torch.tensor(some, device=rows.device)
            block = rows.new_empty(len(rows), len(some), dimension)
            for place, each in enumerate(some):
                torch.sub(pick(targets[each], mask), self.target_pilot[each], out=block[:, place])
            cross = (rows.T @ block.flatten(1)).view(-1, len(some), dimension)
            self.cross[index] += cross.transpose(0, 1).double()
            self.target[index] += block.sum(dim=0, dtype=torch.float64)

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
        pilot = 0 if self.feature_pilot is None else self.feature_pilot.double()
        return [RidgeSystem(m + pilot, c, ridge) for m, c in zip(mean, covariance, strict=True)]

    def target_mean(self) -> Tensor:
        """Mean target by map [L, d]."""
        pilot = 0 if self.target_pilot is None else self.target_pilot.double()
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


def pick(values: Tensor, mask: Tensor | None) -> Tensor:
    """Rows [N, ...] of values [T, B, ...]."""
    return values.flatten(0, 1) if mask is None else values[mask]
