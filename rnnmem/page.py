"""Reports as one self-contained HTML page: style, figures and tables inside, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import rnnmem
from rnnmem import comparison_words, dynamics_words, plot, words
from rnnmem.indicator_words import SENTENCES, Row, indicator_rows
from rnnmem.indicators.breakdown import Table
from rnnmem.words import NONE, control, number, with_error

if TYPE_CHECKING:
    from rnnmem.comparison import Comparison
    from rnnmem.report import MemoryReport

SHOWN = 9  # lags in the tables by position and by class


def report_page(report: MemoryReport) -> str:
    """A whole page, from the answer in words down to how it was measured."""
    title = f"What this {words.network_name(report)} remembers"
    return page(title, [*report_sections(report), footer()])


def report_sections(report: MemoryReport, level: str = "h1") -> list[str]:
    """Everything about one report, its headline at this level."""
    body = [answer(report, level), warnings_box(report.warnings), cards(report), lag_section(report)]
    return [*body, class_section(report), position_section(report), facts(report)]


def report_fragment(report: MemoryReport) -> str:
    """The answer, figure, warnings and indicators, for a notebook's cell."""
    return wrap([answer(report), warnings_box(report.warnings), cards(report), footer()])


def comparison_page(sections: Sequence[tuple[str, str, Comparison]]) -> str:
    """One page for several comparisons, as of networks trained and untrained.

    Args:
        sections: title, note ("" for none) and comparison of each.
    """
    title = sections[0][0] if len(sections) == 1 else "What recurrent networks remember"
    body = [] if len(sections) == 1 else [f"<header><h1>{title}</h1></header>"]
    level = "h1" if len(sections) == 1 else "h2"
    for index, (name, note, comparison) in enumerate(sections):
        heading = f"<{level}>{escape(name)}</{level}>"
        body.append(comparison_section(heading, note, comparison, f"f{index}-"))
    body += [explained(), footer()]
    return page(title, body)


def page(title: str, body: Iterable[str]) -> str:
    """The whole document around what it holds."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>html, body { margin: 0; background: #fefefe } "
        "@media (prefers-color-scheme: dark) { html, body { background: #15181c } }</style>\n"
        f"</head>\n<body>\n{wrap(body)}\n</body>\n</html>\n"
    )


def wrap(body: Iterable[str]) -> str:
    """What a page or a notebook's cell holds, with its style."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    inside = "\n".join(part for part in body if part)
    unbroken = inside.replace(" ± ", "&nbsp;±&nbsp;")
    return f'<div class="rnnmem">\n<style>\n{style}</style>\n{unbroken}\n</div>'


def answer(report: MemoryReport, level: str = "h1") -> str:
    """Headline, evidence, and the figure with what its curves are."""
    state = report.settings.get("state", "output")
    kicker = f"Memory report: {words.network_name(report)}, {state} state"
    sentences = [*words.evidence(report), *dynamics_words.sentences(report)]
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    names = ["retention", "own retention"]
    names += [n for n in ("linear", "inference", "memoryless", "window") if report.controls[n] is not None]
    keys = "".join(f"<li><b>{KEYS[n]}</b>: {escape(words.control_text(n, report))}</li>" for n in names)
    headline = escape(words.headline(report))
    drawn = figures(plot.report_svg(report), f"Retention by lag. {headline}")
    keys += "".join(
        f"<li><b>{name.capitalize()}</b>: {escape(text)}</li>"
        for name, text in dynamics_words.MEANINGS.items()
        if getattr(report, name) is not None
    )
    caption = f"<p>{escape(words.retention_sentence(report))}</p><ul>{keys}</ul>"
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><{level}>{headline}</{level}>{told}</header>\n'
        f"<figure>{drawn}\n<figcaption>{caption}</figcaption></figure>"
    )


KEYS = {
    "retention": "Retention",
    "own retention": "Own retention",
    "linear": "Own retention, linear reading",
    "inference": "Control: inference",
    "memoryless": "Control: the current token alone",
    "window": "Control: the last tokens",
}


def figures(drawn: tuple[str, str], label: str) -> str:
    """The wide figure and the narrow one, of which the style sheet shows one."""
    wide, narrow = drawn
    start = f'<svg role="img" aria-label="{label}"'
    return wide.replace("<svg", f'{start} class="wide"', 1) + narrow.replace(
        "<svg", f'{start} class="narrow"', 1
    )


def warnings_box(warnings: Sequence[str]) -> str:
    """Every warning, set apart."""
    if not warnings:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    return f'<section class="box"><h2>Warnings</h2><ul>{lines}</ul></section>'


def cards(report: MemoryReport) -> str:
    """Every indicator: value, unit, what it means and what it does not."""
    made = "\n".join(card(row) for row in indicator_rows(report))
    return (
        '<section><h2>Indicators</h2>\n<p class="soft">Large: own, that is, of what the newer tokens do not '
        "predict. Small: in all, what they tell included. ± is one standard error.</p>\n"
        f'<div class="cards">\n{made}\n</div></section>'
    )


def card(row: Row) -> str:
    """One indicator."""
    first = row.own or row.raw
    unit = f" {row.unit}" if row.unit else ""
    unit = unit.removesuffix("s") if first == "1" else unit
    value = escape(first + unit if first != NONE else NONE)
    if row.own and row.raw:
        value += f" <small>in all: {escape(row.raw)}</small>"
    note = f'<p class="soft">{escape(row.note)}</p>' if row.note else ""
    return (
        f'<div class="card"><h3>{escape(row.name.capitalize())}</h3><p class="value">{value}</p>{note}'
        f'<p>{escape(row.means)}</p><p class="not">{escape(row.means_not)}</p></div>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    """A table of cells that are HTML already; one that begins with <td is taken whole."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    lines = []
    for first, *cells in rows:
        inside = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{first}</th>{inside}</tr>')
    shown = f"<thead><tr>{titles}</tr></thead>" if head else ""
    attribute = f' class="{name}"' if name else ""
    return (
        f'<div class="scroll"><table{attribute}>{shown}<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def lag_section(report: MemoryReport) -> str:
    """Every lag with every curve."""
    beyond = words.beyond_inference(report)
    window = words.window_text(report).removeprefix("the ")
    linear = ["own, linear reading"] if report.controls["linear_own"] is not None else []
    head = ["lag", "retention", "own retention", *linear, "inference control", "current token alone", window]
    head += ["bits", "own bits", "hull coverage", "distance"]
    rows = []
    for k, lag in enumerate(report.lags.tolist()):
        own = with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4)
        rows.append(
            [
                str(lag),
                with_error(float(report.retention[k]), float(report.retention_se[k]), 4),
                f'<td class="beyond">{own}</td>' if beyond[k] else own,
                *[number(control(report, "linear_own", k), 4)][: len(linear)],
                with_error(control(report, "inference", k), control(report, "inference_se", k), 4),
                number(control(report, "memoryless", k)),
                number(control(report, "window", k)),
                number(float(report.bits[k]), 2),
                number(float(report.own_bits[k]), 2),
                number(float(report.hull_coverage[k])),
                number(float(report.distance[k])),
            ]
        )
    bits = words.entropy(report)
    told = "" if bits is None else f" A token has {number(bits, 2)} bits of entropy, and bits are cut there."
    return (
        '<section><h2>Lag by lag</h2>\n<p class="soft">Lags in steps. Bold: above the inference control '
        "beyond chance (95 % over all lags together). Distance: root mean square in the semantic space."
        f"{told}</p>\n"
        f"{table(head, rows)}</section>"
    )


def class_section(report: MemoryReport) -> str:
    """Retention by how frequent the token to be recalled is."""
    found = report.by_token_class
    if not found:
        return ""
    names = {float(i): name for i, name in enumerate(words.BANDS)}
    note = "Five classes of tokens of equal mass: each makes up about a fifth of all that is read."
    return breakdown("By frequency of the token", note, found, found["band"], names, report)


def position_section(report: MemoryReport) -> str:
    """Retention by where in the stream it was measured: does memory drift?"""
    found = report.by_position
    if not found:
        return ""
    ends = dict(zip(found["first_step"], found["end_step"], strict=True))
    names = {first: f"{int(first):,} to {int(end) - 1:,}" for first, end in ends.items()}
    note = "Steps from the beginning of the stream. Rows that differ: memory drifts, or the text changes."
    return breakdown("By position in the stream", note, found, found["first_step"], names, report)


def breakdown(
    title: str, note: str, found: Table, keys: list[float], names: dict[float, str], report: MemoryReport
) -> str:
    """A table of retention: a row for each class or position, a column for each of a few lags."""
    lags = report.lags.tolist()
    shown = [lags[k] for k in words.shown_lags(lags, SHOWN)]
    cells = {
        (key, lag): (v, n)
        for key, lag, v, n in zip(keys, found["lag"], found["retention"], found["rows"], strict=True)
    }
    rows = []
    for key in dict.fromkeys(keys):
        counts = [n for (other, _), (_, n) in cells.items() if other == key]
        values = [shaded(cells.get((key, lag), (None, 0))[0]) for lag in shown]
        rows.append([names[key], *values, f"{int(max(counts)):,}"])
    head = ["retention at lag", *map(str, shown), "rows"]
    return f'<section><h2>{title}</h2>\n<p class="soft">{note}</p>\n{table(head, rows)}</section>'


def shaded(value: float | None) -> str:
    """A cell the darker the more is kept."""
    if value is None or not math.isfinite(value):
        return NONE
    return f'<td class="shade" style="--kept:{min(max(value, 0.0), 1.0):.3f}">{number(value)}</td>'


def facts(report: MemoryReport) -> str:
    """What was measured and how."""
    rows = [(escape(name), escape(value)) for name, value in words.measured_facts(report)]
    return f"<section><h2>What was measured</h2>\n{table([], rows, 'facts')}</section>"


def comparison_section(title: str, note: str, comparison: Comparison, figure: str) -> str:
    """Figures and tables of one comparison; `figure` begins the ids of its figures."""
    shown = comparison_words.states(comparison)
    told = [comparison_words.horizon_sentence(comparison, state) for state in shown]
    sentences = [note, *told, comparison_words.match_sentence(comparison)]
    parts = [title, *(f"<p>{escape(sentence)}</p>" for sentence in sentences if sentence)]
    parts.append(warnings_box(comparison_words.warnings(comparison)))
    for state in shown:
        label = escape(f"Own retention by lag, {state} state: {', '.join(comparison.reports)}")
        drawn = figures(plot.comparison_svg(comparison, state, figure), label)
        lags, curves = comparison_words.lag_rows(comparison, state, SHOWN)
        parts += [
            f"<h3>What is kept in the {escape(state)} state</h3>",
            f"<figure>{drawn}</figure>",
            text_table(comparison_words.KEPT_HEAD, comparison_words.kept_rows(comparison, state)),
            text_table(["own retention at lag", *map(str, lags)], curves),
        ]
        ranked = comparison_words.rankings(comparison, state)
        for heading, order in ranked:
            parts += [f"<h3>{escape(heading)}</h3>", text_table(comparison_words.RANK_HEAD, order)]
        parts += [f'<p class="soft">{escape(comparison_words.RANKED_NOTE)}</p>'] if ranked else []
    rows = comparison_words.dynamics_rows(comparison, shown[0])
    if rows:
        parts += ["<h3>What is forgotten, learnable and used</h3>"]
        parts += [text_table(comparison_words.DYNAMICS_HEAD, rows)]
        parts += [f'<p class="soft">{escape(comparison_words.DYNAMICS_EXPLAINED)}</p>']
    parts += ["<h3>What each network is and costs</h3>"]
    parts.append(text_table(comparison_words.COST_HEAD, comparison_words.cost_rows(comparison)))
    return "<section>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    return table([escape(title) for title in head], [[escape(cell) for cell in row] for row in rows])


def explained() -> str:
    """What the indicators of a comparison mean, once for the page."""
    wanted = ("memory horizon", "capacity", "half-life", "span")
    told = {
        name: f"{means} {means_not}" for name, (_, means, means_not) in SENTENCES.items() if name in wanted
    }
    lines = "".join(f"<li><b>{name.capitalize()}</b>: {escape(text)}</li>" for name, text in told.items())
    sentences = f"<p>{escape(words.RETENTION)}</p><p>{escape(comparison_words.EXPLAINED)}</p>"
    return f"<section><h2>What the words mean</h2>\n{sentences}\n<ul>{lines}</ul></section>"


def footer() -> str:
    """Where the definitions are from, and what made the page."""
    told = f"<p>{escape(words.SOURCE)}</p><p>Made by rnnmem {rnnmem.__version__}.</p>"
    return f"<footer>{told}</footer>"
