"""What fitting recall maps costs: effective rows, the maps' errors, and how long row losses are alike."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rnnmem.autocorrelation import Autocorrelation, Remembered, blocking_time, integrated_time
from rnnmem.innovations import Innovations, Predictor
from rnnmem.moments import Rows
from rnnmem.recall import CurveFit
from rnnmem.ridge import RidgeSystem
from rnnmem.sample import Segment

GROUP_COLUMNS = 128  # of the recall maps whose points are worked out together


class FitCost:
    """What the fit cost, from the last fit rows: effective rows, map errors, how long losses are alike."""

    def __init__(
        self,
        segments: list[Segment],
        systems: list[RidgeSystem],
        rows: Rows,
        innovations: Innovations,
        lags: Tensor,
        size: list[float],
        counts: list[float],
    ) -> None:
        self.segments, self.rows, self.innovations, self.lags = segments, rows, innovations, lags
        self.size, self.counts = size, counts
        self.longest_time = 1.0
        self.white: list[list[Tensor]] = []
        self.newer = [torch.cat(innovations.newer(s.vectors), dim=-1) for s in segments if innovations.order]
        self.kinds = [innovations.targets(s.vectors) for s in segments]
        self.states = [self.state_autocorrelation(systems[band], band) for band in range(len(systems))]

    def masks(self, lag_index: int) -> list[Tensor]:
        return [s.age >= int(self.rows.min_age[lag_index]) for s in self.segments]

    def state_autocorrelation(self, system: RidgeSystem, band: int) -> Remembered:
        """Of the fully whitened state."""
        whiten, masks = system.whitening, self.masks(self.rows.band.index(band))
        white: list[Tensor] = []
        for segment, mask in zip(self.segments, masks, strict=True):
            features = segment.features
            centred = features - system.mean.to(features)
            white.append(zeroed(centred @ whiten.T.to(features), mask))
        self.white.append(white)
        return Remembered(Autocorrelation(white, masks))

    def curve_fit(self, weight: Tensor, bias: Tensor, means: Tensor, own: bool) -> CurveFit:
        """The fit of one curve with its costs."""
        effective, variance = [], []
        predictor = torch.zeros(3, len(self.lags), dtype=torch.float64)
        for index, (lag, recalled) in enumerate(self.recalled(weight, bias)):
            kind = self.innovations.order_of(lag) if own else 0
            masks = self.masks(index)
            residuals = self.residuals(recalled, kind, lag, masks)
            rows = self.worth(index, residuals, masks)
            spread = effective_dimension(residuals, masks)
            effective.append(rows)
            variance.append(2 * self.size[index] / max(rows**2 * spread, 1e-300))
            deviations = self.deviations(means[index], kind, lag, masks)
            self.longest_time = max(self.longest_time, loss_time(residuals, deviations, masks))
            if own and kind:
                predictor[:, index] = self.predictor_error(recalled, index, kind, lag, masks)
        values = (torch.tensor(each, dtype=torch.float64) for each in (effective, variance))
        return CurveFit(weight, bias, means, *values, *predictor)

    def worth(self, index: int, residuals: list[Tensor], masks: list[Tensor]) -> float:
        """How many independent rows the fit rows of a lag are worth."""
        state = self.states[self.rows.band[index]]
        return self.counts[index] / max(0.5, integrated_time(Autocorrelation(residuals, masks), state))

    def effective_rows(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Effective fit rows [K] of maps to the tokens' vectors: weight [K, d, F], bias [K, d]."""
        rows = []
        for index, (lag, recalled) in enumerate(self.recalled(weight, bias)):
            masks = self.masks(index)
            rows.append(self.worth(index, self.residuals(recalled, 0, lag, masks), masks))
        return torch.tensor(rows, dtype=torch.float64)

    def recalled(self, weight: Tensor, bias: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
        """Each lag, and the points recalled for it [n, B, d] by segment: weight [K, d, F], bias [K, d]."""
        dimension, lags = weight.shape[1], self.lags.tolist()
        group = max(1, GROUP_COLUMNS // dimension)
        for first in range(0, len(lags), group):
            maps, offset = weight[first : first + group].flatten(0, 1), bias[first : first + group].flatten()
            points = []
            for features in (segment.features for segment in self.segments):
                point = torch.addmm(offset.to(features), features.flatten(0, 1), maps.T.to(features))
                points.append(point.view(*features.shape[:2], -1, dimension))
            for each, lag in enumerate(lags[first : first + group]):
                yield lag, [point[:, :, each] for point in points]

    def residuals(self, recalled: list[Tensor], kind: int, lag: int, masks: list[Tensor]) -> list[Tensor]:
        """What recalled points are off by [n, B, d] by segment, rows that do not count zeroed."""
        residuals = []
        for segment, kinds, mask, point in zip(self.segments, self.kinds, masks, recalled, strict=True):
            start = segment.history - lag
            residuals.append(zeroed(point - kinds[kind, start : start + len(segment.age)], mask))
        return residuals

    def deviations(self, mean: Tensor, kind: int, lag: int, masks: list[Tensor]) -> list[Tensor]:
        """Targets about their fit mean [n, B, d] by segment, rows that do not count zeroed."""
        found = []
        for segment, kinds, mask in zip(self.segments, self.kinds, masks, strict=True):
            start = segment.history - lag
            points = kinds[kind, start : start + len(segment.age)] - mean.to(kinds)
            found.append(zeroed(points, mask))
        return found

    def predictor_error(
        self, recalled: list[Tensor], index: int, kind: int, lag: int, masks: list[Tensor]
    ) -> Tensor:
        """Variance, gain and loss [3] that the fitted predictor's error brings to own retention."""
        predictor = self.innovations.predictors[kind]
        width = kind * self.innovations.dimension
        newer, beta = [], []
        for segment, after, kinds in zip(self.segments, self.newer, self.kinds, strict=True):
            part = slice(segment.history - lag, segment.history - lag + len(segment.age))
            newer.append(after[part, :, :width])
            beta.append(kinds[kind, part])
        tokens = counted(newer, masks)
        if len(tokens) < 2:
            return torch.zeros(3, dtype=torch.float64)
        mean = tokens.mean(dim=0)
        tokens = tokens - mean
        gain, loss = predictor_gain(counted(self.white[self.rows.band[index]], masks), tokens, predictor)
        shared = (counted(recalled, masks).T @ tokens).double() / len(tokens)
        slope = shared @ predictor.inverse
        alike = float((predictor.innovation @ slope @ shared.T).trace())
        # What each row's part in the predictor's error does to own retention.
        scores = [(b * ((n - mean) @ slope.T.to(n))).sum(-1) for b, n in zip(beta, newer, strict=True)]
        spread = max(alike, lasting_square(scores, masks))
        variance = 4 * spread / max(predictor.rows * float(predictor.innovation.trace()) ** 2, 1e-300)
        return torch.tensor((variance, gain, loss), dtype=torch.float64)


def zeroed(values: Tensor, mask: Tensor) -> Tensor:
    """Values [n, B, F], zero where a row does not count; themselves where all do."""
    return values if bool(mask.all()) else values.masked_fill(~mask.unsqueeze(-1), 0)


def counted(values: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The rows [R, F] that count, out of values [n, B, F] by segment; a view where all of one segment do."""
    rows = [v.flatten(0, 1) if bool(m.all()) else v[m] for v, m in zip(values, masks, strict=True)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def lasting_square(values: list[Tensor], masks: list[Tensor]) -> float:
    """Mean square of values [n, B] of mean zero, times how many steps they stay alike."""
    series = [x.masked_fill(~m, 0).unsqueeze(-1) for x, m in zip(values, masks, strict=True)]
    square = sum(float(x.square().sum(dtype=torch.float64)) for x in series)
    return square / max(1, sum(int(m.sum()) for m in masks)) * lasting(series, masks)


def lasting(series: list[Tensor], masks: list[Tensor]) -> float:
    """How many steps a series stays alike.

    By Sokal's window, which ends where a long thin tail begins, and by blocking, which sees the tail but
    needs more rows: the longer of the two.
    """
    return max(integrated_time(Autocorrelation(series, masks)), blocking_time(series, masks))


def predictor_gain(states: Tensor, tokens: Tensor, predictor: Predictor) -> tuple[float, float]:
    """How much of a fitted predictor's error a state can tell, and how much there is of it.

    The error is a linear function of the m newer tokens n, of relative size rank(S_n) / N; of it the state
    tells K / N, K = tr S_n^-1 Cov(n, h) S_h^-1 Cov(h, n), the sum of their squared canonical correlations. So
    own retention comes out as (retention + K / N) / (1 + rank(S_n) / N).

    Args:
        states: whitened states [R, rank].
        tokens: the newer tokens [R, m*d], their mean taken off.
        predictor: what was fitted.

    Returns:
        K / N and rank(S_n) / N, N the rows that the predictor was fitted on.
    """
    whitening = predictor.whitening.to(tokens)
    rank, size = whitening.shape[0], states.shape[1]
    shared = (states.T @ tokens) @ whitening.T
    found = float(shared.double().div(len(states)).square().sum())
    # What R rows find by chance is taken out; all of the smaller side is the most that there can be.
    told = found - max(0.0, size - found) * max(0.0, rank - found) / len(states)
    return min(max(told, 0.0), min(size, rank)) / predictor.rows, rank / predictor.rows


def effective_dimension(residuals: list[Tensor], masks: list[Tensor]) -> float:
    """(tr C)^2 / tr C^2 of the residuals' covariance."""
    rows = counted(residuals, masks)
    if len(rows) < 2:
        return 1.0
    rows = rows - rows.mean(dim=0)
    covariance = (rows.T @ rows).double() / len(rows)
    return float((covariance.trace() ** 2 / covariance.square().sum().clamp(min=1e-300)).clamp(min=1.0))


def loss_time(residuals: list[Tensor], deviations: list[Tensor], masks: list[Tensor]) -> float:
    """How many steps the rows of D / V stay alike: the width of jackknife blocks follows from it.

    Those of the row losses |residual|^2, or of what a row adds to the error of D / V, |residual|^2 -
    D/V |deviation|^2, which may last longer.
    """
    losses = [r.square().sum(dim=-1) for r in residuals]
    shown = [v.square().sum(dim=-1) for v in deviations]
    rows = max(1, sum(int(mask.sum()) for mask in masks))
    mean, variance = (sum(float(x.sum(dtype=torch.float64)) for x in each) for each in (losses, shown))
    share = mean / max(variance, 1e-300)
    about_mean = [
        (x - mean / rows).masked_fill(~m, 0).unsqueeze(-1) for x, m in zip(losses, masks, strict=True)
    ]
    about_share = [(x - share * v).unsqueeze(-1) for x, v in zip(losses, shown, strict=True)]
    return max(lasting(about_mean, masks), lasting(about_share, masks))
