"""The headline: how far back there is memory that the newer tokens cannot account for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnmem.indicators.curve import Curve


def excess_over_inference(own: Curve, inference: Tensor, inference_se: Tensor) -> Tensor:
    """Own retention - inference - q sqrt(se^2 + se_inf^2) by lag [K]; memory where it is positive."""
    margin = own.quantile * (own.se.square() + inference_se.square()).sqrt()
    return own.retention - inference - margin


def memory_horizon(
    own: Curve, inference: Tensor | None, inference_se: Tensor | None, sampled: Sequence[int] | None = None
) -> int | None:
    """Last sampled lag up to which own retention exceeds the inference control at each one from 1 on.

    Args:
        own: the curve of own retention.
        inference: the control by lag [K], NaN where it was not sampled or had too few rows, or None when
            skipped.
        inference_se: its standard error [K].
        sampled: the lags at which the control was sampled; None for those where it is not NaN.

    Returns:
        Steps; 0 where it holds at no lag; None when the control was skipped, or the first sampled lag could
        not be judged.
    """
    if inference is None or inference_se is None or not own.judged:
        return None
    excess = excess_over_inference(own, inference, inference_se)
    chosen = ~inference.isnan() if sampled is None else torch.isin(own.lags, torch.tensor(list(sampled)))
    reached: int | None = None
    for index in (chosen & (own.lags >= 1)).nonzero().flatten().tolist():
        if bool(excess[index].isnan()):
            return reached
        if not bool(excess[index] > 0):
            return reached or 0
        reached = int(own.lags[index])
    return reached or 0
