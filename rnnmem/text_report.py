"""Reports as plain text for a terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rnnmem import words
from rnnmem.words import number, with_error

if TYPE_CHECKING:
    from rnnmem.compare import Comparison
    from rnnmem.report import MemoryReport

WIDTH = 96
MOST_LAGS = 24
KEPT_LAGS = 8
PARTS = ("name", "own", "raw", "unit")


def report_text(report: MemoryReport) -> str:
    """A report: the answer in words, the curves, the indicators, what was measured, every warning."""
    parts = [
        fill(words.headline(report)),
        *map(fill, words.evidence(report)),
        "",
        *lag_table(report),
        "",
        *indicator_table(report),
        "",
        "What was measured",
        *facts(report),
    ]
    if report.warnings:
        parts += ["", *warning_lines(report.warnings)]
    return "\n".join([*parts, "", fill(words.SOURCE)])


def comparison_text(comparison: Comparison) -> str:
    """A comparison: at what the networks are equal, what each costs, what each keeps."""
    parts = [fill(words.match_sentence(comparison)), "", *cost_table(comparison)]
    for state in words.states(comparison):
        parts += ["", *kept_table(comparison, state)]
    parts += [
        "",
        fill(words.RETENTION),
        fill(
            "Own retention counts only what the newer tokens do not predict. Memory horizon: steps back to which "
            "own retention is above what the same network infers from the newer tokens alone. Capacity: retention "
            "added up over all lags, in tokens' worth; own capacity likewise. Half-life and span (steps): until "
            "half of the retention at lag 0 is gone, and up to where at least half is left."
        ),
    ]
    if comparison.warnings:
        parts += ["", *warning_lines(comparison.warnings)]
    return "\n".join([*parts, "", fill(words.SOURCE)])


def fill(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def bullet(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ")


def warning_lines(warnings: list[str]) -> list[str]:
    return ["Warnings", *map(bullet, warnings)]


def columns(head: list[str], rows: list[list[str]], gap: int = 2) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right, a rule under the head."""
    heads = [title.split("\n") for title in head]
    deep = max(map(len, heads))
    lines = [[""] * (deep - len(title)) + title for title in heads]
    cells = [[title[i] for title in lines] for i in range(deep)] + rows
    widths = [max(len(line[j]) for line in cells) for j in range(len(head))]
    out = []
    for line in cells:
        first, *rest = (cell.rjust(width) if j else cell.ljust(width) for j, (cell, width) in enumerate(
            zip(line, widths, strict=True)))  # fmt: skip
        out.append((" " * gap).join([first, *rest]).rstrip())
    out.insert(deep, "-" * (sum(widths) + gap * (len(widths) - 1)))
    return out


def lag_table(report: MemoryReport) -> list[str]:
    """Lag by lag: the two curves, the controls, bits; the grid thinned where it is long."""
    lags = report.lags.tolist()
    indices = words.shown_lags(lags, MOST_LAGS)
    head = [
        "lag",
        "retention",
        "own\nretention",
        "inference\ncontrol",
        "current\ntoken alone",
        "last\ntokens",
        "bits",
    ]
    controls, beyond = report.controls, words.beyond_inference(report)
    rows = []
    for k in indices:
        inference, error = (
            None if (c := controls[n]) is None else float(c[k]) for n in ("inference", "inference_se")
        )
        alone, window = (
            None if (c := controls[n]) is None else float(c[k]) for n in ("memoryless", "window")
        )
        mark = "*" if beyond[k] else " "
        rows.append(
            [
                f"{lags[k]}",
                with_error(float(report.retention[k]), float(report.retention_se[k]), 4),
                with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4) + mark,
                with_error(inference, error, 4),
                number(alone),
                number(window),
                number(float(report.bits[k]), 2),
            ]
        )
    notes = [fill(words.RETENTION + " ± is one standard error.")]
    names = ["own retention", *(n for n in ("inference", "memoryless", "window") if controls[n] is not None)]
    labels = {"inference": "inference control", "memoryless": "current token alone", "window": "last tokens"}
    notes += [bullet(f"{labels.get(n, n)}: {words.control_text(n, report)}") for n in names]
    if any(beyond):
        notes.append(bullet("*: above the inference control beyond chance (95 % over all lags together)"))
    if (bits := words.entropy(report)) is not None:
        notes.append(bullet(f"bits: Gaussian bits kept; a token has {number(bits, 2)} bits of entropy"))
    if len(indices) < len(lags):
        notes.append(bullet(f"{len(indices)} of {len(lags)} lags shown; the .csv has them all"))
    return [*columns(head, rows), *notes]


def indicator_table(report: MemoryReport) -> list[str]:
    """Every indicator with its unit: on own retention, on retention, and what qualifies it."""
    rows = words.indicator_rows(report)
    head = words.Row("indicator", "unit", "own", "in all", "note", "", "")
    name, own, raw, unit = (max(len(getattr(r, part)) for r in [head, *rows]) for part in PARTS)
    lines: list[str] = []
    for row in [head, *rows]:
        start = f"{row.name:{name}}  {row.own:>{own}}  {row.raw:>{raw}}  {row.unit:{unit}}  "
        wrapped = textwrap.wrap(row.note, WIDTH - len(start)) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * len(start) + more for more in wrapped[1:])]
    lines.insert(1, "-" * WIDTH)
    return lines


def facts(report: MemoryReport) -> list[str]:
    """What was measured, a line each for what matters, the settings joined."""
    pairs = words.measured_facts(report)
    width = max(len(name) for name, _ in pairs)
    lines = []
    for name, value in pairs:
        text = f"{name.ljust(width)}  {value}"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * (width + 2))
    return lines


def cost_table(comparison: Comparison) -> list[str]:
    """What each network is and costs."""
    head = ["network", "unit", "trained", "parameters", "state\nfloats", "state\nbytes", "operations\na step"]
    rows = []
    for name, by_state in comparison.reports.items():
        report = next(iter(by_state.values()))[0]
        sizes = [words.count(report.model.get(key)) for key in words.COSTS]
        rows.append(
            [short(name), short(words.network_name(report)), words.trained_text(comparison, name), *sizes]
        )
    return columns(head, rows)


def kept_table(comparison: Comparison, state: str) -> list[str]:
    """What each network keeps in one state, and its own retention at a few lags."""
    rows = words.comparison_rows(comparison, state)
    lags = rows[0][1][0].lags.tolist()
    shown = [lags[k] for k in words.shown_lags(lags, KEPT_LAGS)]
    head = [
        "network",
        "memory\nhorizon",
        "own\ncapacity",
        "capacity",
        "own\nhalf-life",
        "own\nspan",
        "floats\nmeasured",
    ]
    table = [[short(name), *kept_cells(reports), words.measured_floats(reports)] for name, reports in rows]
    curves = [[short(name), *(words.at_lag(reports, lag) for lag in shown)] for name, reports in rows]
    return [
        f"What is kept in the {state} state",
        *columns(head, table),
        "",
        f"Own retention by lag ({state} state)",
        *columns(["lag", *map(str, shown)], curves),
    ]


def kept_cells(reports: list[MemoryReport]) -> list[str]:
    return [words.kept(reports, name) for name in words.KEPT]


def short(name: str) -> str:
    return textwrap.shorten(name, 24, placeholder="...") if name.strip() else repr(name)
