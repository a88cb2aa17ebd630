"""The headline: how far back there is memory that the newer tokens cannot account for."""

from __future__ import annotations

from torch import Tensor

from rnnmem.indicators.curve import Curve


def excess_over_inference(own: Curve, inference: Tensor, inference_se: Tensor) -> Tensor:
    """Own retention - inference - q sqrt(se^2 + se_inf^2) by lag [K]; memory where it is positive."""
    margin = own.quantile * (own.se.square() + inference_se.square()).sqrt()
    return own.retention - inference - margin


def memory_horizon(own: Curve, inference: Tensor | None, inference_se: Tensor | None) -> int | None:
    """Last sampled lag up to which own retention exceeds the inference control at each one from 1 on.

    Args:
        own: the curve of own retention.
        inference: the control by lag [K], NaN where it was not sampled, or None when skipped.
        inference_se: its standard error [K].

    Returns:
        Steps; 0 where it holds at no lag; None when the control was skipped, or there is no standard error to
        judge by.
    """
    if inference is None or inference_se is None or not own.judged:
        return None
    excess = excess_over_inference(own, inference, inference_se)
    sampled = (~inference.isnan() & (own.lags >= 1)).nonzero().flatten()
    reached = 0
    for index in sampled.tolist():
        if bool(inference_se[index].isnan()):
            return None
        if not bool(excess[index] > 0):
            break
        reached = int(own.lags[index])
    return reached
