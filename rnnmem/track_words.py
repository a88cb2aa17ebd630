"""What a tracker says in words: headline, evidence, the curve as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rnnmem import words
from rnnmem.text_report import columns, fill, warning_lines
from rnnmem.words import NONE, count, number, plural, with_error

if TYPE_CHECKING:
    from rnnmem.track import Tracker
    from rnnmem.track_state import Number

NO_MEMORY = "shows no memory beyond inference"
SHOWN = 16  # measurements in a table
STEPS_BACK = {
    "memory_horizon": "memory horizon",
    "reach": "reach",
    "convergence_length": "convergence length",
    "used_span": "used span",
}
HEADS = {
    "step": "training step",
    "seconds": "seconds",
    "own_capacity": "own capacity, tokens",
    "capacity": "capacity, tokens",
    "memory_horizon": "memory horizon, steps",
    "reach": "gradient reaches, steps",
    "convergence_length": "forgotten after, steps",
    "used_span": "used span, tokens",
    "cost": "cost, seconds",
}
BRIEF = tuple(name for name in HEADS if name not in ("capacity", "cost"))  # what a terminal has room for


def track_text(tracker: Tracker) -> str:
    """The answer in words, the curve, every warning."""
    head, rows = table(tracker, SHOWN, BRIEF)
    latest = [f"latest measurement: {line}" for line in tracker.report.warnings]
    parts = [fill(headline(tracker)), *map(fill, evidence(tracker)), "", *columns(head, rows)]
    if (note := thinned_note(tracker, SHOWN)) is not None:
        parts.append(fill(note))
    return "\n".join([*parts, *warning_lines([*tracker.warnings, *latest])])


def headline(tracker: Tracker) -> str:
    """How far back the network remembers at the latest measurement, and at the first."""
    report, found = tracker.report, entries(tracker, "memory_horizon")
    if not found:
        return words.headline(report)
    first, last = step_of(tracker, found[0]), step_of(tracker, found[-1])
    before, now = (int(tracker.curve["memory_horizon"][k] or 0) for k in (found[0], found[-1]))
    what, text = words.noun(report)[1], f"{capital(moment(last))} this {words.network_name(report)}"
    shown = f"remembers {about(tracker, now)} {plural(now, what)}" if now else NO_MEMORY
    text += f" {shown}"
    if last == first:
        return f"{text}."
    if now == before:
        return f"{text}, as {moment(first)}."
    earlier = f"it remembered {about(tracker, before)} {count(before)}" if before else "it showed none"
    return f"{text}; {moment(first)} {earlier}."


def evidence(tracker: Tracker) -> list[str]:
    """How much is kept, then and now, and what measuring took."""
    found, what = entries(tracker, "own_capacity"), f"{words.noun(tracker.report)[1]}s"
    ends = found[:1] + found[1:][-1:]
    told = ", ".join(f"{cell(tracker, 'own_capacity', k)} {moment(step_of(tracker, k))}" for k in ends)
    told = told.replace("≥", "at least")
    kept = f"Own capacity, in {what} that the newer {what} do not predict: {told}."
    return [*([kept] if told else []), cost_sentence(tracker)]


def cost_sentence(tracker: Tracker) -> str:
    """What measuring took: `8 measurements took 4.1 s, 3.9% of 105 s of training`."""
    seconds = tracker.seconds
    share = f", {tracker.spent / seconds:.1%} of {seconds:,.0f} s of training" if seconds >= 1 else ""
    return f"{plural(len(tracker.curve['step']), 'measurement')} took {number(tracker.spent, 1)} s{share}."


def table(tracker: Tracker, most: int, chosen: Iterable[str] = HEADS) -> tuple[list[str], list[list[str]]]:
    """The curve as a table of text: head, and a row for each of at most so many measurements."""
    names = [name for name in chosen if name in tracker.curve]
    shown = thinned(len(tracker.curve["step"]), most)
    return [HEADS[name] for name in names], [[cell(tracker, name, k) for name in names] for k in shown]


def cell(tracker: Tracker, name: str, entry: int) -> str:
    """One value of the curve as text."""
    curve = tracker.curve
    value = curve[name][entry]
    if value is None:
        return NONE
    if name in ("own_capacity", "capacity"):
        least = "≥ " if curve[f"{name}_at_least"][entry] else ""
        return least + with_error(value, curve[f"{name}_se"][entry])
    if name in STEPS_BACK:
        return f"{'≥ ' if name != 'convergence_length' and at_end(tracker, value) else ''}{count(value)}"
    return count(value) if name == "step" else number(value, 2 if name == "cost" else 1)


def entries(tracker: Tracker, name: str) -> list[int]:
    """Which entries of the curve have a value of this name."""
    return [k for k, value in enumerate(tracker.curve[name]) if value is not None]


def step_of(tracker: Tracker, entry: int) -> int:
    """After how many training steps an entry was measured."""
    return int(tracker.curve["step"][entry] or 0)


def at_end(tracker: Tracker, value: Number) -> bool:
    """Whether it is the largest lag that was looked at, so that the truth may lie beyond."""
    return value == int(tracker.report.lags[-1]) and value != 0


def about(tracker: Tracker, value: int) -> str:
    return "at least" if at_end(tracker, value) else "about"


def moment(step: int) -> str:
    """`before training`, `after 1,200 training steps`."""
    return f"after {plural(step, 'training step')}" if step else "before training"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def thinned(total: int, most: int) -> list[int]:
    """At most so many of 0 ... total - 1, evenly spread, the first and the last among them."""
    if total <= most:
        return list(range(total))
    return [round(place * (total - 1) / (most - 1)) for place in range(most)]


def thinned_note(tracker: Tracker, most: int) -> str | None:
    """Says that not every measurement is shown."""
    total = len(tracker.curve["step"])
    return f"{most} of {total:,} measurements are shown; tracker.curve has all." if total > most else None
