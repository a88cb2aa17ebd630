"""Ridge least squares from second moments, on the features' correlation matrix.

Features are centred and scaled to unit variance; `ridge` is added to the diagonal of their correlation
matrix R, a mean and not a sum, so that it means the same for every length of stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

DROPPED = 1e-12
RANK = 1e-10


@dataclass(frozen=True)
class RidgeSystem:
    """The features' side of a ridge regression, decomposed once for any number of targets.

    Attributes:
        mean: of the features [F], float64.
        covariance: of the features [F, F], float64, normalised by the number of rows.
        ridge: what is added to the diagonal of the correlation matrix.
    """

    mean: Tensor
    covariance: Tensor
    ridge: float

    @cached_property
    def inverse_scale(self) -> Tensor:
        """1 / standard deviation [F]; 0 for features of no variance (<= 1e-12 of the largest)."""
        variance = self.covariance.diagonal()
        kept = variance > DROPPED * variance.max().clamp(min=0)
        return torch.where(kept, variance.clamp(min=1e-300).rsqrt(), 0.0)

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues [F] and vectors [F, F] of the correlation matrix of the features kept."""
        scale = self.inverse_scale
        values, vectors = torch.linalg.eigh(self.covariance * scale.outer(scale))
        return values.clamp(min=0), vectors

    @property
    def effective_size(self) -> float:
        """H_eff = tr R (R + ridge)^-1, the number of features the fit really uses."""
        if self.ridge == 0:
            return float(self.rank)
        values = self.eigen[0]
        return float((values / (values + self.ridge)).sum()) if self.rank else 0.0

    @property
    def rank(self) -> int:
        """Rank of the features' covariance, to 1e-10 of the largest eigenvalue."""
        values = self.eigen[0]
        return int((values > RANK * values.max()).sum()) if len(values) and values.max() > 0 else 0

    @cached_property
    def whitening(self) -> Tensor:
        """[rank, F], which maps centred features to uncorrelated ones of unit variance."""
        values, vectors = self.eigen
        kept = vectors[:, len(values) - self.rank :] * values[len(values) - self.rank :].rsqrt()
        return kept.T * self.inverse_scale

    def solve(self, cross: Tensor) -> Tensor:
        """The weights [..., d, F] for targets of covariance [..., F, d] with the features."""
        values, vectors = self.eigen
        shrunk = torch.where(values + self.ridge > 0, 1 / (values + self.ridge).clamp(min=1e-300), 0.0)
        if self.ridge == 0:
            shrunk = torch.where(values > RANK * values.max(), shrunk, 0.0)
        standardised = vectors.T @ (self.inverse_scale[:, None] * cross)
        weight = self.inverse_scale[:, None] * (vectors @ (shrunk[:, None] * standardised))
        return weight.mT
