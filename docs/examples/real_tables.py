"""What docs/examples/README.md tells in figures, read from the saved reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from real_page import number, table, with_error

from rnnmem import Comparison, MemoryReport
from rnnmem.indicator_words import indicator_rows

ENCODER = ("pronunciations", "encoder-data", "encoder-summary", "encoder-lags", "encoder-first-letter")
SHAKESPEARE = (
    "shakespeare-data",
    "shakespeare-trained",
    "shakespeare-trained-lags",
    "shakespeare-dynamics",
    "shakespeare-context",
    "shakespeare-untrained",
    "shakespeare-untrained-lags",
)


def blocks(folder: Path) -> dict[str, str]:
    """Makes every generated part of the page.

    Args:
        folder: holds the saved reports and run.json.

    Returns:
        Marker name -> Markdown.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    made = dict.fromkeys((*ENCODER, *SHAKESPEARE), "*Not measured yet: `make real`.*")
    if "encoder" in facts:
        made |= encoder_blocks(folder, facts["encoder"])
    if "shakespeare" in facts:
        made |= shakespeare_blocks(folder, facts["shakespeare"])
    return made


def encoder_blocks(folder: Path, facts: dict[str, Any]) -> dict[str, str]:
    """Makes the parts that tell of the encoder."""
    trained, untrained = (
        MemoryReport.load(folder / f"{name}.json") for name in ("encoder", "encoder-untrained")
    )
    said = [(word, f"`{phonemes}`") for word, phonemes in facts["pronunciations"].items()]
    parts = (
        table(("word", "pronounced"), said),
        encoder_data(facts, trained),
        summaries({"trained": trained, "untrained": untrained}),
        by_lag(trained, untrained),
        first_letter(trained, untrained),
    )
    return dict(zip(ENCODER, parts, strict=True))


def shakespeare_blocks(folder: Path, facts: dict[str, Any]) -> dict[str, str]:
    """Makes the parts that tell of the next-word models."""
    trained, untrained = (
        Comparison.from_dict(json.loads((folder / f"shakespeare-{name}.json").read_text(encoding="utf-8")))
        for name in ("trained", "untrained")
    )
    parts = (
        shakespeare_data(facts),
        units(trained, facts),
        curves(trained),
        dynamics({"": trained, "untrained ": untrained}),
        context(trained),
        units(untrained, facts),
        curves(untrained),
    )
    return dict(zip(SHAKESPEARE, parts, strict=True))


def dynamics(found: dict[str, Comparison]) -> str:
    """Sets side by side what the networks forget, can learn and use."""
    head = (
        "network",
        "two pasts are the same after, words",
        "a gradient reaches back, words",
        "used span, words",
    )
    rows = []
    for kind, comparison in found.items():
        for name, states in comparison.reports.items():
            shown = {row.name: row.raw for row in indicator_rows(states["output"][0])}
            values = (shown[key] for key in ("convergence length", "reach", "used span"))
            rows.append(
                (kind + name, *(v.replace("at least", "≥").replace("more than", ">") for v in values))
            )
    return table(head, rows)


CONTEXTS = (1, 2, 4, 8, 16, 33)


def context(found: Comparison) -> str:
    """Tells the loss in bits of each network by how many words it was given, and after which past."""
    rows = []
    for name, states in found.reports.items():
        used = states["output"][0].used
        if used is None:
            continue
        places = [used.lengths.tolist().index(n) for n in CONTEXTS]
        starts = {
            "from its initial state": used.loss,
            "after an unrelated past": used.loss_after_unrelated,
            "after the older words, shuffled": used.loss_shuffled,
        }
        for start, losses in starts.items():
            if losses is not None:
                rows.append((f"{name}, {start}", *(number(float(losses[k]), 2) for k in places)))
    return table(("bits a word, given the last ... words", *map(str, CONTEXTS)), rows)


def encoder_data(facts: dict[str, Any], report: MemoryReport) -> str:
    """Says on what the encoder was measured."""
    return (
        f"{facts['words']:,} words, {facts['letters']:,} letters and end marks, at most {facts['longest']} a "
        f"word; at lag 0, {report.rows['fit']:,} rows fit the recall maps and {report.rows['measured']:,} "
        "others are measured."
    )


def by_lag(trained: MemoryReport, untrained: MemoryReport) -> str:
    """Sets the two encoders side by side, letter by letter back."""
    head = ("letters ago", "raw", "own", "control", "untrained raw", "own", "control")
    curves = []
    for report in (trained, untrained):
        curves += [report.retention, report.own_retention, control(report)]
    return table(
        head, [(str(lag), *row) for lag, row in zip(trained.lags.tolist(), cells(curves), strict=True)]
    )


def first_letter(trained: MemoryReport, untrained: MemoryReport) -> str:
    """Tells how much of a word's first letter is left k steps later, from the by-position tables."""
    rows = []
    found = [at_first_step(report) for report in (trained, untrained)]
    for lag in sorted(found[0]):
        rows.append((str(lag), number(found[0][lag]), number(found[1].get(lag))))
    return table(("steps after the first letter", "trained, raw", "untrained, raw"), rows)


def at_first_step(report: MemoryReport) -> dict[int, float]:
    """Returns raw retention by lag at the step where that lag reaches the first token."""
    columns = report.by_position or {}
    steps, lags, kept = (columns.get(name, []) for name in ("first_step", "lag", "retention"))
    ends = columns.get("end_step", [])
    rows = zip(steps, ends, lags, kept, strict=True)
    return {int(lag): float(value) for step, end, lag, value in rows if step == lag and end == step + 1}


def summaries(reports: dict[str, MemoryReport]) -> str:
    """Sets the headline indicators of several reports side by side, one column each."""
    head = ("indicator", *reports)
    lines = {
        "memory horizon, steps": [horizon(r) for r in reports.values()],
        "own capacity, tokens": [own_capacity(r) for r in reports.values()],
        "raw capacity, tokens": [raw_capacity(r) for r in reports.values()],
        "own half-life, steps": [number(r.own_half_life, 1) for r in reports.values()],
        "raw half-life, steps": [number(r.half_life, 1) for r in reports.values()],
    }
    return table(head, [(name, *values) for name, values in lines.items()])


def shakespeare_data(facts: dict[str, Any]) -> str:
    """Says what was trained and how."""
    versions = f"torch {facts['torch']}, Python {facts['python']}, threads: {facts['threads']}"
    return (
        f"{facts['words']:,} words and marks, {facts['vocabulary']:,} told apart; each network "
        f"read nine tenths of the text once in training; {versions}."
    )


def units(found: Comparison, facts: dict[str, Any]) -> str:
    """Sets the networks side by side: sizes, then what each keeps."""
    trained = any(found.trained.values())
    head = ["network", "units", "parameters", "state floats"]
    head += ["perplexity"] if trained else []
    head += ["own capacity, words", "raw capacity, words", "memory horizon, words"]
    rows = []
    for name, states in found.reports.items():
        told = facts["units"][name]
        for state, seeds in states.items():
            if state == "full" and name != "LSTM":
                continue  # an RNN and a GRU carry nothing but their output
            report = seeds[0]
            row = [
                name if state == "output" else f"{name}, with its cell",
                f"{told['units']}",
                f"{told['parameters']:,}",
            ]
            row += [f"{report.settings['features']}"]
            row += [f"{told['perplexity']:.0f}"] if trained else []
            row += [own_capacity(report)]
            row += [raw_capacity(report), horizon(report)]
            rows.append(row)
    return table(head, rows)


def curves(found: Comparison) -> str:
    """Sets raw, own and control side by side for each network, at the lags where the control was run."""
    rows = []
    reports = {name: states["output"][0] for name, states in found.reports.items()}
    first = next(iter(reports.values()))
    lags, sampled = first.lags.tolist(), control(first).isfinite().tolist()
    shown = [place for place, lag in enumerate(lags) if lag == 0 or sampled[place]]
    for name, report in reports.items():
        kinds = {"raw": report.retention, "own": report.own_retention, "control": control(report)}
        for kind, curve in kinds.items():
            rows.append((f"{name} {kind}", *(number(float(curve[place])) for place in shown)))
    return table(("words ago", *(str(lags[place]) for place in shown)), rows)


def control(report: MemoryReport) -> Any:
    """Returns the inference control's curve, undefined everywhere where it was skipped."""
    curve = report.controls["inference"]
    return report.retention * float("nan") if curve is None else curve


def cells(curves: list[Any]) -> list[tuple[str, ...]]:
    """Turns curves into rows of cells, one row a lag."""
    return [tuple(number(float(value)) for value in row) for row in zip(*curves, strict=True)]


def own_capacity(report: MemoryReport) -> str:
    """Writes own capacity in tokens."""
    least = "≥ " if report.own_capacity_at_least else ""
    return least + with_error(report.own_capacity, report.own_capacity_se, 3)


def raw_capacity(report: MemoryReport) -> str:
    """Writes raw capacity in tokens."""
    return ("≥ " if report.capacity_at_least else "") + with_error(report.capacity, report.capacity_se, 3)


def horizon(report: MemoryReport) -> str:
    """Writes the memory horizon in steps, "≥" where no longer lag was tested."""
    control = report.controls["inference"]
    if report.memory_horizon is None or control is None:
        return "–"
    longest = int(report.lags[~control.isnan()][-1])
    return f"≥ {report.memory_horizon}" if report.memory_horizon == longest else f"{report.memory_horizon}"
