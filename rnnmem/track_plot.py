"""The figure of a tracker: memory against training step."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnmem import track_words
from rnnmem.drawing import INK, backward, forward, lag_ticks, legend, own_style, panels, svg
from rnnmem.plot import DASHED, NETWORKS, OWN, RAW
from rnnmem.track_state import WHEN
from rnnmem.track_words import STEPS_BACK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rnnmem.track import Tracker

MOST_POINTS = 400
KEPT = (("capacity", RAW, "s"), ("own_capacity", OWN, "o"))
COLOURS = dict(zip(STEPS_BACK, (OWN, NETWORKS[2], NETWORKS[6], NETWORKS[3]), strict=True))
MARKS = dict(zip(STEPS_BACK, ("D", "^", "v", "P"), strict=True))


def track_figure(tracker: Tracker, *, narrow: bool = False, title: bool = False) -> Figure:
    """What is kept, and below it how far back, by training step.

    Args:
        tracker: what to draw.
        narrow: for a telephone.
        title: whether the headline stands above.
    """
    from matplotlib.ticker import MaxNLocator

    with own_style():
        curve = points(tracker)
        wanted = [draw_kept] if any(has(curve, name) for name, *_ in KEPT) else []
        wanted += [draw_back] if any(has(curve, name) for name in STEPS_BACK) else []
        figure, [(main, _)], low = panels([None], narrow, max(0, len(wanted) - 1))
        last = max(1.0, float(curve["step"][-1]))
        for panel, draw in zip([main, *low], wanted, strict=False):
            draw(panel, curve, int(tracker.report.lags[-1]))
        for panel in (main, *low):
            panel.set_xlim(-0.02 * last, 1.02 * last)
            panel.xaxis.set_major_locator(MaxNLocator(4 if narrow else 7, integer=True))
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bottom = (low or [main])[-1]
        bottom.set_xlabel("training step", fontsize=9)
        draw_failures(bottom, curve)
        found = [panel.get_legend_handles_labels() for panel in (main, *low)]
        handles = [handle for handles, _ in found for handle in handles]
        labels = [str(label) for _, labels in found for label in labels]
        told = textwrap.fill(track_words.headline(tracker), 46 if narrow else 90) if title else None
        legend(figure, handles, labels, 1 if narrow else 2, told)
        return figure


def track_svg(tracker: Tracker) -> tuple[str, str]:
    """The figure for a page, wide and narrow."""
    return svg(track_figure(tracker), "t"), svg(track_figure(tracker, narrow=True), "t")


def points(tracker: Tracker) -> dict[str, Any]:
    """The curve as arrays, NaN for None, of as many measurements as can be told apart."""
    chosen = track_words.thinned(len(tracker.curve["step"]), MOST_POINTS)
    return {
        name: np.array([math.nan if column[k] is None else float(column[k] or 0) for k in chosen])
        for name, column in tracker.curve.items()
    }


def has(curve: dict[str, Any], name: str) -> bool:
    return name in curve and bool(np.isfinite(curve[name]).any())


def draw_kept(panel: Axes, curve: dict[str, Any], last: int) -> None:
    """The capacities, with two standard errors to each side."""
    for name, colour, marker in KEPT:
        if has(curve, name):
            values, errors = curve[name], curve[f"{name}_se"]
            banded = bool(np.isfinite(errors).any())
            label = name.replace("_", " ") + (" (band: ± 2 standard errors)" if banded else "")
            sides = (values - 2 * errors, values + 2 * errors)
            panel.fill_between(curve["step"], *sides, color=colour, alpha=0.22, linewidth=0.5)
            panel.plot(curve["step"], values, color=colour, label=label, **style(curve, marker))
    panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
    panel.set_ylabel("tokens' worth kept", fontsize=9)


def draw_back(panel: Axes, curve: dict[str, Any], last: int) -> None:
    """What reaches so many steps back, on an axis of lags; dashed, the end of what was looked at."""
    shown = [name for name in STEPS_BACK if has(curve, name)]
    top = max(float(np.nanmax(curve[name])) for name in shown)
    for name in shown:
        look = style(curve, MARKS[name])
        panel.plot(curve["step"], curve[name], color=COLOURS[name], label=STEPS_BACK[name], **look)
    if top >= last / 2:
        panel.axhline(last, color=INK, linewidth=0.8, linestyle=DASHED, label="largest lag measured")
        top = max(top, last)
    panel.set_yscale("function", functions=(forward, backward))
    panel.set_ylim(-0.15, float(backward(forward(max(top, 1)) * 1.08)))
    panel.set_yticks(range(max(1, int(top)) + 1) if top <= 6 else lag_ticks(0, int(top), 8))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    panel.set_ylabel("steps back", fontsize=9)


def draw_failures(panel: Axes, curve: dict[str, Any]) -> None:
    """A cross at the foot where a measurement gave nothing."""
    rest = [column for name, column in curve.items() if name not in WHEN]
    failed = curve["step"][np.isnan(np.array(rest)).all(0)]
    if len(failed):
        look: dict[str, Any] = {"marker": "x", "markersize": 5, "linestyle": "none", "color": INK}
        look |= {"label": "no value", "transform": panel.get_xaxis_transform()}
        panel.plot(failed, np.full(len(failed), 0.05), **look)


def style(curve: dict[str, Any], marker: str) -> dict[str, Any]:
    """A line with marks, smaller where they crowd."""
    return {"marker": marker, "linewidth": 1.6, "markersize": 3.8 if len(curve["step"]) <= 60 else 1.6}
