"""What own capacity could be at most, for a state of this rank and tokens of this predictability."""

from __future__ import annotations

from torch import Tensor

from rnnmem.innovations import Innovations


def own_capacity_ceiling(innovations: Innovations, spectra: Tensor, rank: int, longest: int) -> float:
    """Sum of the `rank` largest eigenvalues of the innovations' covariances over the lags 0 ... longest.

    Args:
        innovations: which order each lag has.
        spectra: eigenvalues by order, relative to their sum [p + 1, d].
        rank: of the state's covariance.
        longest: the largest lag in steps.

    Returns:
        Tokens.
    """
    orders = [innovations.order_of(lag) for lag in range(longest + 1)]
    values = spectra[orders].flatten()
    return float(values.sort(descending=True).values[:rank].sum())
