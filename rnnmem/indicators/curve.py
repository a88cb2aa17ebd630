"""A measured curve of retention by lag, with what its intervals need.

retention_heldout = 1 - D / V
retention = 1 - (1 - retention_heldout) (1 - H_eff / N_eff)
own retention = (the same) (1 + loss) - gain, for the error of the fitted innovation predictor
se^2 = delete-one-block jackknife + (1 - retention)^2 2 H_eff / (N_eff^2 d_eff) (+ the predictor's own error)

Source: this project (docs/definitions.md); the jackknife after Kuensch 1989.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.special import stdtrit
from torch import Tensor

FEWEST_BLOCKS = 16


@dataclass(frozen=True)
class Curve:
    """Retention by lag; everything float64 [K] unless said.

    Attributes:
        lags: int64 [K].
        heldout: 1 - D / V on rows that the maps never saw.
        retention: corrected for the cost of the fit.
        distance: D, mean squared semantic distance.
        variance: V, mean squared distance of the targets to their fit mean.
        jackknife: retention with one block left out [g, K].
        fit_variance: variance that the fitted map and predictor add.
    """

    lags: Tensor
    heldout: Tensor
    retention: Tensor
    distance: Tensor
    variance: Tensor
    jackknife: Tensor
    fit_variance: Tensor

    @property
    def measured(self) -> int:
        """How many lags there are before the first NaN."""
        nan = self.retention.isnan().nonzero()
        return int(nan[0, 0]) if len(nan) else len(self.lags)

    @property
    def last_measured(self) -> int:
        """The last lag before the first NaN, in steps; the first of the grid where there is none."""
        return int(self.lags[max(self.measured, 1) - 1])

    @property
    def blocks(self) -> int:
        return len(self.jackknife)

    @property
    def judged(self) -> bool:
        """Whether there are blocks enough for standard errors."""
        return self.blocks >= FEWEST_BLOCKS

    @cached_property
    def se(self) -> Tensor:
        """Standard error [K]; NaN with fewer than 16 blocks."""
        return (jackknife_variance(self.jackknife) + self.fit_variance).sqrt()

    @property
    def quantile(self) -> float:
        """The q of significance: t with blocks - 1 degrees of freedom at 1 - 0.025 / K."""
        return student(self.blocks, 1 - 0.025 / len(self.lags))

    @cached_property
    def significant(self) -> Tensor:
        """Where retention > q se, bool [K]; nowhere without standard errors."""
        if not self.judged:
            return torch.zeros(len(self.lags), dtype=torch.bool)
        return self.retention > self.quantile * self.se

    def interval(self, level: float) -> tuple[Tensor, Tensor]:
        """Student's t interval at each lag: (low [K], high [K])."""
        half = student(self.blocks, 0.5 + level / 2) * self.se
        return self.retention - half, self.retention + half


def student(blocks: int, probability: float) -> float:
    """The quantile of Student's t with blocks - 1 degrees of freedom; NaN with fewer than 16 blocks."""
    return float(stdtrit(blocks - 1, probability)) if blocks >= FEWEST_BLOCKS else float("nan")


def jackknife_variance(left_out: Tensor) -> Tensor:
    """Variance [...] of an estimate from its values with one block left out [g, ...]."""
    blocks = len(left_out)
    if blocks < FEWEST_BLOCKS:
        return torch.full(left_out.shape[1:], float("nan"), dtype=torch.float64)
    return (blocks - 1) / blocks * (left_out - left_out.mean(dim=0)).square().sum(dim=0)


def measure_curve(
    lags: Tensor,
    distance: Tensor,
    variance: Tensor,
    rows: Tensor,
    correction: Tensor,
    map_variance: Tensor,
    predictor: Tensor,
) -> Curve:
    """Makes a curve from sums by block.

    Args:
        lags: [K].
        distance: summed squared distances [g, K].
        variance: summed squared distances of targets to their fit mean [g, K].
        rows: rows [g, K].
        correction: 1 - H_eff / N_eff [K], NaN where there is no retention.
        map_variance: [K].
        predictor: variance, gain and loss that a fitted innovation predictor brings [3, K]; zeros where none.
    """
    total_d, total_v, total = distance.sum(0), variance.sum(0), rows.sum(0)
    predictor_variance, gain, loss = predictor

    def corrected(heldout: Tensor) -> Tensor:
        return (1 - (1 - heldout) * correction) * (1 + loss) - gain

    heldout = 1 - total_d / total_v
    retention = corrected(heldout)
    left_out = corrected(1 - (total_d - distance) / (total_v - variance))
    fit_variance = (1 - retention).square() * map_variance + predictor_variance
    return Curve(lags, heldout, retention, total_d / total, total_v / total, left_out, fit_variance)
