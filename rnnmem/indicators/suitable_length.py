"""Which sequence length to train with, and on what evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnmem.indicators.curve import Curve
from rnnmem.indicators.memory_amount import capacity, capacity_at_least, last_lag, memory_amount

if TYPE_CHECKING:
    from rnnmem.context import Used
    from rnnmem.learning import Learnable

SHARE = 0.95
FACTOR = 2  # tried in docs/suitable_length.md: a window of n gives n - u + 1 targets their full context


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
        return SuitableLength(
            None, None, evidence, "lag 0 is not among the lags, or was not measured: capacity is undefined"
        )
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


def suitable_length_training(
    used: Used | None, learnable: Learnable | None, trained_window: int | None
) -> SuitableLength:
    """Smallest power of two that is at least twice the context that the trained model uses.

    Args:
        used: what context it uses.
        learnable: how far back its gradient reaches: shown as evidence, never a verdict.
        trained_window: the window that it was trained at until its validation loss had settled.
    """
    evidence: dict[str, float | None] = {
        "used_span": None,
        "trained_window": trained_window,
        "reach": None if learnable is None else learnable.reach(),
        "factor": FACTOR,
    }
    if used is None:
        return SuitableLength(None, None, evidence, "needs head=, to see what context the model uses")
    u, longest = used.span(), int(used.lengths[-1])
    evidence |= {"used_span": u, "longest_context": longest}
    if u is None:
        return SuitableLength(None, None, evidence, "fewer than 16 blocks of targets: use a longer sequence")
    tokens = f"{u} token{'s' * (u != 1)}"
    if trained_window is None:
        reason = (
            f"the model uses {tokens}; say with trained_window= at which window it was trained until "
            "its validation loss had settled"
        )
        return SuitableLength(None, None, evidence, reason)
    if u == longest < trained_window:
        reason = (
            f"it uses {tokens} or more: measure with lags of {trained_window - 1} or more, on longer streams"
        )
        return SuitableLength(None, None, evidence, reason)
    if FACTOR * u > trained_window:
        reason = (
            f"the model uses {tokens}, and twice that is more than the window of {trained_window} that it "
            "was trained at"
        )
        return SuitableLength(trained_window, u, {**evidence, "at_least": 1.0}, reason)
    length = 1 << (FACTOR * u - 1).bit_length()
    reason = f"the model uses {tokens}, and {length} is the first power of two from twice that on"
    if length == trained_window:
        reason += ": the window that it was trained at; a longer one is not expected to add to it"
    if length > trained_window:
        length = trained_window
        reason = (
            f"the model uses {tokens}, and twice that needs the window of {length} that it was trained at"
        )
    return SuitableLength(length, u, {**evidence, "at_least": 0.0}, reason)
