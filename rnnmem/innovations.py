"""What a token adds to an affine prediction from the tokens after it: the targets of own retention.

beta_tau(t) = e_{t-tau} - (affine prediction from e_{t-tau+1}, ..., e_{t-tau+m}),  m = min(tau, p)

One predictor an order m, fitted on the fit rows of lag m by the same ridge as the recall maps; all lags from
p on share the predictor of order p. It depends on the tokens alone and is the same for every unit.

Source: this project (docs/definitions.md); innovations as in time-series analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rnnmem.chunks import Chunk
from rnnmem.moment_sums import Factors, SumMoments
from rnnmem.ridge import RidgeSystem


@dataclass(frozen=True)
class Predictor:
    """Predicts a token's vector from the m newer ones, nearest first.

    Attributes:
        weight: [d, m*d].
        bias: [d].
        newer: covariance of the m newer tokens [m*d, m*d].
        innovation: covariance of what is left [d, d].
        rows: rows that it was fitted on.
    """

    weight: Tensor
    bias: Tensor
    newer: Tensor
    innovation: Tensor
    rows: float

    @property
    def order(self) -> int:
        return self.weight.shape[1] // len(self.bias)

    @cached_property
    def whitening(self) -> Tensor:
        """[rank, m*d], which maps the centred newer tokens to uncorrelated ones of unit variance."""
        return RidgeSystem(torch.zeros_like(self.newer[0]), self.newer, 0.0).whitening

    @cached_property
    def inverse(self) -> Tensor:
        """Of the newer tokens' covariance, where it has one [m*d, m*d]."""
        return torch.linalg.pinv(self.newer, hermitian=True)


@dataclass(frozen=True)
class Innovations:
    """The predictors of orders 0 ... p, and where each lag finds its own."""

    predictors: tuple[Predictor, ...]

    @property
    def order(self) -> int:
        return len(self.predictors) - 1

    @property
    def dimension(self) -> int:
        return len(self.predictors[0].bias)

    def order_of(self, lag: int) -> int:
        """The order that lag `lag` is predicted with; order n is the n-th kind of target."""
        return min(lag, self.order)

    def targets(self, vectors: Tensor) -> Tensor:
        """All kinds of target [p + 1, N, B, d] from vectors [N, B, d].

        Kind m at position s is e_s less its prediction from e_{s+1}, ..., e_{s+m}; at the last m positions,
        where newer tokens are missing, it means nothing and no lag reads it.
        """
        if not self.order:
            return vectors.unsqueeze(0)
        return self.beyond(self.newer(vectors), vectors)

    def newer(self, vectors: Tensor) -> list[Tensor]:
        """The p vectors after each of vectors [N, B, d], nearest first; zero beyond the last."""
        shifted = [nn.functional.pad(vectors[i:], (0, 0, 0, 0, 0, i)) for i in range(1, self.order + 1)]
        return [part[: len(vectors)] for part in shifted]

    def beyond(self, newer: Sequence[Tensor], vectors: Tensor) -> Tensor:
        """All kinds of target [p + 1, ..., d] of vectors [..., d], given the p newer ones, nearest first."""
        kinds = vectors.new_empty(self.order + 1, *vectors.shape)
        kinds[0] = vectors
        if not self.order:
            return kinds
        window = torch.cat((*newer,), dim=-1).flatten(0, -2)
        for m, predictor in enumerate(self.predictors[1:], start=1):
            left = (vectors - predictor.bias.to(vectors)).flatten(0, -2)
            read, weight = window[:, : m * self.dimension], predictor.weight.T.to(window)
            torch.addmm(left, read, weight, alpha=-1, out=kinds[m].view_as(left))
        return kinds


class InnovationMoments:
    """Second moments of windows (e_{t-p}, ..., e_t), newest last, over the fit rows.

    Where lags have rows of their own (`by_lag`), rows of age m < p add to the orders up to m only.
    """

    def __init__(
        self,
        order: int,
        dimension: int,
        first_age: int,
        by_lag: bool,
        device: torch.device,
        sum_moments: SumMoments,
    ) -> None:
        self.order, self.dimension = order, dimension
        self.first_age, self.by_lag, self.sum_moments = first_age, by_lag, sum_moments
        self.pilot: Tensor | None = None
        sizes = range(order + 1) if by_lag else (order,)
        self.count = dict.fromkeys(sizes, 0)
        width = {m: (m + 1) * dimension for m in sizes}
        self.sum = {m: torch.zeros(width[m], dtype=torch.float64, device=device) for m in sizes}
        self.square = {m: torch.zeros(width[m], width[m], dtype=torch.float64, device=device) for m in sizes}

    def add(self, chunk: Chunk) -> None:
        real = chunk.age >= 0
        if not bool(real.any()):
            return
        if self.pilot is None:
            self.pilot = chunk.lagged(0)[real].mean(dim=0).double()
        for m in self.count:
            least = m if self.by_lag else self.first_age
            mask = chunk.age == m if m < self.order else chunk.age >= least
            if not bool(mask.any()):
                continue
            row = mask.flatten().nonzero().flatten()
            at = torch.tensor(chunk.places(m + 1), device=row.device)
            none = row[:0], self.pilot.new_zeros(0, self.dimension)
            vectors = chunk.vectors.flatten(0, 1)
            of = Factors(vectors, at, vectors, none[0], row, self.pilot.repeat(m + 1), none[1])
            sums = self.sum_moments(of)
            self.count[m] += len(row)
            self.sum[m] += sums.left
            self.square[m] += sums.square

    def fit(self, ridge: float) -> Innovations:
        """The predictors of all orders."""
        assert self.pilot is not None
        d = self.dimension
        predictors: list[Predictor] = []
        total, square = torch.zeros_like(self.sum[self.order]), torch.zeros_like(self.square[self.order])
        count = 0
        for m in range(self.order, -1, -1):
            width = (m + 1) * d
            total, square = total[:width], square[:width, :width]
            if m in self.count:
                count = count + self.count[m]
                total, square = total + self.sum[m], square + self.square[m]
            mean = total / max(count, 1)
            covariance = square / max(count, 1) - mean.outer(mean)
            predictors.append(self.predictor(m, mean, covariance, ridge, count, self.pilot))
        return Innovations(tuple(reversed(predictors)))

    def predictor(
        self, m: int, mean: Tensor, covariance: Tensor, ridge: float, count: int, pilot: Tensor
    ) -> Predictor:
        """Solves order m from windows (e_t, ..., e_{t-m}): the oldest from the others."""
        d = self.dimension
        if m == 0:
            empty, none = mean.new_zeros(d, 0), mean.new_zeros(0, 0)
            return Predictor(empty, torch.zeros_like(pilot), none, covariance, count)
        # A window holds lag 0 first; nearest to the oldest token is lag m - 1.
        order = torch.arange(m * d, device=mean.device).view(m, d).flip(0).flatten()
        oldest = slice(m * d, (m + 1) * d)
        newer = covariance[order][:, order]
        cross = covariance[order][:, oldest]
        weight = RidgeSystem(mean[order], newer, ridge).solve(cross)
        bias = mean[oldest] + pilot - weight @ (mean[order] + pilot.repeat(m))
        left = covariance[oldest, oldest] - weight @ cross - cross.T @ weight.T + weight @ newer @ weight.T
        return Predictor(weight, bias, newer, left, count)


def allowed_order(order: int, dimension: int, rows: list[int]) -> int:
    """The order lowered until order * d is at most a tenth of the rows to fit it on, `rows[order]`."""
    return max(m for m in range(order + 1) if 10 * m * dimension <= rows[m])
