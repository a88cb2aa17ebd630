"""How many tokens' worth is kept: memory amount, capacity, density, and the distance in S_n.

M(n) = sum over lags < n of retention, up to the last significant lag; linear between sampled lags.

Source: this project (docs/definitions.md); the sum over lags after Jaeger's memory capacity, 2001.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnnmem.indicators.curve import Curve, jackknife_variance


def last_lag(curve: Curve) -> int | None:
    """The last lag that sums go to: significant, before the first NaN; any without standard errors."""
    end = curve.measured
    counted = curve.significant[:end].nonzero() if curve.judged else torch.arange(end).view(-1, 1)
    return int(curve.lags[int(counted[-1, 0])]) if len(counted) else None


def interpolation(lags: Tensor, count: int) -> Tensor:
    """Weights [K] that sum a curve over the integer lags 0 ... count - 1, linear between sampled lags."""
    grid, identity = lags.numpy(), np.eye(len(lags))
    wanted = np.arange(count)
    return torch.stack([torch.tensor(np.interp(wanted, grid, unit).sum()) for unit in identity])


def amount_weights(curve: Curve, n: int) -> Tensor | None:
    """Weights [K] of M(n), or None where it is undefined (no lag 0 in the grid, or NaN there)."""
    if int(curve.lags[0]) != 0 or not curve.measured:
        return None
    last = last_lag(curve)
    if last is None:
        return torch.zeros(len(curve.lags), dtype=torch.float64)
    return interpolation(curve.lags, min(n, last + 1))


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Sums values [..., K], where a weight of 0 takes out NaN."""
    return torch.where(weights != 0, values * weights, 0.0).sum(dim=-1)


def memory_amount(curve: Curve, n: int) -> float | None:
    """M(n) in tokens."""
    weights = amount_weights(curve, n)
    return None if weights is None else float(weighted(weights, curve.retention))


def memory_amount_se(curve: Curve, n: int) -> float | None:
    """Standard error of M(n): its own jackknife, and the fits' errors as if lags were fully correlated."""
    weights = amount_weights(curve, n)
    if weights is None:
        return None
    fitted = weighted(weights, curve.fit_variance.sqrt()) ** 2
    return float((jackknife_variance(weighted(weights, curve.jackknife)) + fitted).sqrt())


def capacity(curve: Curve) -> float | None:
    """M(max lag + 1) in tokens."""
    return memory_amount(curve, int(curve.lags[-1]) + 1)


def capacity_se(curve: Curve) -> float | None:
    """Standard error of the capacity in tokens."""
    return memory_amount_se(curve, int(curve.lags[-1]) + 1)


def capacity_at_least(curve: Curve) -> bool | None:
    """Whether the last measured lag is still significant: capacity is a lower bound. None if not judged."""
    if not curve.judged or int(curve.lags[0]) != 0 or not curve.measured:
        return None
    return bool(curve.significant[curve.measured - 1])


def density(curve: Curve, n: int) -> float | None:
    """M(n) / n."""
    amount = memory_amount(curve, n)
    return None if amount is None else amount / n


def relative_distance(curve: Curve, n: int) -> float | None:
    """sqrt(sum D / sum V) over lags < n: distance in S_n over what was expressed, uncorrected."""
    if int(curve.lags[0]) != 0:
        return None
    weights = interpolation(curve.lags, n)
    ratio = weighted(weights, curve.distance) / weighted(weights, curve.variance)
    return None if bool(ratio.isnan()) else float(ratio.clamp(min=0).sqrt())
