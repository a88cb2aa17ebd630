"""What a report says in words: the headline, and each indicator's name, unit, value and meaning.

The definitions behind the words are in docs/definitions.md. "Keeps more" is never worded "is better".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnmem.indicators import span as spans

if TYPE_CHECKING:
    from rnnmem.compare import Comparison
    from rnnmem.indicators.curve import Curve
    from rnnmem.report import MemoryReport

NONE = "-"
UNIT_NAMES = {
    "rnn_tanh": "RNN",
    "rnn_relu": "RNN (ReLU)",
    "gru": "GRU",
    "lstm": "LSTM",
    "echo_tanh": "echo state network",
    "echo_identity": "linear echo state network",
}
BANDS = ("most frequent fifth", "second fifth", "middle fifth", "fourth fifth", "rarest fifth")
SOURCE = (
    "The definitions are this project's own reconstruction (docs/definitions.md) of the idea behind "
    '"Assessing the Memory Ability of Recurrent Neural Networks" (ECAI 2020), not that paper\'s formulas.'
)
RETENTION = (
    "Retention is the share of a token's meaning (of the variance of its semantic vector) that the best affine "
    "reading of the state gives back, on data that the reading was not fitted on: 1 is all of it, 0 nothing."
)
CONTROLS = {
    "retention": "what the state gives back of the token so many steps ago; the newer tokens may have told it",
    "own retention": "the same of that part of the token which an affine prediction from the newer tokens leaves over",
    "inference": "own retention of the same network when it has read the newer tokens only: no memory, all inference",
    "memoryless": "retention of a state that is just the current token",
    "window": "retention of a state that is just the last {order} tokens",
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
        "It is no number of tokens that can be read back whole: many faint traces add up like a few whole tokens.",
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
        "Memory amount over the number of lags asked for: 1 would be every one of them whole.",
        "It falls the more lags are asked for, so it compares only at the same number of lags.",
    ),
    "relative distance": (
        "",
        "How far the recalled sequence lies from the expressed one in the semantic space of all these lags, over "
        "the spread of what was expressed: 0 is perfect recall, 1 none.",
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
    "suitable length": (
        "steps",
        "The shortest sequence in which 95 % of own capacity is reached: a longer one adds next to nothing that "
        "the last state keeps.",
        "It is no advice on how long a sequence the network needs to learn from.",
    ),
}


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, "-" where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """A number and its standard error: `0.95 ± 0.01`; up to four decimals until the error shows."""
    if error is None or number(value) == NONE or number(error) == NONE:
        return number(value, digits)
    while digits < 4 and abs(error) < 0.95 * 10**-digits:
        digits += 1
    return f"{number(value, digits)} ± {number(error, digits)}"


def count(value: float | None) -> str:
    """A whole number with thousands set apart, "-" where there is none."""
    return NONE if value is None else f"{value:,}"


def plural(value: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def network_name(report: MemoryReport) -> str:
    """What to call the network: `GRU`, or what the user's class is called."""
    unit = str(report.model.get("unit") or report.model.get("name") or "network")
    return UNIT_NAMES.get(unit, unit)


def entropy(report: MemoryReport) -> float | None:
    """Bits a token of the fit rows, or None where the inputs are no tokens."""
    value = report.settings.get("entropy")
    return float(value) if value is not None else None


def noun(report: MemoryReport) -> str:
    """What the network reads: `token`, or `input` where inputs are vectors."""
    return "input" if entropy(report) is None else "token"


def tested_lags(report: MemoryReport) -> list[int]:
    """Lags from 1 on at which the inference control was sampled."""
    inference = report.controls["inference"]
    if inference is None:
        return []
    pairs = zip(report.lags.tolist(), inference.tolist(), strict=True)
    return [lag for lag, value in pairs if lag >= 1 and not math.isnan(value)]


def headline(report: MemoryReport) -> str:
    """The answer in one sentence: how far back there is memory that inference does not explain."""
    name, what, reach = network_name(report), noun(report), report.memory_horizon
    tested = tested_lags(report)
    if reach is None or not tested:
        return f"How far this {name} remembers was not settled: {not_settled(report)}."
    if reach == 0:
        return (
            f"This {name} shows no memory beyond inference: {plural(tested[0], 'step')} back its state does not "
            f"measurably hold more of a {what} than the newer {what}s can account for."
        ).replace("a input", "an input")
    about = "at least" if reach == tested[-1] else "about"
    return (
        f"This {name} remembers {about} {plural(reach, what)}: up to {plural(reach, 'step')} back its state holds "
        f"more of a {what} than the newer {what}s can account for."
    ).replace("a input", "an input")


def not_settled(report: MemoryReport) -> str:
    """Why there is no memory horizon."""
    if report.controls["inference"] is None:
        return "the inference control, which tells memory from inference, was not measured"
    if not tested_lags(report):
        return "no lag from 1 on was compared with the inference control"
    return f"{plural(report.blocks, 'block')} of data are too few for standard errors (16 are needed)"


def evidence(report: MemoryReport) -> list[str]:
    """Sentences that back the headline with numbers."""
    lines, what = [], noun(report)
    reach, tested = report.memory_horizon, tested_lags(report)
    if reach is not None and tested:
        decisive = [lag for lag in (reach, *(t for t in tested if t > reach)) if lag >= 1][:2]
        parts = [compared(report, lag) for lag in decisive]
        if reach == tested[-1]:
            parts.append("larger lags were not tested")
        elif reach and len(parts) == 2:
            parts[1] += ", no longer told apart"
        lines.append(f"{'; '.join(parts)}.")
    kept = report.own_capacity
    if kept is not None and math.isfinite(kept):
        least = "at least " if report.own_capacity_at_least else ""
        most = int(report.lags[-1])
        lines.append(
            f"Added up over lags 0 to {most}, it keeps {least}{number(kept, 2)} {what}s' worth that the newer "
            f"{what}s do not predict (own capacity)."
        )
    return lines


def compared(report: MemoryReport, lag: int) -> str:
    """`4 steps back: own retention 0.030 ± 0.001, by inference 0.011 ± 0.001`."""
    k = report.lags.tolist().index(lag)
    inference, error = report.controls["inference"], report.controls["inference_se"]
    assert inference is not None and error is not None
    own = with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4)
    other = with_error(float(inference[k]), float(error[k]), 4)
    return f"{plural(lag, 'step')} back: own retention {own}, inference {other}"


def beyond_inference(report: MemoryReport) -> list[bool | None]:
    """By lag: whether own retention exceeds the inference control; None where it was not tested."""
    inference, error = report.controls["inference"], report.controls["inference_se"]
    tested = set(tested_lags(report))
    if inference is None or error is None or not report.own.judged:
        return [None] * len(report.lags)
    margin = report.own.quantile * (report.own_retention_se.square() + error.square()).sqrt()
    exceeds = (report.own_retention > inference + margin).tolist()
    return [bool(x) if lag in tested else None for lag, x in zip(report.lags.tolist(), exceeds, strict=True)]


def shown_lags(lags: list[int], most: int) -> list[int]:
    """Indices of at most about `most` lags that stand for the grid: near powers of two, and the last."""
    if len(lags) <= most:
        return list(range(len(lags)))
    step = 1
    while True:
        targets = [0, *(2**i for i in range(0, lags[-1].bit_length() + 1, step)), lags[-1]]
        chosen = sorted({min(range(len(lags)), key=lambda k, t=t: abs(lags[k] - t)) for t in targets})  # type: ignore[misc]
        if len(chosen) <= most or step > 16:
            return chosen
        step += 1


def indicator_rows(report: MemoryReport) -> list[Row]:
    """Every indicator of a report with its value in words."""
    n, own, raw = int(report.lags[-1]) + 1, report.own, report.raw
    advice = report.suitable_length()
    at = min(1, len(report.lags) - 1)  # one step back, where own and raw differ
    where = f"at lag {int(report.lags[at])}"
    reach, tested = report.memory_horizon, tested_lags(report)
    known = reach is not None and bool(tested)
    no_zero = "" if int(report.lags[0]) == 0 else "lag 0 is not among the lags"
    unused = "only where every lag is sampled and the innovation order reaches the largest"
    limit = "" if entropy(report) is None else f"the tokens' entropy is {number(entropy(report), 2)} bits"
    return [
        row(
            "memory horizon",
            reached(reach, tested[-1] if tested else None) if known else NONE,
            "",
            "tested at lags " + ", ".join(map(str, tested)) if known else not_settled(report),
        ),
        row("capacity", capacity_text(report, True), capacity_text(report, False), capacity_note(report)),
        row(
            "horizon",
            horizon_text(own),
            horizon_text(raw),
            curve_note(report, (report.own_horizon, report.horizon)),
        ),
        row("half-life", half_life_text(own), half_life_text(raw), start_note(report)),
        row("span", span_text(own), span_text(raw), start_note(report)),
        row("density", number(report.density(n, own=True)), number(report.density(n)), no_zero or f"n = {n}"),
        row(
            "relative distance",
            number(report.relative_distance(n, own=True)),
            number(report.relative_distance(n)),
            no_zero or f"n = {n}",
        ),
        row(
            "bits",
            number(float(report.own_bits[at]), 2),
            number(float(report.bits[at]), 2),
            "; ".join(filter(None, (where, limit))),
        ),
        row(
            "bits a byte",
            number(float(report.own_bits_per_byte[at]), 4),
            number(float(report.bits_per_byte[at]), 4),
            f"{where}; {report.state_bytes:,} bytes",
        ),
        row("hull coverage", "", number(float(report.hull_coverage[at])), where),
        row("utilisation", number(report.utilisation), "", "" if report.utilisation is not None else unused),
        row("suitable length", NONE if advice.length is None else str(advice.length), "", advice.reason),
    ]


def row(name: str, own: str, raw: str, note: str) -> Row:
    unit, means, means_not = SENTENCES[name]
    return Row(name, unit, own, raw, note, means, means_not)


def reached(value: int | None, last: int | None) -> str:
    """A lag, "at least" where it is the last that was looked at."""
    if value is None:
        return NONE
    return f"at least {value:,}" if value == last and value > 0 else f"{value:,}"


def capacity_text(report: MemoryReport, own: bool) -> str:
    value, error, more = (
        (report.own_capacity, report.own_capacity_se, report.own_capacity_at_least)
        if own
        else (report.capacity, report.capacity_se, report.capacity_at_least)
    )
    return ("at least " if more else "") + with_error(value, error)


def capacity_note(report: MemoryReport) -> str:
    if report.own_capacity is None:
        return "lag 0 is not among the lags"
    ceiling = report.own_capacity_ceiling
    notes = [] if ceiling is None else [f"own at most {number(ceiling, 2)} (ceiling)"]
    if not report.own.judged:
        notes.append(f"no standard error: {plural(report.blocks, 'block')}, 16 are needed")
    return "; ".join(notes)


def horizon_text(curve: Curve) -> str:
    return reached(spans.horizon(curve), int(curve.lags[-1]))


def half_life_text(curve: Curve) -> str:
    value = spans.half_life(curve)
    if value is None and spans.starts(curve):
        return f"more than {int(curve.lags[-1]):,}"
    return number(value, 2)


def span_text(curve: Curve) -> str:
    return reached(spans.span(curve), int(curve.lags[-1]))


def curve_note(report: MemoryReport, values: tuple[int | None, int | None]) -> str:
    if None not in values:
        return ""
    if report.own.judged:
        return "no lag is significant" if values == (None, None) else "own: no lag is significant"
    return f"{plural(report.blocks, 'block')} of data, 16 are needed"


def start_note(report: MemoryReport) -> str:
    if int(report.lags[0]) != 0:
        return "lag 0 is not among the lags"
    missing = [name for name, curve in (("own", report.own), ("raw", report.raw)) if not spans.starts(curve)]
    return f"{' and '.join(missing)}: nothing is significantly kept at lag 0" if missing else ""


def measured_facts(report: MemoryReport) -> list[tuple[str, str]]:
    """What was measured and how, as pairs of name and value."""
    model, settings, rows = report.model, report.settings, report.rows
    layers = model.get("layers")
    depth = "" if layers is None else f", layer {int(model.get('layer', layers - 1)) + 1} of {layers}"
    sizes = [f"{label} {count(model[key])}" for key, label in (("input_size", "inputs"), ("hidden_size", "hidden units"))
             if model.get(key) is not None]  # fmt: skip
    used = {"features", "state", "split", "fit", "blocks", "entropy"}
    pairs = [
        ("network", f"{network_name(report)}{depth}" + "".join(f", {size}" for size in sizes)),
        ("parameters", count(model.get("parameters"))),
        (
            "state carried",
            f"{count(model.get('state_floats'))} floats, {count(model.get('state_bytes'))} bytes",
        ),
        ("state measured", f"{settings.get('state', 'output')}: {count(settings.get('features'))} floats"),
        ("operations a step", count(model.get("flops_per_step"))),
        ("rows", f"{count(rows.get('fit'))} to fit, {count(rows.get('measured'))} to measure"),
        ("split", f"by {settings.get('split', 'time')}, {settings.get('fit', NONE)} of it to fit"),
        ("error blocks", " ".join(filter(None, (str(report.blocks), str(settings.get("blocks") or ""))))),
        ("backend", f"{report.backend}, precision {report.precision}, {model.get('dtype', NONE)}"),
    ]
    if entropy(report) is not None:
        pairs.append(("entropy of the tokens", f"{number(entropy(report), 2)} bits"))
    pairs += [
        (key.replace("_", " "), plain_text(value)) for key, value in settings.items() if key not in used
    ]
    return pairs


def plain_text(value: Any) -> str:
    """A setting as text that stays short."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def control_text(name: str, report: MemoryReport) -> str:
    """What a curve or control of this name is."""
    return CONTROLS[name].format(order=report.settings.get("innovation_order", "few"))


def comparison_rows(comparison: Comparison, state: str) -> list[tuple[str, list[MemoryReport]]]:
    """Networks and their reports of one state, as they came."""
    return [(name, by_state[state]) for name, by_state in comparison.reports.items() if state in by_state]


def states(comparison: Comparison) -> list[str]:
    """The states that were measured, in order of appearance."""
    return list(dict.fromkeys(state for by_state in comparison.reports.values() for state in by_state))


def match_sentence(comparison: Comparison) -> str:
    """At what the networks are equal, and that nothing is ranked."""
    matched = {
        "parameters": "The networks are matched by number of parameters.",
        "state": "The networks are matched by size of the state they carry.",
    }
    seeds = min((len(r) for by_state in comparison.reports.values() for r in by_state.values()), default=0)
    text = matched.get(comparison.match or "", "No match declared: not ranked.")
    if comparison.match and seeds == 1:
        text += " One seed: not ranked."
    elif comparison.match and seeds < 3:
        text += f" {seeds} seeds, fewer than 3: not ranked."
    elif comparison.match:
        text += " Listed as given, not ranked."
    return f"{text} What keeps more does not thereby predict or perform any better."


def trained_text(comparison: Comparison, name: str) -> str:
    """Whether a network is trained, as far as was said."""
    value = comparison.trained.get(name)
    return "not said" if value is None else "trained" if value else "untrained"


def over_seeds(values: list[float | None], digits: int) -> str:
    """One number, or the mean of several with the lowest and the highest."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known or len(known) < len(values):
        return NONE if len(values) == 1 or not known else f"{NONE} ({len(known)} of {len(values)})"
    if len(known) == 1:
        return number(known[0], digits)
    low, high = (number(end, digits) for end in (min(known), max(known)))
    return f"{number(sum(known) / len(known), max(digits, 1))} ({low}–{high})"


COSTS = ("parameters", "state_floats", "state_bytes", "flops_per_step")
KEPT = ("memory_horizon", "own_capacity", "capacity", "own_half_life", "own_span")


def kept(reports: list[MemoryReport], name: str) -> str:
    """One indicator of a network: its value, or mean, lowest and highest over seeds."""
    if len(reports) == 1:
        return kept_once(reports[0], name)
    values = [report.span(own=True) if name == "own_span" else getattr(report, name) for report in reports]
    return over_seeds(values, 2 if name in ("own_capacity", "capacity", "own_half_life") else 0)


def kept_once(report: MemoryReport, name: str) -> str:
    if name == "memory_horizon":
        tested = tested_lags(report)
        return reached(report.memory_horizon, tested[-1]) if tested else NONE
    if name == "own_half_life":
        return half_life_text(report.own)
    return span_text(report.own) if name == "own_span" else capacity_text(report, name == "own_capacity")


def measured_floats(reports: list[MemoryReport]) -> str:
    """How many floats of state were measured."""
    return count(reports[0].settings.get("features"))


def at_lag(reports: list[MemoryReport], lag: int) -> str:
    """Own retention at one lag, the mean over seeds."""
    found = [float(r.own_retention[r.lags.tolist().index(lag)]) for r in reports if lag in r.lags.tolist()]
    return number(sum(found) / len(found)) if found else NONE
