"""Networks in order of one indicator: means over seeds, their intervals, and the places these leave open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import stdtrit

from rnnmem.errors import expected
from rnnmem.options import read_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnmem.comparison import Comparison
    from rnnmem.report import MemoryReport

FEWEST_SEEDS = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Rank:
    """One network in an order.

    Attributes:
        name: of the network.
        mean: of the indicator over seeds, in its unit.
        low: lower end of the mean's 95 % interval, by Student's t over seeds.
        high: its upper end.
        first: the best place that it can have: one after all networks that are told apart above it.
        last: the worst one. Two networks are told apart by Welch's test, 95 % over all pairs together.
        at_least: whether some seed's value is only known to be at least so much.
    """

    name: str
    mean: float
    low: float
    high: float
    first: int
    last: int
    at_least: bool


def rank(comparison: Comparison, indicator: str, state: str) -> list[Rank]:
    """The order of a comparison's networks; see `Comparison.ranking`."""
    read_choice("indicator", indicator, tuple(INDICATORS))
    measured = {name: by_state.get(state) for name, by_state in comparison.reports.items()}
    known = sorted({each for by_state in comparison.reports.values() for each in by_state})
    if not isinstance(state, str) or state not in known:
        raise expected("state", f"one of the states measured, {known}", repr(state))
    if comparison.match is None:
        raise expected("match", "networks compared at a declared match, to rank them", "None")
    values: dict[str, list[float]] = {}
    rounding: dict[str, float] = {}
    for name, seeds in measured.items():
        if seeds is None or len(seeds) < FEWEST_SEEDS:
            what = f"{len(seeds or [])} of {name!r}"
            raise expected("models", f"at least {FEWEST_SEEDS} seeds of each network, to rank them", what)
        found = [INDICATORS[indicator](report) for report in seeds]
        if any(value is None or not math.isfinite(value) for value in found):
            raise expected("indicator", "one that every seed has a value of", f"{indicator!r}: {found}")
        values[name] = [float(value) for value in found if value is not None]
        rounding[name] = mean_of([resolution(report, indicator) ** 2 / 12 for report in seeds]) / len(seeds)
    order = sorted(values, key=lambda name: -mean_of(values[name]))
    pairs = max(1, len(order) * (len(order) - 1) // 2)
    told = {
        (one, other): told_apart(
            values[one], values[other], 1 - (1 - LEVEL) / pairs, rounding[one], rounding[other]
        )
        for one in order
        for other in order
    }
    ranks = []
    for name in order:
        mean, half = mean_of(values[name]), half_width(values[name], rounding[name])
        above = [other for other in order if told[other, name] and mean_of(values[other]) > mean]
        below = [other for other in order if told[other, name] and mean_of(values[other]) < mean]
        least = any(at_least(report, indicator) for report in measured[name] or [])
        ranks.append(
            Rank(name, mean, mean - half, mean + half, len(above) + 1, len(order) - len(below), least)
        )
    return ranks


def used_span(report: MemoryReport) -> int | None:
    return None if report.used is None else report.used.span()


def reach(report: MemoryReport) -> int | None:
    return None if report.learnable is None else report.learnable.reach()


def convergence_length(report: MemoryReport) -> int | None:
    return None if report.forgotten is None else report.forgotten.convergence_length


INDICATORS: dict[str, Callable[[MemoryReport], float | None]] = {
    "own_capacity": lambda report: report.own_capacity,
    "capacity": lambda report: report.capacity,
    "memory_horizon": lambda report: report.memory_horizon,
    "own_half_life": lambda report: report.own_half_life,
    "convergence_length": convergence_length,
    "reach": reach,
    "used_span": used_span,
}


def at_least(report: MemoryReport, indicator: str) -> bool:
    """Whether a report's value goes on beyond what was measured."""
    last = int(report.lags[-1])
    return {
        "own_capacity": bool(report.own_capacity_at_least),
        "capacity": bool(report.capacity_at_least),
        "memory_horizon": report.memory_horizon == last,
        "reach": report.learnable is not None and reach(report) == last,
        "used_span": report.used is not None and used_span(report) == int(report.used.lengths[-1]),
    }.get(indicator, False)


def resolution(report: MemoryReport, indicator: str) -> float:
    """How far apart the values are that an indicator could have had near the one it has."""
    value = INDICATORS[indicator](report)
    if indicator == "memory_horizon":
        tested = report.settings.get("inference_lags") or report.lags.tolist()
        beyond = [lag for lag in tested if value is not None and lag > value]
        return float(min(beyond) - value) if beyond and value is not None else 1.0
    if indicator == "used_span" and report.used is not None and value is not None:
        shorter = report.used.lengths[report.used.lengths < value]
        return float(value - int(shorter[-1])) if len(shorter) else 1.0
    return 1.0 if indicator in ("convergence_length", "reach") else 0.0


def mean_of(values: list[float]) -> float:
    return sum(values) / len(values)


def variance_of_mean(values: list[float]) -> float:
    mean = mean_of(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def half_width(values: list[float], rounding: float = 0.0) -> float:
    """Of the mean's interval; `rounding` is the variance of the mean that comes from rounded values."""
    quantile = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    return quantile * math.sqrt(variance_of_mean(values) + rounding)


def told_apart(
    one: list[float], other: list[float], level: float, one_rounding: float = 0.0, other_rounding: float = 0.0
) -> bool:
    """Welch's test: whether the means differ beyond chance, and beyond what rounding the values may do."""
    parts = [variance_of_mean(one) + one_rounding, variance_of_mean(other) + other_rounding]
    gap, total = abs(mean_of(one) - mean_of(other)), sum(parts)
    if total == 0:
        return gap > 0
    freedom = total**2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (one, other), strict=True)
    )
    return gap > float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(total)
