"""Figures of a report and of a comparison, by matplotlib's object interface; nothing global stays changed."""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnmem import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from rnnmem.compare import Comparison
    from rnnmem.report import MemoryReport

# Okabe and Ito's colours, told apart by colour-blind readers; a page swaps each for a variable of its style sheet.
RAW, OWN, INK, GRID, PAPER = "#0072b2", "#d55e00", "#1f2328", "#d8dade", "#fefefe"
MEMORYLESS, WINDOW, INFERENCE = "#6b7178", "#7d848c", "#3b4046"
NETWORKS = ("#0072c2", "#d55f00", "#009e73", "#b0579a", "#56b4e9", "#c98a00", "#5f6670")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOWEST = -0.3
DOTS = 160
NAMES: dict[str, Any] = {"fontsize": 8.5, "title_fontsize": 9.5, "borderpad": 0.2}


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults and our few changes, whatever the user has set; theirs come back."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a network may be named in any script
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "rnnmem",
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": INK,
                "axes.labelcolor": INK,
                "text.color": INK,
                "xtick.color": INK,
                "ytick.color": INK,
                "text.parse_math": False,
                "legend.frameon": False,
            }
        )
        yield


def report_figure(report: MemoryReport, *, narrow: bool = False, title: bool = False) -> Figure:
    """The two curves with 95 % bands and the controls, and below them what happens near zero.

    Args:
        report: what to draw.
        narrow: for a telephone.
        title: whether the headline stands above.
    """
    with own_style():
        figure, axes = panels(1, [near_zero_top(report)], narrow)
        main = axes[0]
        draw_curves(main, report)
        draw_lag_axis([panel for panel in axes if panel], [report], narrow)
        main.set_ylim(lowest([report]), 1.02)
        main.set_ylabel("retention")
        if (zoom := axes[1]) is not None:
            draw_near_zero(zoom, report)
        legend(
            figure,
            main,
            textwrap.fill(words.headline(report), 46 if narrow else 90) if title else None,
            narrow,
        )
        return figure


def comparison_figure(
    comparison: Comparison, chosen: list[str] | None = None, *, narrow: bool = False
) -> Figure:
    """Own retention of all networks (and retention, thin) by lag, a pair of panels for each state.

    Args:
        comparison: what to draw.
        chosen: which states, all by default.
        narrow: for a telephone.
    """
    with own_style():
        shown = words.states(comparison) if chosen is None else chosen
        members = [words.comparison_rows(comparison, state) for state in shown]
        reports = [[report for _, seeds in rows for report in seeds] for rows in members]
        tops = [max((near_zero_top(r) or 0.0 for r in group), default=0.0) or None for group in reports]
        figure, axes = panels(len(shown), tops, narrow)
        order = list(comparison.reports)
        for i, state in enumerate(shown):
            main, zoom = axes[2 * i : 2 * i + 2]
            assert main is not None
            pair = [panel for panel in (main, zoom) if panel]
            for panel in pair:
                for name, seeds in members[i]:
                    draw_network(panel, seeds, order.index(name), thin=panel is main)
            draw_lag_axis(pair, reports[i], narrow)
            main.set_ylim(lowest(reports[i]), 1.02)
            main.set_ylabel(f"own retention\n({state} state)")
            if zoom is not None:
                zoom.set_ylim(near_zero_bottom(reports[i], tops[i] or 1.0), tops[i])
                zoom.set_ylabel("near zero")
        name_networks(figure, order, narrow)
        return figure


def panels(pairs: int, tops: list[float | None], narrow: bool) -> tuple[Figure, list[Axes | None]]:
    """A figure with a tall panel for each pair and, where there is a top, a low one near zero below it."""
    from matplotlib.figure import Figure

    ratios = [part for top in tops for part in ((3.0, 1.7) if top else (3.0,))]
    width, unit = (3.9, 0.88) if narrow else (7.4, 0.92)
    figure = Figure(figsize=(width, unit * sum(ratios) + (1.5 if narrow else 0.9)), layout="constrained")
    grid = figure.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    found, axes = iter(grid), []
    for top in tops[:pairs]:
        axes += [next(found), next(found) if top else None]
    for panel in grid:
        panel.grid(True, color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.axhline(0, color=INK, linewidth=0.8)
        panel.tick_params(labelsize=8.5)
    return figure, axes


def draw_curves(panel: Axes, report: MemoryReport) -> None:
    lags = report.lags.numpy()
    order = report.settings.get("innovation_order", "few")
    # The first is the wider one, so that both are seen where they coincide.
    for own, colour, marker, width, name in (
        (False, RAW, "o", 3.0, "retention"),
        (True, OWN, "s", 1.4, "own retention"),
    ):
        band(panel, report, own, colour)
        values = report.curve(own).retention.numpy()
        label = f"{name} (band: 95 %)" if report.own.judged else name
        panel.plot(
            lags, values, color=colour, marker=marker, markersize=2.2 + width, linewidth=width, label=label
        )
    for key, colour, style, label in (
        ("memoryless", MEMORYLESS, ":", "control: the current token alone"),
        ("window", WINDOW, "--", f"control: the last {order} tokens"),
    ):
        if (control := report.controls[key]) is not None:
            panel.plot(lags, control.numpy(), color=colour, linestyle=style, linewidth=1.4, label=label)
    inference_points(panel, report)


def inference_points(panel: Axes, report: MemoryReport) -> None:
    inference, error = report.controls["inference"], report.controls["inference_se"]
    if inference is None or error is None:
        return
    bars = 1.96 * np.nan_to_num(error.numpy())
    style: dict[str, Any] = {
        "fmt": "D",
        "markersize": 3.8,
        "capsize": 2.5,
        "elinewidth": 1.1,
        "linestyle": "none",
    }
    label = "control: inference (bars: 95 %)"
    panel.errorbar(
        report.lags.numpy(), inference.numpy(), bars, color=INFERENCE, label=label, zorder=4, **style
    )


def draw_near_zero(panel: Axes, report: MemoryReport) -> None:
    """Own retention against the inference control, where the headline is decided."""
    band(panel, report, True, OWN)
    values = report.own_retention.numpy()
    panel.plot(report.lags.numpy(), values, color=OWN, marker="s", markersize=3.6, linewidth=1.8)
    inference_points(panel, report)
    top = near_zero_top(report)
    assert top is not None
    panel.set_ylim(near_zero_bottom([report], top), top)
    panel.set_ylabel("near zero")
    if report.memory_horizon:
        panel.axvline(report.memory_horizon, color=OWN, linewidth=1.2, linestyle=(0, (4, 2)))
        note = f"dashed: memory horizon, {words.plural(report.memory_horizon, 'step')}"
        panel.set_title(note, fontsize=8.5, loc="right", color=OWN)


def draw_network(panel: Axes, seeds: list[MemoryReport], index: int, thin: bool) -> None:
    colour = NETWORKS[index % len(NETWORKS)]
    marker = MARKERS[(index + index // len(NETWORKS)) % len(MARKERS)]
    for report in seeds:
        lags = report.lags.numpy()
        values, reach = report.own_retention.numpy(), report.memory_horizon or 0
        band(panel, report, True, colour)
        if thin:
            panel.plot(lags, report.retention.numpy(), color=colour, linewidth=0.8, linestyle=(0, (4, 2)))
        panel.plot(lags, values, color=colour, linewidth=1.7)
        for part, face in ((lags <= reach, colour), (lags > reach, PAPER)):
            style: dict[str, Any] = {"marker": marker, "markersize": 4.4, "linestyle": "none"}
            panel.plot(lags[part], values[part], color=colour, markerfacecolor=face, **style)


def band(panel: Axes, report: MemoryReport, own: bool, colour: str) -> None:
    low, high = report.interval(own)
    if report.own.judged:
        panel.fill_between(
            report.lags.numpy(), low.numpy(), high.numpy(), color=colour, alpha=0.22, linewidth=0.5
        )


def near_zero_top(report: MemoryReport) -> float | None:
    """Up to where the lower panel reaches: a few times the inference control; None where it would show nothing new."""
    tested = words.tested_lags(report)
    if not tested:
        return None
    inference, error = report.controls["inference"], report.controls["inference_se"]
    assert inference is not None and error is not None
    highest = float(np.nanmax((inference + 2 * error.nan_to_num())[report.lags >= 1].numpy()))
    top = max(0.02, 2.5 * highest)
    return top if top < 0.5 else None


def near_zero_bottom(reports: list[MemoryReport], top: float) -> float:
    """Low enough for the bands and bars near zero to be seen whole."""
    ends = [-0.15 * top]
    for report in reports:
        low, high = report.interval(own=True)
        ends += [1.1 * float(a) for a, b in zip(low, high, strict=True) if float(b) < top]
        inference, error = report.controls["inference"], report.controls["inference_se"]
        if inference is not None and error is not None:
            ends += [1.1 * v for v in (inference - 1.96 * error).tolist() if math.isfinite(v)]
    return max(-top, min(ends))


def lowest(reports: list[MemoryReport]) -> float:
    """Slightly below 0, lower where a curve is."""
    values = [
        float(v)
        for r in reports
        for curve in (r.retention, r.own_retention)
        for v in curve
        if math.isfinite(v)
    ]
    return max(LOWEST, min([-0.04, *(v - 0.03 for v in values)]))


def draw_lag_axis(axes: list[Axes], reports: list[MemoryReport], narrow: bool) -> None:
    """An axis even in log(lag + 1), so that lag 0 has its place, with powers of two named."""
    last = max((int(r.lags[-1]) for r in reports), default=1)
    first = min((int(r.lags[0]) for r in reports), default=0)
    for panel in axes:
        panel.set_xscale("function", functions=(forward, backward))
        left, right = forward(np.array([first, max(last, first + 1)], dtype=float))
        room = 0.03 * (right - left)
        panel.set_xlim(float(backward(left - room)), float(backward(right + room)))
        panel.set_xticks(lag_ticks(first, last, 8 if narrow else 12), minor=False)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes[-1].set_xlabel("lag: steps back (0: the current token)", fontsize=9)


def forward(lag: Any) -> Any:
    return np.log2(np.maximum(np.asarray(lag, dtype=float), -0.9) + 1)


def backward(value: Any) -> Any:
    return np.exp2(value) - 1


def lag_ticks(first: int, last: int, most: int) -> list[int]:
    """0 and powers of two between first and last, at most about so many, and last where there is room for it."""
    powers = [2**i for i in range(last.bit_length()) if first <= 2**i <= last]
    stride = max(1, math.ceil(len(powers) / (most - 1)))
    ticks = ([0] if first == 0 else [first] if first not in powers else []) + powers[::stride]
    ticks = [t for i, t in enumerate(ticks) if i == 0 or t >= 1.4 * ticks[0]]
    return ticks if last < 1.5 * ticks[-1] else [*ticks, last]


def legend(figure: Figure, panel: Axes, title: str | None, narrow: bool) -> None:
    """Names the curves above the panels, never over data."""
    handles, labels = panel.get_legend_handles_labels()
    place(
        figure.legend(
            handles, labels, loc="outside upper left", ncols=1 if narrow else 2, title=title, **NAMES
        )
    )


def place(made: Legend) -> None:
    made.set_alignment("left")


def name_networks(figure: Figure, names: list[str], narrow: bool) -> None:
    """Names the networks above the panels, and tells thick from thin."""
    from matplotlib.lines import Line2D

    handles = []
    for index in range(len(names)):
        colour = NETWORKS[index % len(NETWORKS)]
        marker = MARKERS[(index + index // len(NETWORKS)) % len(MARKERS)]
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=1.7))
    handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 2))))
    title = "Filled marks: more than inference accounts for. Hollow: no longer told apart, or not tested."
    title = textwrap.fill(title, 50 if narrow else 110)
    keys = [
        f"n{i}" for i in range(len(handles))
    ]  # matplotlib would drop a name that begins with an underscore
    made = figure.legend(
        handles, keys, loc="outside upper left", ncols=2 if narrow else 4, title=title, **NAMES
    )
    place(made)
    texts = [textwrap.shorten(name, 28, placeholder="...") for name in names]
    for label, text in zip(made.get_texts(), [*texts, "retention"], strict=True):
        label.set_text(text)


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    with own_style(), io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=DOTS)
        return file.getvalue()


def report_svg(report: MemoryReport, prefix: str) -> tuple[str, str]:
    """The report's figure for a page, wide and narrow."""
    wide, narrow = (report_figure(report, narrow=narrow) for narrow in (False, True))
    return svg(wide, f"{prefix}w"), svg(narrow, f"{prefix}n")


def comparison_svg(comparison: Comparison, state: str, prefix: str) -> tuple[str, str]:
    """The comparison's figure of one state for a page, wide and narrow."""
    wide, narrow = (comparison_figure(comparison, [state], narrow=narrow) for narrow in (False, True))
    return svg(wide, f"{prefix}w"), svg(narrow, f"{prefix}n")


def svg(figure: Figure, prefix: str) -> str:
    """The figure as an <svg> to put into a page: colours from the page's style sheet, names of its own.

    Args:
        figure: what to draw.
        prefix: what every id begins with, different for each figure of a page.
    """
    with own_style(), io.StringIO() as file:
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\n?|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r"(fill|stroke): #([0-9a-f]{6})", r"\1: var(--c-\2, #\2)", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    return f"<svg {box[0]}>" + text[text.index(">") + 1 :].strip()
