"""Every indicator in words: its value, its unit, what it means and what it does not mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnmem.indicators import span as spans
from rnnmem.words import NONE, count, entropy, not_settled, number, plural, reached, tested_lags, with_error

if TYPE_CHECKING:
    from rnnmem.indicators.curve import Curve
    from rnnmem.report import MemoryReport

NO_LAG_0 = "lag 0 is not among the lags"
SENTENCES = {
    "memory horizon": (
        "steps",
        "The farthest tested lag up to which the state holds more of a token than the same network can infer "
        "from the newer tokens alone.",
        "It says neither how much is held there nor whether the model makes use of it.",
    ),
    "capacity": (
        "tokens",
        "Retention added up over all lags: how many tokens' worth of meaning the state holds in all.",
        "It is no number of tokens that can be read back whole: many faint traces add up like a few tokens.",
    ),
    "horizon": (
        "steps",
        "The last lag at which retention is above zero beyond chance.",
        "It is not the end of memory: what is left there may be inference from the newer tokens.",
    ),
    "half-life": (
        "steps",
        "How many steps it takes until half of what is held of the current token is gone.",
        "It does not see a long faint tail.",
    ),
    "span": (
        "steps",
        "The farthest sampled lag up to which at least half of the retention at lag 0 is left.",
        "It is no amount: a state that holds little of the current token can have a long span.",
    ),
    "density": (
        "",
        "Memory amount over the number n of lags asked for: 1 would be every one of them whole.",
        "It falls the more lags are asked for, so it compares only at the same n.",
    ),
    "relative distance": (
        "",
        "How far the recalled sequence lies from the expressed one in the semantic space of the last n "
        "tokens, over the spread of what was expressed: 0 is perfect recall, 1 none.",
        "It is not corrected for the cost of the fit, so its square is not 1 - density.",
    ),
    "bits": (
        "bits",
        "Information about a token that an affine reading of the state gives, as if all were Gaussian.",
        "It is no bound on what a nonlinear reading could find.",
    ),
    "bits a byte": (
        "bits/byte",
        "The same bits over the bytes of the measured state.",
        "It is about one lag only, and no measure of how well the bytes are used.",
    ),
    "hull coverage": (
        "",
        "How widely the recalled points of a token spread, over the spread of the expressed ones.",
        "It is no accuracy: recalled points can spread widely and lie at the wrong places.",
    ),
    "utilisation": (
        "",
        "The share of the state's directions that hold something of their own about some past token.",
        "It does not say that the others are idle: they may hold what no affine reading finds.",
    ),
    "effective rank": (
        "directions",
        "In how many directions the state moves, each counted by its share of the variance (participation "
        "ratio).",
        "A direction that hardly moves holds a token as well as any: little variance is not little memory.",
    ),
    "convergence length": (
        "steps",
        "After so many steps of the same inputs two different pasts are the same state, to 1 % of what "
        "unrelated states stand apart.",
        "It says when all is forgotten, not what is kept until then.",
    ),
    "forgetting rate": (
        "nats/step",
        "How fast what is left of a difference shrinks (below zero) or grows, once it has settled.",
        "It does not see how much of the difference is gone before it settles.",
    ),
    "largest exponent": (
        "nats/step",
        "How fast the slowest difference of two states shrinks (below zero) or grows under the same inputs "
        "(conditional Lyapunov exponent).",
        "It is of all layers together and of small differences; most of what is read may be gone far sooner.",
    ),
    "ESP index": (
        "",
        "What is left of the difference over the last quarter of the steps, on average over pairs.",
        "Zero is evidence for these inputs, no proof, that every past is forgotten (echo state property).",
    ),
    "reach": (
        "steps",
        "So many steps back 1 % or more is left of a gradient: as far as training can assign credit.",
        "It changes as the network learns: at initialisation it is no verdict on what can be learned.",
    ),
    "used span": (
        "tokens",
        "So many of the last tokens the model's own prediction profits from: more tokens improve it by less "
        "than .01 bit.",
        "It says nothing of what the state holds and the model makes no use of.",
    ),
    "training length": (
        "steps",
        "The advice on a window to train with: the first power of two from twice the used span on.",
        "It holds for a model that was trained at the longest window that can be afforded.",
    ),
    "suitable length": (
        "steps",
        "The shortest sequence in which 95 % of own capacity is reached: a longer one adds next to nothing "
        "that the last state keeps.",
        "It is no advice on how long a sequence the network needs to learn from.",
    ),
}


@dataclass(frozen=True)
class Row:
    """One indicator of one report, ready to print.

    Attributes:
        name: of the indicator.
        unit: of its values, or "".
        own: on own retention, or "" where there is no such thing.
        raw: on retention, or "".
        note: what qualifies the values, or why there is none; "" for nothing.
        means: one sentence.
        means_not: one sentence.
    """

    name: str
    unit: str
    own: str
    raw: str
    note: str
    means: str
    means_not: str


def row(name: str, own: str, raw: str, note: str) -> Row:
    """A row with the sentences of its indicator."""
    unit, means, means_not = SENTENCES[name]
    return Row(name, unit, own, raw, note, means, means_not)


def indicator_rows(report: MemoryReport) -> list[Row]:
    """Every indicator of a report with its value in words."""
    n, own, raw = int(report.lags[-1]) + 1, report.own, report.raw
    advice, tested = report.suitable_length(), tested_lags(report)
    settled = report.memory_horizon is not None and bool(tested)
    tests = f"tested at lags {', '.join(map(str, tested))}" if settled else not_settled(report)
    order = NO_LAG_0 if int(report.lags[0]) else f"n = {n}"
    at = min(1, len(report.lags) - 1)  # one step back if it is there: at lag 0 own and raw are the same
    where = f"at lag {int(report.lags[at])}"
    limit = "" if entropy(report) is None else f"; a token has {number(entropy(report), 2)} bits of entropy"
    unused = "defined only where every lag is sampled and the innovation order reaches the last"
    if report.settings.get("readout") == "features":
        unused = "not defined for a reading from random features"
    return [
        row("memory horizon", memory_horizon_text(report), "", tests),
        row("capacity", capacity_text(report, own=True), capacity_text(report), capacity_note(report)),
        row("horizon", horizon_text(own), horizon_text(raw), horizon_note(report)),
        row("half-life", half_life_text(own), half_life_text(raw), start_note(report)),
        row("span", span_text(own), span_text(raw), start_note(report)),
        row("density", number(report.density(n, own=True)), number(report.density(n)), order),
        row(
            "relative distance",
            number(report.relative_distance(n, own=True)),
            number(report.relative_distance(n)),
            order,
        ),
        row("bits", number(float(report.own_bits[at]), 2), number(float(report.bits[at]), 2), where + limit),
        row(
            "bits a byte",
            number(float(report.own_bits_per_byte[at]), 4),
            number(float(report.bits_per_byte[at]), 4),
            f"{where}; {report.state_bytes:,} bytes of state",
        ),
        row("hull coverage", "", number(float(report.hull_coverage[at])), where),
        row("utilisation", number(report.utilisation), "", "" if report.utilisation is not None else unused),
        *rank_rows(report),
        row("suitable length", NONE if advice.length is None else f"{advice.length:,}", "", advice.reason),
        *dynamics_rows(report),
    ]


def rank_rows(report: MemoryReport) -> list[Row]:
    """In how many directions the state moves; nothing where it was not measured, or features of it were."""
    settings = report.settings
    if settings.get("effective_rank") is None or settings.get("readout") == "features":
        return []
    note = f"of {count(settings.get('rank'))}, the rank of the state"
    return [row("effective rank", "", number(float(settings["effective_rank"]), 2), note)]


def dynamics_rows(report: MemoryReport) -> list[Row]:
    """What is forgotten, learnable and used, as far as it was measured."""
    rows = []
    if (forgotten := report.forgotten) is not None:
        last = int(forgotten.lags[-1])
        length = forgotten.convergence_length
        shown = f"more than {last:,}" if length is None else f"{length:,}"
        inputs = report.forgotten_inputs
        other = None if inputs is None else inputs.convergence_length
        told = f"pasts of other inputs: {NONE if other is None else f'{other:,}'}" if inputs else ""
        quarter = f"steps {last + 1 - max(1, (last + 1) // 4):,} to {last:,}"
        rows += [
            row("convergence length", "", shown, told),
            row("forgetting rate", "", number(forgotten.rate), ""),
            row("ESP index", "", f"{forgotten.esp_index:.2g}", quarter),
        ]
    if report.exponent is not None:
        rows.append(row("largest exponent", "", number(report.exponent), "conditional, of all layers"))
    if (learnable := report.learnable) is not None:
        rows.append(
            row(
                "reach",
                "",
                reached(learnable.reach(), int(learnable.lags[-1])),
                f"{learnable.samples} {SEEDED[learnable.kind]}",
            )
        )
    if (used := report.used) is not None:
        advice, span = report.suitable_length("training"), used.span()
        least = "at least " if advice.evidence.get("at_least") else ""
        rows += [
            row("used span", "", reached(span, int(used.lengths[-1])), f"{used.targets:,} targets"),
            row(
                "training length",
                "",
                NONE if advice.length is None else f"{least}{advice.length:,}",
                advice.reason,
            ),
        ]
    return rows


SEEDED = {"state": "random directions", "loss": "targets' losses"}


def memory_horizon_text(report: MemoryReport) -> str:
    """The memory horizon, "-" where it was not settled."""
    tested = tested_lags(report)
    return reached(report.memory_horizon, tested[-1]) if tested else NONE


def capacity_text(report: MemoryReport, own: bool = False) -> str:
    """Capacity with its standard error, "at least" where the last lag is still kept."""
    if own:
        value, error, more = report.own_capacity, report.own_capacity_se, report.own_capacity_at_least
    else:
        value, error, more = report.capacity, report.capacity_se, report.capacity_at_least
    return ("at least " if more else "") + with_error(value, error)


def capacity_note(report: MemoryReport) -> str:
    """Own capacity's ceiling, and why there is no capacity or no standard error."""
    if report.own_capacity is None:
        return NO_LAG_0
    ceiling = report.own_capacity_ceiling
    notes = [] if ceiling is None else [f"own capacity could be {number(ceiling, 2)} at most (its ceiling)"]
    if ceiling is not None and int(report.settings["innovation_order"]) < int(report.lags[-1]):
        notes[0] += ", unless tokens further apart than the innovation order predict each other"
    if not report.own.judged:
        notes.append(f"no standard error: {plural(report.blocks, 'block')}, 16 are needed")
    return "; ".join(notes)


def horizon_text(curve: Curve) -> str:
    """The last significant lag, "at least" where it is the last."""
    return reached(spans.horizon(curve), curve.last_measured)


def horizon_note(report: MemoryReport) -> str:
    """Why there is no horizon, where there is none."""
    if not report.own.judged:
        return f"{plural(report.blocks, 'block')} of data, 16 are needed"
    missing = [
        name for name, value in (("own", report.own_horizon), ("in all", report.horizon)) if value is None
    ]
    return f"{' and '.join(missing)}: no lag is significantly kept" if missing else ""


def half_life_text(curve: Curve) -> str:
    """The half-life, "more than" the last lag where it is not over by then."""
    value = spans.half_life(curve)
    if value is None and spans.starts(curve):
        return f"more than {curve.last_measured:,}"
    return number(value, 2)


def span_text(curve: Curve) -> str:
    """The span at one half, "at least" where it is the last lag."""
    return reached(spans.span(curve), curve.last_measured)


def start_note(report: MemoryReport) -> str:
    """Why there is no half-life or span, where there is none."""
    if int(report.lags[0]) != 0:
        return NO_LAG_0
    missing = [
        name for name, curve in (("own", report.own), ("in all", report.raw)) if not spans.starts(curve)
    ]
    return f"{' and '.join(missing)}: lag 0 is not significantly kept" if missing else ""
