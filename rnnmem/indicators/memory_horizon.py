"""The headline: how far back there is memory that the newer tokens cannot account for."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.indicators.curve import Curve


def memory_horizon(own: Curve, inference: Tensor | None, inference_se: Tensor | None) -> int | None:
    """Last sampled lag up to which own retention exceeds the inference control at each one from 1 on.

    Exceeds: own > inference + q sqrt(se^2 + se_inf^2).

    Args:
        own: the curve of own retention.
        inference: the control by lag [K], NaN where it was not sampled, or None when skipped.
        inference_se: its standard error [K].

    Returns:
        Steps; 0 where it holds at no lag; None when the control was skipped or nothing can be judged.
    """
    if inference is None or inference_se is None or not own.judged:
        return None
    margin = own.quantile * (own.se.square() + inference_se.square()).sqrt()
    exceeds = own.retention > inference + margin
    sampled = (~inference.isnan() & (own.lags >= 1)).nonzero().flatten()
    reached = 0
    for index in sampled.tolist():
        if not bool(exceeds[index]):
            break
        reached = int(own.lags[index])
    return reached


def no_control(lags: Tensor) -> Tensor:
    """A control that was sampled nowhere [K]."""
    return torch.full((len(lags),), float("nan"), dtype=torch.float64)
