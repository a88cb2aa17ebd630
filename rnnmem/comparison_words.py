"""What a comparison says in words: at what the networks are equal, what each costs, what each keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rnnmem.errors import RnnMemError
from rnnmem.indicator_words import (
    capacity_text,
    half_life_text,
    indicator_rows,
    memory_horizon_text,
    span_text,
)
from rnnmem.ranking import FEWEST_SEEDS
from rnnmem.words import NONE, count, network_name, number, shown_lags

if TYPE_CHECKING:
    from rnnmem.comparison import Comparison
    from rnnmem.ranking import Rank
    from rnnmem.report import MemoryReport

MATCHES = {
    "parameters": "The networks are matched by number of parameters (to 5 %).",
    "state": "The networks are matched by size of the state they carry (to 5 %).",
}
COSTS = ("parameters", "state_floats", "state_bytes", "flops_per_step")
COST_HEAD = ("network", "unit", "trained", "parameters", "state floats", "state bytes", "operations a step")
KEPT_HEAD = (
    "network",
    "memory horizon, steps",
    "own capacity, tokens",
    "capacity, tokens",
    "own half-life, steps",
    "own span, steps",
    "floats measured",
)
DYNAMICS_HEAD = (
    "network",
    "forgotten after, steps",
    "forgetting rate, nats a step",
    "gradient reaches, steps",
    "used span, tokens",
    "train with, steps",
)
DYNAMICS_EXPLAINED = (
    "Forgotten after: steps of the same inputs until two different pasts are the same state, to 1 %. "
    "Forgetting rate: how fast what is left of a difference shrinks. A gradient reaches back as many steps "
    "as 1 % or more of it is left. Used span: how many of the last tokens a network's own prediction profits "
    "from, to .01 bit. Train with: an advice that needs the window the networks were trained at "
    "(trained_window)."
)
EXPLAINED = (
    "Own retention counts only what the newer tokens do not predict. Memory horizon: steps back to which own "
    "retention is above what the same network infers from the newer tokens alone. Capacity: retention added "
    "up over all lags, in tokens' worth, ± one standard error; own capacity likewise. Own half-life and own "
    "span, in steps: until half of the retention at lag 0 is gone, and up to where at least half is left. "
    "Operations are of floating point."
)


def states(comparison: Comparison) -> list[str]:
    """The states that were measured, in order of appearance."""
    return list(dict.fromkeys(state for by_state in comparison.reports.values() for state in by_state))


def members(comparison: Comparison, state: str) -> list[tuple[str, list[MemoryReport]]]:
    """Networks and their reports of one state, as they were given."""
    return [(name, by_state[state]) for name, by_state in comparison.reports.items() if state in by_state]


def match_sentence(comparison: Comparison) -> str:
    """At what the networks are equal, and whether they are ranked."""
    seeds = min((len(r) for by_state in comparison.reports.values() for r in by_state.values()), default=0)
    if comparison.match is None:
        text = "No match declared: not ranked."
    elif seeds == 1:
        text = f"{MATCHES[comparison.match]} One seed: not ranked."
    elif seeds < FEWEST_SEEDS:
        text = f"{MATCHES[comparison.match]} {seeds} seeds, fewer than 3: not ranked."
    else:
        text = f"{MATCHES[comparison.match]} {seeds} seeds each, listed as given."
    return f"{text} What keeps more does not thereby predict or perform any better."


def horizon_sentence(comparison: Comparison, state: str) -> str:
    """`Memory horizon in the output state: RNN 8 steps, GRU 4, LSTM 12.`, in the order given."""
    parts = [f"{name} {kept(reports, 'memory_horizon')}" for name, reports in members(comparison, state)]
    return f"Memory horizon in the {state} state, in steps: {', '.join(parts)}."


RANK_HEAD = ("network", "place", "mean over seeds", "95 % interval")
RANKED = {"own_capacity": "own capacity, in tokens", "memory_horizon": "memory horizon, in steps"}
RANKED_NOTE = (
    "Keeping more is not being better. A place is a range where Welch's test, at 95 % over all pairs "
    "together, does not tell networks apart; the interval is the mean's, by Student's t over seeds, and "
    "counts that steps are whole and not every lag is tested."
)


def rankings(comparison: Comparison, state: str) -> list[tuple[str, list[list[str]]]]:
    """Tables by `RANK_HEAD` of the networks in order, each with its indicator's name; none if not ranked."""
    found = []
    for indicator, name in RANKED.items():
        try:
            order = comparison.ranking(indicator, state)
        except RnnMemError:
            continue
        found.append((f"By {name} ({state} state)", [rank_row(rank) for rank in order]))
    return found


def rank_row(rank: Rank) -> list[str]:
    """One network's place, mean and interval."""
    place = str(rank.first) if rank.first == rank.last else f"{rank.first} to {rank.last}"
    least = "at least " if rank.at_least else ""
    return [
        rank.name,
        place,
        least + number(rank.mean, 2),
        "cut off by the lags" if rank.at_least else f"{number(rank.low, 2)} to {number(rank.high, 2)}",
    ]


def warnings(comparison: Comparison) -> list[str]:
    """The comparison's own warnings, then each report's, once, with the names of those it is about."""
    about: dict[str, list[str]] = {}
    for name, by_state in comparison.reports.items():
        for state, reports in by_state.items():
            for line in dict.fromkeys(line for report in reports for line in report.warnings):
                about.setdefault(line, []).append(f"{name} ({state})")
    return [*comparison.warnings, *(f"{', '.join(names)}: {line}" for line, names in about.items())]


def trained_text(comparison: Comparison, name: str) -> str:
    """Whether a network is trained, as far as was said."""
    value = comparison.trained.get(name)
    return "not said" if value is None else "trained" if value else "untrained"


def cost_rows(comparison: Comparison) -> list[list[str]]:
    """What each network is and costs, in the order of `COST_HEAD`."""
    rows = []
    for name, by_state in comparison.reports.items():
        report = next(iter(by_state.values()))[0]
        sizes = [count(report.model.get(key)) for key in COSTS]
        rows.append([name, network_name(report), trained_text(comparison, name), *sizes])
    return rows


def kept_rows(comparison: Comparison, state: str) -> list[list[str]]:
    """The indicators of each network in one state, in the order of `KEPT_HEAD`."""
    return [
        [name, *(kept(reports, key) for key in KEPT), count(reports[0].settings.get("features"))]
        for name, reports in members(comparison, state)
    ]


KEPT = ("memory_horizon", "own_capacity", "capacity", "own_half_life", "own_span")


def dynamics_rows(comparison: Comparison, state: str) -> list[list[str]]:
    """What each network forgets, can learn and uses, by `DYNAMICS_HEAD`; [] where not measured."""
    found = members(comparison, state)
    every = [report for _, reports in found for report in reports]
    if all(r.forgotten is None and r.learnable is None and r.used is None for r in every):
        return []
    names = ("convergence length", "forgetting rate", "reach", "used span", "training length")
    rows = []
    for name, reports in found:
        tables = [{row.name: row.raw for row in indicator_rows(report)} for report in reports]
        rows.append([name, *(joined([table.get(key, NONE) for table in tables]) for key in names)])
    return rows


def joined(texts: list[str]) -> str:
    """One value, or those of all seeds."""
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def lag_rows(comparison: Comparison, state: str, most: int) -> tuple[list[int], list[list[str]]]:
    """At most so many lags, and each network's own retention there (a mean over seeds)."""
    found = members(comparison, state)
    lags = found[0][1][0].lags.tolist()
    shown = [lags[k] for k in shown_lags(lags, most)]
    return shown, [[name, *(own_retention(reports, lag) for lag in shown)] for name, reports in found]


def own_retention(reports: list[MemoryReport], lag: int) -> str:
    """Own retention at one lag, a mean over seeds."""
    found = [float(r.own_retention[r.lags.tolist().index(lag)]) for r in reports if lag in r.lags.tolist()]
    return number(sum(found) / len(found)) if found else NONE


def kept(reports: list[MemoryReport], key: str) -> str:
    """One indicator of a network: its value, or the mean, lowest and highest over seeds."""
    texts = [kept_once(report, key) for report in reports]
    if len(texts) == 1:
        return texts[0]
    values = [report.span(own=True) if key == "own_span" else getattr(report, key) for report in reports]
    least = "at least " if any(text.startswith("at least") for text in texts) else ""
    return least + over_seeds(values, 2 if key in ("own_capacity", "capacity", "own_half_life") else 0)


def kept_once(report: MemoryReport, key: str) -> str:
    """One indicator of one report."""
    if key == "memory_horizon":
        return memory_horizon_text(report)
    if key == "own_half_life":
        return half_life_text(report.own)
    return span_text(report.own) if key == "own_span" else capacity_text(report, own=key == "own_capacity")


def over_seeds(values: list[float | None], digits: int) -> str:
    """`mean (lowest-highest)`; "-" where a seed has no value."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values):
        return f"{NONE} ({len(known)} of {len(values)} seeds)"
    low, high = number(min(known), digits), number(max(known), digits)
    return f"{number(sum(known) / len(known), max(digits, 1))} ({low}-{high})" if low != high else low
