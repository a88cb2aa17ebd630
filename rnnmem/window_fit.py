"""The recall map of one lag of the inference control, fitted to states that saw the newest tokens alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnmem.autocorrelation import Autocorrelation, Remembered, integrated_time
from rnnmem.fit_cost import effective_dimension, predictor_gain
from rnnmem.innovations import Predictor
from rnnmem.moment_sums import Factors, SumMoments
from rnnmem.moments import mean_of
from rnnmem.ridge import RidgeSystem

KEPT_FLOATS = 2**20


@dataclass(frozen=True)
class WindowMap:
    """A recall map of the control [d, F], its effective size and rows, and what fitting errors do."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    size: float
    rows: float
    variance: float
    gain: float = 0.0
    loss: float = 0.0


class WindowFit:
    """Fits the recall map of one lag to the control's states."""

    def __init__(self, ridge: float, features: int, predictor: Predictor, sum_moments: SumMoments) -> None:
        self.ridge, self.features, self.predictor = ridge, features, predictor
        self.order, self.sum_moments = predictor.order, sum_moments
        self.count = 0
        self.pilot: tuple[Tensor, Tensor] | None = None
        self.sums: list[Tensor] = []
        self.kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, features: Tensor, targets: Tensor, newer: Tensor | None, mask: Tensor) -> None:
        """Adds features [n, m, F], targets [n, m, d] and newer tokens [n, m, order*d] where `mask`."""
        row = mask.flatten().nonzero().flatten()
        if not len(row):
            return
        h, e, here = features.flatten(0, 1), targets.flatten(0, 1), torch.zeros_like(row[:1])
        if self.pilot is None:
            self.pilot = (mean_of(h, row), mean_of(e, row))
        sums = self.sum_moments(Factors(h, here, e, here, row, self.pilot[0], self.pilot[1][None]))
        parts = [sums.left, sums.right[0], sums.square, sums.cross[0]]
        self.sums = [a + b for a, b in zip(self.sums, parts, strict=True)] if self.sums else parts
        self.count += len(row)
        self.kept.append((features, targets, features[..., :0] if newer is None else newer, mask))
        while len(self.kept) > 1 and sum(kept[0].numel() for kept in self.kept[1:]) >= KEPT_FLOATS:
            self.kept.pop(0)

    def solve(self) -> WindowMap:
        if self.pilot is None:
            nan = torch.full_like(self.predictor.bias, float("nan"))
            weight = nan[:, None].expand(-1, self.features)
            return WindowMap(weight, nan, nan, 1.0, 0.0, float("nan"))
        h, e, hh, he = (part / self.count for part in self.sums)
        system = RidgeSystem(h + self.pilot[0], hh - h.outer(h), self.ridge)
        weight = system.solve(he - h.outer(e))
        mean = e + self.pilot[1]
        bias = mean - weight @ system.mean
        features, targets, newer, mask = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        centred = features - system.mean.to(features)
        white = (centred @ system.whitening.T.to(features)).masked_fill(~mask.unsqueeze(-1), 0)
        left = centred @ weight.T.to(features) - (targets - mean.to(targets))
        left = left.masked_fill(~mask.unsqueeze(-1), 0)
        state = Remembered(Autocorrelation([white], [mask]))
        rows = self.count / max(0.5, integrated_time(Autocorrelation([left], [mask]), state))
        spread = effective_dimension([left], [mask])
        size, gain, loss = system.effective_size, 0.0, 0.0
        if self.order:
            tokens = newer[mask]
            gain, loss = predictor_gain(white[mask], tokens - tokens.mean(dim=0), self.predictor)
        return WindowMap(weight, bias, mean, size, rows, 2 * size / (rows**2 * spread), gain, loss)
