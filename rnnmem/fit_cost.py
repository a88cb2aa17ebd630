"""What fitting recall maps costs: effective rows, the maps' errors, and how long row losses are alike."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.autocorrelation import Autocorrelation, Remembered, integrated_time
from rnnmem.innovations import Innovations
from rnnmem.moments import Rows
from rnnmem.recall import CurveFit
from rnnmem.ridge import RidgeSystem
from rnnmem.sample import Segment


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
        self.kinds = [innovations.targets(s.vectors) for s in segments]
        self.states = [self.state_autocorrelation(systems[band], band) for band in range(len(systems))]

    def masks(self, lag_index: int) -> list[Tensor]:
        return [s.age >= int(self.rows.min_age[lag_index]) for s in self.segments]

    def state_autocorrelation(self, system: RidgeSystem, band: int) -> Remembered:
        """Of the fully whitened state."""
        whiten, masks, white = system.whitening, self.masks(self.rows.band.index(band)), []
        for segment, mask in zip(self.segments, masks, strict=True):
            features = segment.features
            centred = features - system.mean.to(features)
            white.append((centred @ whiten.T.to(features)).masked_fill(~mask.unsqueeze(-1), 0))
        return Remembered(Autocorrelation(white, masks))

    def curve_fit(self, weight: Tensor, bias: Tensor, means: Tensor, own: bool) -> CurveFit:
        """The fit of one curve with its costs."""
        effective, variance, predictor = [], [], []
        for index, lag in enumerate(self.lags.tolist()):
            kind = self.innovations.order_of(lag) if own else 0
            masks = self.masks(index)
            recalled, residuals = self.residuals(weight[index], bias[index], kind, lag, masks)
            state = self.states[self.rows.band[index]]
            time = integrated_time(Autocorrelation(residuals, masks), state)
            rows = self.counts[index] / max(0.5, time)
            spread = effective_dimension(residuals, masks)
            effective.append(rows)
            variance.append(2 * self.size[index] / max(rows**2 * spread, 1e-300))
            self.longest_time = max(self.longest_time, loss_time(residuals, masks))
            predictor.append(self.predictor_variance(recalled, kind, lag, masks) if own and kind else 0.0)
        values = (torch.tensor(each, dtype=torch.float64) for each in (effective, variance, predictor))
        return CurveFit(weight, bias, means, *values)

    def residuals(
        self, weight: Tensor, bias: Tensor, kind: int, lag: int, masks: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Recalled points and residuals [n, B, d] by segment, rows that do not count zeroed."""
        recalled, residuals = [], []
        for segment, kinds, mask in zip(self.segments, self.kinds, masks, strict=True):
            start = segment.history - lag
            point = segment.features @ weight.T.to(segment.features) + bias.to(segment.features)
            left = point - kinds[kind, start : start + len(segment.age)]
            recalled.append(point)
            residuals.append(left.masked_fill(~mask.unsqueeze(-1), 0))
        return recalled, residuals

    def predictor_variance(self, recalled: list[Tensor], kind: int, lag: int, masks: list[Tensor]) -> float:
        """4 tr(S_b R S_n^-1 R') / (N (tr S_b)^2): what the fitted predictor adds to own retention."""
        predictor = self.innovations.predictors[kind]
        newer, points = [], []
        for segment, point, mask in zip(self.segments, recalled, masks, strict=True):
            steps, start = len(segment.age), segment.history - lag
            near = [segment.vectors[start + i : start + i + steps][mask] for i in range(1, kind + 1)]
            newer.append(torch.cat(near, dim=1))
            points.append(point[mask])
        tokens, shown = torch.cat(newer), torch.cat(points)
        if len(tokens) < 2:
            return 0.0
        shared = ((shown - shown.mean(0)).T @ (tokens - tokens.mean(0))).double() / len(tokens)
        inverse = torch.linalg.pinv(predictor.newer, hermitian=True)
        total = predictor.innovation.trace()
        spread = (predictor.innovation @ shared @ inverse @ shared.T).trace()
        return float(4 * spread / (predictor.rows * total**2).clamp(min=1e-300))


def effective_dimension(residuals: list[Tensor], masks: list[Tensor]) -> float:
    """(tr C)^2 / tr C^2 of the residuals' covariance."""
    rows = torch.cat([r[m] for r, m in zip(residuals, masks, strict=True)])
    if len(rows) < 2:
        return 1.0
    rows = rows - rows.mean(dim=0)
    covariance = (rows.T @ rows).double() / len(rows)
    return float((covariance.trace() ** 2 / covariance.square().sum().clamp(min=1e-300)).clamp(min=1.0))


def loss_time(residuals: list[Tensor], masks: list[Tensor]) -> float:
    """Integrated autocorrelation time of the row losses, in steps."""
    losses = [r.square().sum(dim=-1) for r in residuals]
    total = sum(float(loss.sum(dtype=torch.float64)) for loss in losses)
    mean = total / max(1, sum(int(mask.sum()) for mask in masks))
    centred = [(x - mean).masked_fill(~m, 0).unsqueeze(-1) for x, m in zip(losses, masks, strict=True)]
    return integrated_time(Autocorrelation(centred, masks))
