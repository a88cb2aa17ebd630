"""Which sequence length to train with, and on what evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnmem.indicators.curve import Curve
from rnnmem.indicators.memory_amount import capacity, capacity_at_least, last_lag, memory_amount

SHARE = 0.95


@dataclass(frozen=True)
class SuitableLength:
    """An advice on sequence length.

    Attributes:
        length: steps, or None where evidence lacks.
        low: the lower end of what would do, in steps, or None.
        evidence: the numbers it rests on.
        reason: one sentence in words.
    """

    length: int | None
    low: int | None
    evidence: dict[str, float | None]
    reason: str


def suitable_length_memory(own: Curve) -> SuitableLength:
    """Smallest n with own M(n) >= 95 % of own capacity: more adds nothing that the state keeps."""
    total, more = capacity(own), capacity_at_least(own)
    evidence = {"own_capacity": total, "share": SHARE, "max_lag": float(own.lags[-1])}
    if total is None:
        return SuitableLength(None, None, evidence, "lag 0 is not among the lags, so capacity is undefined")
    if more is None:
        return SuitableLength(None, None, evidence, "fewer than 16 blocks: measure a longer sequence")
    if total <= 0:
        return SuitableLength(None, None, evidence, "no lag is significantly kept")
    if more:
        return SuitableLength(None, None, evidence, "the last lag is still kept: measure with larger lags")
    last = last_lag(own)
    assert last is not None
    grid = own.lags <= last
    steps = np.arange(last + 1)
    kept = np.interp(steps, own.lags[grid].numpy(), own.retention[grid].numpy())
    n = int(np.argmax(kept.cumsum() >= SHARE * total)) + 1
    reason = f"the last {n} tokens hold {SHARE:.0%} of all {total:.2f} tokens' worth the state keeps"
    return SuitableLength(n, None, {**evidence, "amount": memory_amount(own, n)}, reason)
