"""What is forgotten, learnable and used in words, and the advice on a length to train with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnmem.words import noun, plural, reached

if TYPE_CHECKING:
    from rnnmem.learning import Learnable
    from rnnmem.report import MemoryReport

MEANINGS = {
    "forgotten": "how far two copies of the network stand apart that begin with different pasts and then "
    "read the same, over the distance of unrelated states: median and 10 to 90 % of pairs, by steps read",
    "learnable": "how much of a gradient is left so many steps back: root mean square, and 10 to 90 % of "
    "samples; below the dashed line less than 1 %",
    "used": "bits a prediction costs more where the model is given no token further back, with 95 % bands",
}


def sentences(report: MemoryReport) -> list[str]:
    """What is forgotten, learnable and used, a sentence each; then the advice on a length to train with."""
    found = [forgotten_sentence(report), learnable_sentence(report), used_sentence(report)]
    if report.used is not None:
        found.append(f"Length to train with: {training_text(report)}.")
    return [sentence for sentence in found if sentence]


def forgotten_sentence(report: MemoryReport) -> str:
    """After how many steps the past makes no difference."""
    found = report.forgotten
    if found is None:
        return ""
    if found.convergence_length is None:
        return (
            f"Forgotten: after {plural(int(found.lags[-1]), 'step')} of the same {noun(report)[1]}s, two "
            f"different pasts stand apart by {float(found.median[-1]):.0%} of what unrelated states do."
        )
    return (
        f"Forgotten: after {plural(found.convergence_length, 'step')} of the same {noun(report)[1]}s, two "
        "different pasts are the same state to 1 % of what unrelated states stand apart."
    )


def learnable_sentence(report: MemoryReport) -> str:
    """How far back a gradient reaches."""
    found = report.learnable
    if found is None:
        return ""
    at, what = found.explodes(), "the loss's gradient" if found.kind == "loss" else "a gradient"
    if at is not None:
        return f"Learnable: gradients explode, to over 100 times their length {plural(at, 'step')} back."
    return f"Learnable: of {what} 1 % or more is left {reach_text(found)} back."


def reach_text(found: Learnable) -> str:
    """`9 steps`, `at least 128 steps`."""
    text = reached(found.reach(), int(found.lags[-1]))
    return f"{text} step" if text == "1" else f"{text} steps"


def used_sentence(report: MemoryReport) -> str:
    """How many tokens the model's own prediction profits from."""
    found = report.used
    if found is None:
        return ""
    span = found.span()
    if span is None:
        return "Used: too few targets to say how many tokens the model's prediction profits from."
    if span == int(found.lengths[-1]):
        return f"Used: the model's prediction profits from {plural(span, noun(report)[1])} or more."
    what = plural(span, noun(report)[1])
    told = f"Used: the model's prediction profits from the last {what}, to within .01 bit."
    if report.memory_horizon is not None and span > report.memory_horizon + 1:
        told += (
            " That is more than it remembers: memory counts single tokens that an affine reading finds again."
        )
    return told


def training_text(report: MemoryReport) -> str:
    """The advice on a length to train with and why, or what is missing for one."""
    advice = report.suitable_length("training")
    if advice.length is None:
        return f"no advice, {advice.reason}"
    least = "at least " if advice.evidence.get("at_least") else ""
    return f"{least}{plural(advice.length, 'step')} ({advice.reason})"


def forgotten_note(report: MemoryReport) -> str:
    """What the panel of twins shows, in a few words."""
    found = report.forgotten
    if found is None:
        return ""
    length = found.convergence_length
    told = "1 % left: not reached" if length is None else f"1 % left after {plural(length, 'step')}"
    return told if report.forgotten_inputs is None else f"{told}; dotted: pasts of other inputs"


def learnable_note(report: MemoryReport) -> str:
    """What the panel of gradients shows, in a few words."""
    found = report.learnable
    if found is None:
        return ""
    at = found.explodes()
    if at is not None:
        return f"explodes {plural(at, 'step')} back"
    return f"reach {reach_text(found)}"


def used_note(report: MemoryReport) -> str:
    """What the panel of context shows, in a few words."""
    found = report.used
    if found is None:
        return ""
    span = found.span()
    more = " or more" if span == int(found.lengths[-1]) else ""
    parts = ["used span not settled" if span is None else f"used span {plural(span, noun(report)[1])}{more}"]
    if found.loss_after_unrelated is not None:
        parts.append("dotted: after an unrelated past")
    if found.loss_shuffled is not None:
        parts.append("dashed: older tokens shuffled")
    return "; ".join(parts)
