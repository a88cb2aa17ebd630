"""Reports as one self-contained HTML page: style, figures and tables inside, nothing fetched from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from rnnmem import plot, words
from rnnmem.indicators.breakdown import Table
from rnnmem.words import number, with_error

if TYPE_CHECKING:
    from rnnmem.compare import Comparison
    from rnnmem.report import MemoryReport

SHOWN = 9  # lags in the tables by position and by class
NO_MEASURE = "-"


def report_page(report: MemoryReport) -> str:
    """A whole page, from the answer in words down to how it was measured."""
    name = words.network_name(report)
    body = [answer(report), warnings_box(report.warnings), cards(report), lag_section(report)]
    body += [class_section(report), position_section(report), facts(report), footer()]
    return page(f"What this {name} remembers", body)


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
    for index, (name, note, comparison) in enumerate(sections):
        level = "h1" if len(sections) == 1 else "h2"
        body.append(comparison_section(f"c{index}", f"<{level}>{escape(name)}</{level}>", note, comparison))
    body += [explained(), footer()]
    return page(title, body)


def page(title: str, body: Iterable[str]) -> str:
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
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    inside = "\n".join(part for part in body if part)
    return f'<div class="rnnmem">\n<style>\n{style}</style>\n{inside}\n</div>'


def answer(report: MemoryReport) -> str:
    """Headline, evidence, and the figure with what its curves are."""
    state = report.settings.get("state", "output")
    model = report.model.get("name")
    kicker = f"Memory report: {words.network_name(report)}, {state} state" + (f" ({model})" if model else "")
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in words.evidence(report))
    names = ["retention", "own retention"]
    names += [n for n in ("inference", "memoryless", "window") if report.controls[n] is not None]
    keys = "".join(f"<li><b>{KEYS[n]}</b>: {escape(words.control_text(n, report))}</li>" for n in names)
    drawn = figures(plot.report_svg(report, "r"), escape(f"Retention by lag. {words.headline(report)}"))
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(words.headline(report))}</h1>{told}</header>\n'
        f"<figure>{drawn}\n<figcaption><p>{escape(words.RETENTION)}</p><ul>{keys}</ul></figcaption></figure>"
    )


KEYS = {
    "retention": "Retention",
    "own retention": "Own retention",
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
    if not warnings:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    return f'<section class="box"><h2>Warnings</h2><ul>{lines}</ul></section>'


def cards(report: MemoryReport) -> str:
    """Every indicator: value, unit, what it means and what it does not."""
    return (
        '<section><h2>Indicators</h2>\n<p class="soft">Large: of its own, that is, of what the newer tokens do not '
        'predict. Small: in all, what they tell included. ± is one standard error.</p>\n<div class="cards">\n'
        + "\n".join(card(row) for row in words.indicator_rows(report))
        + "\n</div></section>"
    )


def card(row: words.Row) -> str:
    unit = f" {row.unit}" if row.unit else ""
    first = row.own or row.raw
    value = escape(first + unit if first != NO_MEASURE else NO_MEASURE)
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
    head = ["lag", "retention", "own retention", "inference control", "current token alone", "last tokens"]
    head += ["bits", "own bits", "hull coverage", "distance"]
    rows = []
    for k, lag in enumerate(report.lags.tolist()):
        own = with_error(float(report.own_retention[k]), float(report.own_retention_se[k]), 4)
        rows.append(
            [
                str(lag),
                with_error(float(report.retention[k]), float(report.retention_se[k]), 4),
                f'<td class="beyond">{own}</td>' if beyond[k] else own,
                with_error(at(report, "inference", k), at(report, "inference_se", k), 4),
                number(at(report, "memoryless", k)),
                number(at(report, "window", k)),
                number(float(report.bits[k]), 2),
                number(float(report.own_bits[k]), 2),
                number(float(report.hull_coverage[k])),
                number(float(report.distance[k])),
            ]
        )
    bits = words.entropy(report)
    told = "" if bits is None else f" A token has {number(bits, 2)} bits of entropy, and bits are cut there."
    return (
        "<section><h2>Lag by lag</h2>\n<p class='soft'>Lags in steps. Bold: above the inference control beyond chance "
        f"(95 % over all lags together).{told} Distance: root mean square in the semantic space.</p>\n"
        f"{table(head, rows)}</section>"
    )


def at(report: MemoryReport, name: str, k: int) -> float | None:
    control = report.controls[name]
    return None if control is None else float(control[k])


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
    note = "Steps from the beginning of the stream. Rows that differ show memory that drifts, or a text that changes."
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
    if value is None or not math.isfinite(value):
        return NO_MEASURE
    return f'<td class="shade" style="--kept:{min(max(value, 0.0), 1.0):.3f}">{number(value)}</td>'


def facts(report: MemoryReport) -> str:
    """What was measured and how."""
    rows = [(escape(name), escape(value)) for name, value in words.measured_facts(report)]
    return f"<section><h2>What was measured</h2>\n{table([], rows, 'facts')}</section>"


def comparison_section(prefix: str, title: str, note: str, comparison: Comparison) -> str:
    """Figure and tables of one comparison."""
    parts = [
        title,
        f"<p>{escape(note)}</p>" if note else "",
        f"<p>{escape(words.match_sentence(comparison))}</p>",
    ]
    parts.append(warnings_box(comparison.warnings))
    head = ["network", "unit", "trained", "parameters", "state floats", "state bytes", "operations a step"]
    costs = []
    for name, by_state in comparison.reports.items():
        report = next(iter(by_state.values()))[0]
        sizes = [words.count(report.model.get(key)) for key in words.COSTS]
        kind = escape(words.network_name(report))
        costs.append([escape(name), kind, words.trained_text(comparison, name), *sizes])
    parts += ["<h3>What each is and costs</h3>", table(head, costs)]
    for index, state in enumerate(words.states(comparison)):
        label = escape(f"Own retention by lag, {state} state: " + ", ".join(comparison.reports))
        drawn = figures(plot.comparison_svg(comparison, state, f"{prefix}{index}"), label)
        parts += [f"<h3>What is kept in the {escape(state)} state</h3>", f"<figure>{drawn}</figure>"]
        parts.append(kept_tables(comparison, state))
    return "<section>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def kept_tables(comparison: Comparison, state: str) -> str:
    """The indicators of each network, and its own retention at a few lags."""
    members = words.comparison_rows(comparison, state)
    head = ["network", "memory horizon (steps)", "own capacity (tokens)", "capacity (tokens)"]
    head += ["own half-life (steps)", "own span (steps)", "floats measured"]
    rows = [
        [escape(name), *(escape(words.kept(r, key)) for key in words.KEPT), words.measured_floats(r)]
        for name, r in members
    ]
    lags = members[0][1][0].lags.tolist()
    shown = [lags[k] for k in words.shown_lags(lags, SHOWN)]
    curves = [[escape(name), *(words.at_lag(r, lag) for lag in shown)] for name, r in members]
    return table(head, rows) + table(["own retention at lag", *map(str, shown)], curves)


def explained() -> str:
    """What the indicators of a comparison mean, once for the page."""
    wanted = ("memory horizon", "capacity", "half-life", "span")
    lines = "".join(
        f"<li><b>{name.capitalize()}</b>: {escape(means)} {escape(means_not)}</li>"
        for name, (_, means, means_not) in words.SENTENCES.items()
        if name in wanted
    )
    return (
        f"<section><h2>What the words mean</h2>\n<p>{escape(words.RETENTION)} Own retention counts only what the newer "
        f"tokens do not predict.</p>\n<ul>{lines}</ul></section>"
    )


def footer() -> str:
    return f"<footer><p>{escape(words.SOURCE)}</p><p>{escape(made_by())}</p></footer>"


def made_by() -> str:
    """`Made by rnnmem 0.1.0.`; without a number where the package runs from its sources."""
    try:
        return f"Made by rnnmem {metadata.version('rnnmem')}."
    except metadata.PackageNotFoundError:
        return "Made by rnnmem."
