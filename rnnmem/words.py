"""What a report says in words: headline and evidence, curves, how it was measured; and how numbers look.

The definitions behind the words are in docs/definitions.md. "Keeps more" is never worded "is better".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rnnmem.features import COUNT
from rnnmem.indicators.memory_horizon import excess_over_inference

if TYPE_CHECKING:
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
    "Retention is the share of a token's meaning (of the variance of its semantic vector) that the best "
    "affine reading of the state gives back, on data that the reading was not fitted on: 1 is all of it, 0 "
    "nothing."
)
CONTROLS = {
    "retention": "what the state gives back of the token so many steps ago; newer tokens may have told it",
    "own retention": "the same, of what an affine prediction from the newer tokens leaves over of that token",
    "inference": "own retention of the same network after the newer tokens only: no memory, all inference",
    "memoryless": "retention of a state that is just the current token",
    "window": "retention of a state that is just {window}",
    "linear": "own retention when the same state is read by an affine map alone; what the curve above it has "
    "more, the state holds in a folded form",
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
    while digits < 4 and 0 < error < 0.95 * 10**-digits:
        digits += 1
    return f"{number(value, digits)} ± {number(error, digits)}"


def count(value: float | None) -> str:
    """A whole number with thousands set apart, "-" where there is none."""
    return NONE if value is None else f"{value:,}"


def plural(value: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def reached(value: int | None, last: int) -> str:
    """A lag, "at least" where it is the last that was looked at."""
    if value is None:
        return NONE
    return f"at least {value:,}" if value == last and value > 0 else f"{value:,}"


def network_name(report: MemoryReport) -> str:
    """What to call the network: `GRU`, or what the user's class is called."""
    unit = str(report.model.get("unit") or report.model.get("name") or "network")
    return UNIT_NAMES.get(unit, unit)


def entropy(report: MemoryReport) -> float | None:
    """Bits a token of the fit rows, or None where the inputs are no tokens."""
    value = report.settings.get("entropy")
    return None if value is None else float(value)


def noun(report: MemoryReport) -> tuple[str, str]:
    """What the network reads, with its article: a token, or an input where inputs are vectors."""
    return ("an", "input") if entropy(report) is None else ("a", "token")


def retention_sentence(report: MemoryReport) -> str:
    """What retention is, and what counts as a token here."""
    told = [RETENTION]
    if report.settings.get("readout") == "features":
        told.append(f"The reading is of the state and {COUNT} random features of it.")
    if noun(report)[1] != "token":
        told.append("A token is one step of the input here.")
    return " ".join(told)


def control_text(name: str, report: MemoryReport) -> str:
    """What a curve or control of this name is."""
    if name == "own retention" and report.settings.get("innovation_order") == 0:
        return "the same as retention here: nothing was predicted from newer tokens (innovation order 0)"
    return CONTROLS[name].format(window=window_text(report))


def split_text(settings: dict[str, Any]) -> str:
    """Which part fitted the recall maps."""
    if settings.get("fit") == 1.0:
        return "maps fitted beforehand, all that was given measured"
    return f"by {settings.get('split', 'time')}, {settings.get('fit', NONE)} of it to fit"


def window_text(report: MemoryReport) -> str:
    """`the last 8 tokens`."""
    window = report.settings.get("window")
    if window is None:
        return "the last few tokens"
    return f"the last {window} tokens" if window > 1 else "the last token"


def tested_lags(report: MemoryReport) -> list[int]:
    """Lags from 1 on at which the inference control was sampled."""
    inference, sampled = report.controls["inference"], report.settings.get("inference_lags")
    if inference is None:
        return []
    if sampled is not None:
        return [lag for lag in sampled if lag >= 1]
    pairs = zip(report.lags.tolist(), inference.tolist(), strict=True)
    return [lag for lag, value in pairs if lag >= 1 and not math.isnan(value)]


def beyond_inference(report: MemoryReport) -> list[bool | None]:
    """By lag: whether own retention exceeds the inference control; None where that was not measured."""
    inference, error = report.controls["inference"], report.controls["inference_se"]
    tested = set(tested_lags(report))
    if inference is None or error is None or not report.own.judged:
        return [None] * len(report.lags)
    excess = excess_over_inference(report.own, inference, error).tolist()
    pairs = zip(report.lags.tolist(), excess, strict=True)
    return [above > 0 if lag in tested and not math.isnan(above) else None for lag, above in pairs]


def headline(report: MemoryReport) -> str:
    """The answer in one sentence: how far back there is memory that inference does not explain."""
    name, (article, what), reach = network_name(report), noun(report), report.memory_horizon
    tested = tested_lags(report)
    if reach is None or not tested:
        return f"How far back this {name} remembers was not settled: {not_settled(report)}."
    if reach == 0:
        return (
            f"This {name} shows no memory beyond inference: {plural(tested[0], 'step')} back its state does "
            f"not measurably hold more of {article} {what} than the newer {what}s can account for."
        )
    ends = first_beyond(report) is not None
    about = "about" if ends else "at least"
    return (
        f"This {name} remembers {about} {plural(reach, what)}: up to {plural(reach, 'step')} back its state "
        f"holds more of {article} {what} than the newer {what}s can account for."
    )


def first_beyond(report: MemoryReport) -> int | None:
    """The first tested lag beyond the horizon, if own retention was seen not to exceed the control there."""
    pairs = zip(report.lags.tolist(), beyond_inference(report), strict=True)
    reach = report.memory_horizon or 0
    later = ((lag, above) for lag, above in pairs if lag > reach and lag in tested_lags(report))
    lag, above = next(later, (None, None))
    return lag if above is False else None


def not_settled(report: MemoryReport) -> str:
    """Why there is no memory horizon."""
    if report.controls["inference"] is None:
        return "the inference control, which tells memory from inference, was not measured (assess does)"
    if not tested_lags(report):
        return "no lag from 1 on was compared with the inference control"
    if report.own.judged:
        return "the inference control could not be measured (see the warnings)"
    few = f"{plural(report.blocks, 'block')} of data are too few for standard errors (16 are needed)"
    return f"{few}; use a longer sequence, more streams or smaller lags"


def evidence(report: MemoryReport) -> list[str]:
    """Sentences that back the headline with numbers."""
    lines, what = [], noun(report)[1]
    reach, tested = report.memory_horizon, tested_lags(report)
    if reach is not None and tested:
        beyond = [lag for lag in tested if lag > reach][:1]
        parts = [compared(report, lag) for lag in ([reach] if reach else []) + beyond]
        if first_beyond(report) is not None:
            parts[-1] += ", no longer told apart" if reach else ", not told apart"
        if not beyond:
            parts.append("larger lags were not tested")
        elif any(reach < lag < beyond[0] for lag in report.lags.tolist() if lag >= 1):
            parts[-1] += " (lags between them were not tested)"
        lines.append(f"{'; '.join(parts)}.")
    kept = report.own_capacity
    if kept is not None and math.isfinite(kept):
        least = "at least " if report.own_capacity_at_least else ""
        lines.append(
            f"Added up over lags 0 to {report.own.last_measured}, it keeps {least}{number(kept, 2)} {what}s' "
            f"worth that the newer {what}s do not predict (own capacity)."
        )
    return [*lines, folded(report)] if report.controls["linear_own"] is not None else lines


def folded(report: MemoryReport) -> str:
    """What a reading from random features finds beyond a linear one, where it finds most more."""
    linear, error = report.controls["linear_own"], report.controls["linear_own_se"]
    if linear is None or error is None:
        return ""
    if not report.own.judged:
        return "Whether a linear reading of the state finds less cannot be told without standard errors."
    more = (report.own_retention - linear).nan_to_num(-math.inf)
    chance = report.own.quantile * (error.square() + report.own_retention_se.square()).sqrt().nan_to_num(0.0)
    k = int((more - chance).argmax())
    if more[k] <= chance[k]:
        return "A linear reading of the state finds as much: nothing measurable is held in a folded form."
    ago = "now" if int(report.lags[k]) == 0 else f"{plural(int(report.lags[k]), 'step')} back"
    found = f"{number(float(linear[k]))} of the {noun(report)[1]} {ago}"
    return (
        f"A linear reading of the state finds less: {found}, against "
        f"{number(float(report.own_retention[k]))} with random features of it (own retention). What lies "
        "between is there, in a folded form that a linear head could not use."
    )


def compared(report: MemoryReport, lag: int) -> str:
    """`4 steps back: own retention 0.0300 ± 0.0010, inference 0.0110 ± 0.0010`."""
    k = report.lags.tolist().index(lag)
    if beyond_inference(report)[k] is None:
        return f"{plural(lag, 'step')} back: not measured"
    own = with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4)
    inference = with_error(control(report, "inference", k), control(report, "inference_se", k), 4)
    return f"{plural(lag, 'step')} back: own retention {own}, inference {inference}"


def control(report: MemoryReport, name: str, k: int) -> float | None:
    """A control's value at the k-th lag, None where it was skipped."""
    values = report.controls[name]
    return None if values is None else float(values[k])


def shown_lags(lags: list[int], most: int) -> list[int]:
    """Indices of at most `most` lags that stand for the grid: those nearest to powers of two, the last."""
    if len(lags) <= most:
        return list(range(len(lags)))
    for step in range(1, most):
        targets = [0, *(2**i for i in range(0, lags[-1].bit_length() + 1, step)), lags[-1]]
        nearest = {min((abs(lag - target), k) for k, lag in enumerate(lags))[1] for target in targets}
        if len(nearest) <= most:
            return sorted(nearest)
    return [0, len(lags) - 1]


def measured_facts(report: MemoryReport) -> list[tuple[str, str]]:
    """What was measured and how, as pairs of name and value."""
    model, settings, rows = report.model, report.settings, report.rows
    layers = model.get("layers")
    network = [network_name(report)]
    if layers is not None:
        network.append(f"layer {int(model.get('layer', layers - 1)) + 1} of {layers}")
    network += [f"{count(model[key])} {what}" for key, what in SIZES if model.get(key) is not None]
    pairs = [
        ("network", ", ".join(network)),
        ("parameters", count(model.get("parameters"))),
        (
            "state carried",
            f"{count(model.get('state_floats'))} floats, {count(model.get('state_bytes'))} bytes",
        ),
        ("state measured", f"{settings.get('state', 'output')}, {features_text(settings)}"),
        ("operations a step", f"{count(model.get('flops_per_step'))} of floating point"),
        (
            "rows",
            f"{count(rows.get('fit'))} to fit, {count(rows.get('measured'))} to measure (at the first lag)",
        ),
        ("split", split_text(settings)),
        ("blocks for errors", f"{report.blocks} {settings.get('blocks') or ''}".strip()),
        ("backend", f"{report.backend}, precision {report.precision}, {model.get('dtype', NONE)}"),
    ]
    if entropy(report) is not None:
        pairs.append(("entropy of a token", f"{number(entropy(report), 2)} bits"))
    asked = settings.get("requested_order")
    told = TOLD if asked != settings.get("innovation_order") else (*TOLD, "requested_order")
    rest = (
        (SETTINGS.get(k, k.replace("_", " ")), v)
        for k, v in settings.items()
        if k not in told and v is not None
    )
    return pairs + [(name, short_text(value)) for name, value in rest]


def features_text(settings: dict[str, Any]) -> str:
    """How many numbers the recall maps read."""
    features = settings.get("features")
    if features is None or settings.get("readout") != "features":
        return f"{count(features)} floats"
    return f"{count(features - COUNT)} floats and {COUNT} random features of them"


SIZES = (("input_size", "inputs"), ("hidden_size", "hidden units"))
TOLD = (
    "features",
    "readout",
    "effective_rank",
    "rank",
    "state",
    "split",
    "fit",
    "blocks",
    "block_width",
    "entropy",
    "layer",
    "window",
    "inference_lags",
    "weights",
)
SETTINGS = {"requested_order": "innovation order asked for"}


def short_text(value: Any) -> str:
    """A setting as text that stays short."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
