"""A tracker as a page: the curve by training step, then the latest report whole."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rnnmem import track_words, words
from rnnmem.indicator_words import SENTENCES
from rnnmem.page import figures, footer, page, report_sections, text_table, warnings_box, wrap
from rnnmem.track_plot import track_svg
from rnnmem.track_words import STEPS_BACK

if TYPE_CHECKING:
    from rnnmem.track import Tracker

SHOWN = 24  # measurements in the table


def track_page(tracker: Tracker) -> str:
    """A whole page: the answer, the curve, the measurements, and the latest report."""
    latest = track_words.moment(tracker.report.settings["training_step"])
    heading = f"<h2>The latest measurement, {escape(latest)}</h2>"
    body = [answer(tracker), warnings_box(tracker.warnings), measurements(tracker), heading]
    body += [*report_sections(tracker.report, "h3"), footer()]
    return page(f"What this {words.network_name(tracker.report)} remembers, by training step", body)


def track_fragment(tracker: Tracker) -> str:
    """The answer, figure and warnings, for a notebook's cell."""
    return wrap([answer(tracker), warnings_box(tracker.warnings), footer()])


def answer(tracker: Tracker) -> str:
    """Headline, evidence, and the figure with what its curves are."""
    report = tracker.report
    kicker = f"Memory by training step: {words.network_name(report)}, {report.settings['state']} state"
    headline = escape(track_words.headline(tracker))
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in track_words.evidence(tracker))
    keys = {name: SENTENCES[name][1] for name in ("capacity",)}
    keys["own capacity"] = "The same, of what an affine prediction from the newer tokens leaves over."
    keys |= {name: SENTENCES[name][1] for key, name in STEPS_BACK.items() if key in tracker.curve}
    lines = "".join(f"<li><b>{name.capitalize()}</b>: {escape(text)}</li>" for name, text in keys.items())
    drawn = figures(track_svg(tracker), f"Memory by training step. {headline}")
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{headline}</h1>{told}</header>\n'
        f"<figure>{drawn}\n<figcaption><ul>{lines}</ul></figcaption></figure>"
    )


def measurements(tracker: Tracker) -> str:
    """The curve as a table."""
    head, rows = track_words.table(tracker, SHOWN)
    note = track_words.thinned_note(tracker, SHOWN)
    told = "" if note is None else f'<p class="soft">{escape(note)}</p>\n'
    return f"<section><h2>Measurement by measurement</h2>\n{told}{text_table(head, rows)}</section>"
