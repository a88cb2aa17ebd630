"""What the tokens alone would score: the memoryless and the window control.

Both are scored like retention, from "states" that are the tokens themselves: h = e_t, and h = the last p
tokens. Whatever a network scores up to these needs no memory of its own.

The distance of maps W, b is worked out from second moments of the rows measured,

    E|W h + b - e|^2 = tr W C W' - 2 tr W X + tr E + |W m_h + b - m_e|^2

so that one walk over each part of the data serves both controls.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnmem.chunks import Carry, Streams
from rnnmem.fit import FEWEST, FitOptions, lagged_targets, walk
from rnnmem.fit_cost import FitCost
from rnnmem.innovations import Innovations
from rnnmem.moment_sums import SumMoments
from rnnmem.moments import Moments, Rows, solve_maps
from rnnmem.sample import FitSample, Segment
from rnnmem.semantics import SemanticSpace


@dataclass(frozen=True)
class Surveyed:
    """Second moments of the last tokens with those at each lag, and the last rows that they were taken of."""

    moments: Moments
    segments: list[Segment]


class TokenControls:
    """Scores the last tokens.

    Args:
        space: where semantic vectors come from.
        options: of the fit.
        tokens: the plain tokens as targets, an `Innovations` of order 0.
        window: how many tokens the longest control reads.
        sum_moments: what sums second moments.
    """

    def __init__(
        self,
        space: SemanticSpace,
        options: FitOptions,
        tokens: Innovations,
        window: int,
        sum_moments: SumMoments,
    ) -> None:
        self.space, self.options, self.tokens, self.window = space, options, tokens, window
        self.sum_moments = sum_moments
        self.rows = Rows(options.lags, options.split, options.washout)

    def survey(self, data: Streams, before: Carry | None = None) -> Surveyed:
        """One walk over a part of the data, from its start or on from `before`."""
        lags, d = self.options.lags, self.space.dimension
        size, steps = self.window * d, data.steps if self.options.split == "streams" else None
        # A lag within the window has its products among those of the window with itself.
        beyond = [index for index, lag in enumerate(lags.tolist()) if lag >= self.window]
        band = [self.rows.band[index] for index in beyond]
        moments = Moments(self.rows, band, size, d, data.inputs.device, self.sum_moments)
        sample = FitSample(size, int(self.rows.min_age[0]), steps)
        flops = 2 * size * (d * len(lags) + 2 * size)
        floats = max(size, d * min(len(lags), 16))
        for chunk, _, starts in walk(self.space, data, int(lags[-1]), floats, flops, before):
            targets = lagged_targets(chunk, self.tokens, lags[beyond])
            moments.add(chunk.vectors.flatten(0, 1), chunk.age, targets, chunk.places(self.window))
            if before is None:
                newest = torch.cat([chunk.lagged(lag) for lag in range(self.window)], dim=-1)
                sample.add(newest, chunk, starts)
        return Surveyed(self.of_all_lags(moments), sample.segments() if sample.runs else [])

    def of_all_lags(self, beyond: Moments) -> Moments:
        """Moments with targets at every lag, given those at lags beyond the window."""
        lags, d = self.options.lags, self.space.dimension
        near = [lag for lag in lags.tolist() if lag < self.window]
        whole = copy.copy(beyond)
        whole.band = self.rows.band
        # The rows of a lag are those of its band and of all older ones; its token is in these columns.
        places = [(band, slice(lag * d, (lag + 1) * d)) for band, lag in zip(whole.band, near, strict=False)]
        cross = [beyond.square[band:, :, part].sum(dim=0) for band, part in places]
        whole.cross = torch.cat((stacked(cross, beyond.cross), beyond.cross))
        target = [beyond.feature[band:, part].sum(dim=0) for band, part in places]
        whole.target = torch.cat((stacked(target, beyond.target), beyond.target))
        if beyond.feature_pilot is not None and beyond.target_pilot is not None:
            pilots = stacked([beyond.feature_pilot[part] for _, part in places], beyond.target_pilot)
            whole.target_pilot = torch.cat((pilots, beyond.target_pilot))
        return whole

    def retention(self, fit: Surveyed, measured: Moments, variance: Tensor, window: int) -> Tensor:
        """Retention [K] of the last `window` tokens.

        Args:
            fit: the fit part.
            measured: moments of the other part.
            variance: mean squared distance of its targets to their fit means [K]; NaN where they do not vary.
            window: at most as many as were surveyed.
        """
        size = window * self.space.dimension
        known, held = fit.moments.of_first(size), measured.of_first(size)
        systems = known.systems(self.options.ridge)
        weight, bias = solve_maps(known, systems)
        sizes = torch.tensor([systems[band].effective_size for band in self.rows.band], dtype=torch.float64)
        segments = [replace(each, features=each.features[..., :size]) for each in fit.segments]
        counts, lags = known.counts().tolist(), self.options.lags
        cost = FitCost(segments, systems, self.rows, self.tokens, lags, sizes.tolist(), counts)
        rows = cost.effective_rows(weight, bias)
        factor = torch.where(rows >= FEWEST * sizes, 1 - sizes / rows, math.nan)
        about_fit = (held.target_mean() - known.target_mean()).square().sum(-1)
        distance = mean_distance(held, weight, bias) + variance - about_fit
        return 1 - factor * distance.clamp(min=0) / variance  # rounding may leave a little less than 0


def stacked(parts: list[Tensor], like: Tensor) -> Tensor:
    """Parts [...] as [N, ...], also where there are none."""
    return torch.stack(parts) if parts else like[:0]


def mean_distance(moments: Moments, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean squared distance [K] of recalled points to targets, less the targets' variance."""
    mean, covariance = (part[moments.band] for part in moments.merged_bands()[1:])
    pilot = 0 if moments.feature_pilot is None else moments.feature_pilot
    off = torch.einsum("kdf,kf->kd", weight, mean + pilot) + bias - moments.target_mean()
    recalled = ((weight @ covariance) * weight).sum(dim=(1, 2))
    shared = (weight.mT * moments.cross_covariance()).sum(dim=(1, 2))
    return recalled - 2 * shared + off.square().sum(-1)
