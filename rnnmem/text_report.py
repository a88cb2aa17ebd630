"""Reports as plain text for a terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnmem import comparison_words, dynamics_words, words
from rnnmem.indicator_words import Row, indicator_rows
from rnnmem.words import control, number, with_error

if TYPE_CHECKING:
    from rnnmem.comparison import Comparison
    from rnnmem.report import MemoryReport

WIDTH = 96
MOST_LAGS = 24
KEPT_LAGS = 8
NAMES = 14  # characters of a network's name
TITLE = 10  # and of a line of a column's title


def report_text(report: MemoryReport) -> str:
    """A report: the answer in words, the curves, the indicators, what was measured, every warning."""
    parts = [
        fill(words.headline(report)),
        *map(fill, words.evidence(report)),
        *map(fill, dynamics_words.sentences(report)),
        "",
        *lag_table(report),
        "",
        *indicator_table(report),
        "",
        "What was measured",
        *facts(report),
        *warning_lines(report.warnings),
        "",
        fill(words.SOURCE),
    ]
    return "\n".join(parts)


def comparison_text(comparison: Comparison) -> str:
    """A comparison: at what the networks are equal, what each costs, what each keeps."""
    shown = comparison_words.states(comparison)
    parts = [fill(comparison_words.horizon_sentence(comparison, state)) for state in shown]
    parts += [fill(comparison_words.match_sentence(comparison)), "", "What each network is and costs"]
    costs = [
        [short(name), short(unit), *rest] for name, unit, *rest in comparison_words.cost_rows(comparison)
    ]
    parts += columns(comparison_words.COST_HEAD, costs)
    for state in shown:
        kept = [[short(name), *rest] for name, *rest in comparison_words.kept_rows(comparison, state)]
        lags, curves = comparison_words.lag_rows(comparison, state, KEPT_LAGS)
        parts += ["", f"What is kept in the {state} state", *columns(comparison_words.KEPT_HEAD, kept)]
        parts += ["", f"Own retention in the {state} state, by lag"]
        parts += columns(["", *map(str, lags)], [[short(name), *rest] for name, *rest in curves])
        ranked = comparison_words.rankings(comparison, state)
        for title, order in ranked:
            parts += ["", title]
            parts += columns(comparison_words.RANK_HEAD, [[short(name), *rest] for name, *rest in order])
        parts += [fill(comparison_words.RANKED_NOTE)] if ranked else []
    rows = comparison_words.dynamics_rows(comparison, shown[0])
    if rows:
        parts += ["", "What is forgotten, learnable and used"]
        parts += columns(comparison_words.DYNAMICS_HEAD, [[short(name), *rest] for name, *rest in rows])
    parts += ["", fill(words.RETENTION), fill(comparison_words.EXPLAINED)]
    parts += [fill(comparison_words.DYNAMICS_EXPLAINED)] if rows else []
    return "\n".join([*parts, *warning_lines(comparison_words.warnings(comparison)), "", fill(words.SOURCE)])


def fill(text: str) -> str:
    """A paragraph."""
    return textwrap.fill(text, WIDTH)


def bullet(text: str) -> str:
    """An item of a list."""
    return textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ")


def short(name: str) -> str:
    """A name that leaves room for the columns beside it, on one line."""
    shown = " ".join(name.split())
    return shown if len(shown) <= NAMES else f"{shown[: NAMES - 3]}..."


def warning_lines(warnings: Sequence[str]) -> list[str]:
    """Every warning, under a title."""
    return ["", "Warnings", *map(bullet, warnings)] if warnings else []


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right, titles over several lines."""
    cells = list(zip(*rows, strict=True))
    titles = [
        textwrap.wrap(title, max(TITLE, *map(len, column)), break_on_hyphens=False) or [""]
        for title, column in zip(head, cells, strict=True)
    ]
    deep = max(map(len, titles))
    padded = [[""] * (deep - len(title)) + title for title in titles]
    lines = [*zip(*padded, strict=True), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    out = []
    for first, *rest in lines:
        others = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        out.append("  ".join([first.ljust(widths[0]), *others]).rstrip())
    out.insert(deep, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return out


LAG_HEAD = (
    "lag",
    "retention",
    "own retention",
    "inference control",
    "current token alone",
    "{window}",
    "bits",
)
LAG_NAMES = {
    "linear": "own, linear reading",
    "inference": "inference control",
    "memoryless": "current token alone",
    "window": "last tokens",
}


def lag_table(report: MemoryReport) -> list[str]:
    """Lag by lag: the two curves, the controls, bits; the grid thinned where it is long."""
    lags, beyond = report.lags.tolist(), words.beyond_inference(report)
    indices = words.shown_lags(lags, MOST_LAGS)
    linear = [LAG_NAMES["linear"]] if report.controls["linear_own"] is not None else []
    rows = []
    for k in indices:
        own = with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4)
        rows.append(
            [
                f"{lags[k]:,}",
                with_error(float(report.retention[k]), float(report.retention_se[k]), 4),
                own + ("*" if beyond[k] else " "),
                *[number(control(report, "linear_own", k), 4)][: len(linear)],
                with_error(control(report, "inference", k), control(report, "inference_se", k), 4),
                number(control(report, "memoryless", k)),
                number(control(report, "window", k)),
                number(float(report.bits[k]), 2),
            ]
        )
    notes = [fill(f"{words.retention_sentence(report)} Lags are in steps; ± is one standard error.")]
    for name in ("own retention", *LAG_NAMES):
        if name not in report.controls or report.controls[name] is not None:
            notes.append(bullet(f"{LAG_NAMES.get(name, name)}: {words.control_text(name, report)}"))
    if any(beyond):
        notes.append(bullet("*: above the inference control beyond chance (95 % over all lags together)"))
    if (bits := words.entropy(report)) is not None:
        notes.append(
            bullet(
                f"bits: Gaussian bits kept, cut off at a token's entropy of {number(bits, 2)} bits; small "
                "values are biased up, and tokens are no Gaussian vectors: compare bits with bits only"
            )
        )
    if len(indices) < len(lags):
        notes.append(bullet(f"{len(indices)} of {len(lags)} lags are shown; report.save writes all of them"))
    head = [title.format(window=words.window_text(report).removeprefix("the ")) for title in LAG_HEAD]
    head[3:3] = linear
    return [*columns(head, rows), *notes]


def indicator_table(report: MemoryReport) -> list[str]:
    """Every indicator with its unit: on own retention, on retention, and what qualifies it."""
    head = Row("indicator", "unit", "own", "in all", "note", "", "")
    rows = [head, *indicator_rows(report)]
    name, own, raw, unit = (
        max(len(getattr(r, part)) for r in rows) for part in ("name", "own", "raw", "unit")
    )
    lines: list[str] = []
    for row in rows:
        start = f"{row.name:{name}}  {row.own:>{own}}  {row.raw:>{raw}}  {row.unit:{unit}}  "
        wrapped = textwrap.wrap(row.note, WIDTH - len(start)) or [""]
        lines += [(start + wrapped[0]).rstrip(), *(" " * len(start) + more for more in wrapped[1:])]
    lines.insert(1, "-" * WIDTH)
    return lines


def facts(report: MemoryReport) -> list[str]:
    """What was measured and how, one line each."""
    pairs = words.measured_facts(report)
    width = max(len(name) for name, _ in pairs) + 2
    lines = []
    for name, value in pairs:
        lines += textwrap.wrap(f"{name:{width}}{value}", WIDTH, subsequent_indent=" " * width)
    return lines
