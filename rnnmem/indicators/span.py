"""How far back retention reaches: span, half-life and horizon."""

from __future__ import annotations

from rnnmem.indicators.curve import Curve


def starts(curve: Curve) -> bool:
    """Whether lag 0 is in the grid and significantly kept (merely positive without standard errors)."""
    if int(curve.lags[0]) != 0:
        return False
    return bool(curve.significant[0]) if curve.judged else bool(curve.retention[0] > 0)


def span(curve: Curve, theta: float = 0.5) -> int | None:
    """Largest sampled lag in steps with retention >= theta * retention at lag 0 at every lag up to it."""
    if not starts(curve):
        return None
    below = (~(curve.retention >= theta * curve.retention[0])).nonzero()
    if not len(below):
        return curve.last_measured
    first = int(below[0, 0])
    return int(curve.lags[first - 1]) if first else None


def half_life(curve: Curve) -> float | None:
    """First lag in steps at which retention crosses half of that at lag 0, linearly interpolated."""
    if not starts(curve):
        return None
    half = 0.5 * curve.retention[0]
    # A lag without a retention ends the search: what lies beyond it is not known to be the first.
    below = (~(curve.retention >= half)).nonzero()
    if not len(below) or bool(curve.retention[below[0, 0]].isnan()):
        return None
    k = int(below[0, 0])
    before, after = curve.retention[k - 1], curve.retention[k]
    share = (before - half) / (before - after)
    return float(curve.lags[k - 1] + share * (curve.lags[k] - curve.lags[k - 1]))


def horizon(curve: Curve) -> int | None:
    """Last significant lag in steps; None where no lag is significant or none can be judged."""
    significant = curve.significant.nonzero()
    return int(curve.lags[int(significant[-1, 0])]) if len(significant) else None
