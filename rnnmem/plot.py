"""The figures: what one network keeps by lag, and several networks side by side."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnmem import comparison_words, words
from rnnmem.drawing import INK, PAPER, TEXT, draw_lag_axis, legend, own_style, panels, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rnnmem.compare import Comparison
    from rnnmem.report import MemoryReport

# After Okabe and Ito, told apart by colour-blind readers; marks and dashes tell curves apart in grey.
RAW, OWN, INFERENCE, MEMORYLESS, WINDOW = "#0072b2", "#d55e00", "#3b4046", "#6b7178", "#7d848c"
NETWORKS = ("#0072c2", "#d55f00", "#009e73", "#b0579a", "#56b4e9", "#c98a00", "#5f6670")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHED = (0, (4, 2))
LOWEST = -0.3
MARKED = "Filled marks: more than inference accounts for. Hollow: no longer told apart, or not tested."


def report_figure(report: MemoryReport, *, narrow: bool = False, title: bool = False) -> Figure:
    """The two curves with 95 % bands and the controls, and below them what happens near zero.

    Args:
        report: what to draw.
        narrow: for a telephone.
        title: whether the headline stands above.
    """
    with own_style():
        figure, [(main, zoom)] = panels([near_zero_top(report)], narrow)
        draw_curves(main, report)
        draw_lag_axis(main, zoom, int(report.lags[0]), int(report.lags[-1]), narrow)
        main.set_ylim(lowest([report]), 1.02)
        main.set_ylabel("retention")
        if zoom is not None:
            draw_near_zero(zoom, report)
        above = textwrap.fill(words.headline(report), 46 if narrow else 90) if title else None
        handles, labels = main.get_legend_handles_labels()
        legend(figure, handles, labels, 1 if narrow else 2, above)
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
        shown = comparison_words.states(comparison) if chosen is None else chosen
        found = [comparison_words.members(comparison, state) for state in shown]
        groups = [[report for _, seeds in rows for report in seeds] for rows in found]
        tops = [max((near_zero_top(r) or 0.0 for r in group), default=0.0) or None for group in groups]
        figure, axes = panels(tops, narrow)
        order = list(comparison.reports)
        for state, rows, group, top, (main, zoom) in zip(shown, found, groups, tops, axes, strict=True):
            for name, seeds in rows:
                draw_network(main, seeds, order.index(name), thin=True)
                if zoom is not None:
                    draw_network(zoom, seeds, order.index(name), thin=False)
            first, last = min(int(r.lags[0]) for r in group), max(int(r.lags[-1]) for r in group)
            draw_lag_axis(main, zoom, first, last, narrow)
            main.set_ylim(lowest(group), 1.02)
            main.set_ylabel(f"own retention\n({state} state)")
            if zoom is not None and top is not None:
                zoom.set_ylim(near_zero_bottom(group, top), top)
                zoom.set_ylabel("near zero")
        name_networks(figure, order, narrow)
        return figure


def report_svg(report: MemoryReport) -> tuple[str, str]:
    """The report's figure for a page, wide and narrow."""
    return svg(report_figure(report)), svg(report_figure(report, narrow=True))


def comparison_svg(comparison: Comparison, state: str, name: str) -> tuple[str, str]:
    """The comparison's figure of one state for a page, wide and narrow; `name` begins its ids."""
    wide, narrow = (comparison_figure(comparison, [state], narrow=narrow) for narrow in (False, True))
    return svg(wide, name), svg(narrow, name)


def draw_curves(panel: Axes, report: MemoryReport) -> None:
    """Retention and own retention with their bands, and the controls."""
    lags = report.lags.numpy()
    # The first is the wider one, so that both are seen where they coincide.
    for own, colour, marker, width, name in (
        (False, RAW, "o", 3.0, "retention"),
        (True, OWN, "s", 1.4, "own retention"),
    ):
        band(panel, report, own, colour)
        label = f"{name} (band: 95 %)" if report.own.judged else name
        style: dict[str, Any] = {"marker": marker, "markersize": 2.2 + width, "linewidth": width}
        panel.plot(lags, report.curve(own).retention.numpy(), color=colour, label=label, **style)
    for key, colour, dash, label in (
        ("memoryless", MEMORYLESS, ":", "control: the current token alone"),
        ("window", WINDOW, "--", f"control: {words.window_text(report)}"),
    ):
        if (values := report.controls[key]) is not None:
            panel.plot(lags, values.numpy(), color=colour, linestyle=dash, linewidth=1.4, label=label)
    inference_points(panel, report)


def inference_points(panel: Axes, report: MemoryReport) -> None:
    """The inference control where it was sampled, with bars of 95 %."""
    inference, error = report.controls["inference"], report.controls["inference_se"]
    if inference is None or error is None:
        return
    bars = 1.96 * np.nan_to_num(error.numpy())
    style: dict[str, Any] = {"fmt": "D", "markersize": 3.8, "capsize": 2.5, "elinewidth": 1.1, "zorder": 4}
    label = "control: inference (bars: 95 %)"
    panel.errorbar(report.lags.numpy(), inference.numpy(), bars, color=INFERENCE, label=label, **style)


def draw_near_zero(panel: Axes, report: MemoryReport) -> None:
    """Own retention against the inference control, where the headline is decided."""
    band(panel, report, True, OWN)
    values = report.own_retention.numpy()
    panel.plot(report.lags.numpy(), values, color=OWN, marker="s", markersize=3.6, linewidth=1.6)
    inference_points(panel, report)
    top = near_zero_top(report) or 1.0
    panel.set_ylim(near_zero_bottom([report], top), top)
    panel.set_ylabel("near zero")
    if report.memory_horizon:
        panel.axvline(report.memory_horizon, color=OWN, linewidth=1.2, linestyle=DASHED)
        note = f"dashed: memory horizon, {words.plural(report.memory_horizon, 'step')}"
        panel.set_title(note, fontsize=TEXT, loc="right", color=OWN)


def draw_network(panel: Axes, seeds: list[MemoryReport], index: int, thin: bool) -> None:
    """Own retention of one network, a curve for each seed; thin lines of retention where asked for."""
    colour, marker = look(index)
    for report in seeds:
        lags, values, reach = report.lags.numpy(), report.own_retention.numpy(), report.memory_horizon or 0
        band(panel, report, True, colour)
        if thin:
            panel.plot(lags, report.retention.numpy(), color=colour, linewidth=0.8, linestyle=DASHED)
        panel.plot(lags, values, color=colour, linewidth=1.7)
        for part, face in ((lags <= reach, colour), (lags > reach, PAPER)):
            style: dict[str, Any] = {"marker": marker, "markersize": 4.4, "linestyle": "none"}
            panel.plot(lags[part], values[part], color=colour, markerfacecolor=face, **style)


def look(index: int) -> tuple[str, str]:
    """Colour and mark of the network at this place; both together repeat after 49."""
    return NETWORKS[index % len(NETWORKS)], MARKERS[(index + index // len(NETWORKS)) % len(MARKERS)]


def name_networks(figure: Figure, names: list[str], narrow: bool) -> None:
    """Names the networks above the panels, and tells thick from thin and filled from hollow."""
    from matplotlib.lines import Line2D

    handles = []
    for index in range(len(names)):
        colour, marker = look(index)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=1.7))
    handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHED))
    texts = [name if len(name) <= 24 else f"{name[:21]}..." for name in names]
    columns = (2 if narrow else 4) if max(map(len, texts)) <= 12 else (1 if narrow else 2)
    title = textwrap.fill(MARKED, 50 if narrow else 110)
    legend(figure, handles, [*texts, "retention, newer tokens' help included"], columns, title)


def band(panel: Axes, report: MemoryReport, own: bool, colour: str) -> None:
    """The 95 % interval, where there are blocks enough for one."""
    if report.own.judged:
        low, high = (end.numpy() for end in report.interval(own))
        panel.fill_between(report.lags.numpy(), low, high, color=colour, alpha=0.22, linewidth=0.5)


def near_zero_top(report: MemoryReport) -> float | None:
    """Where the lower panel ends: at a few times the inference control; None where it shows nothing new."""
    inference, error = report.controls["inference"], report.controls["inference_se"]
    if inference is None or error is None or not words.tested_lags(report):
        return None
    highest = float(np.nanmax((inference + 2 * error.nan_to_num())[report.lags >= 1].numpy()))
    top = max(0.02, 2.5 * highest)
    return top if top < 0.5 else None


def near_zero_bottom(reports: list[MemoryReport], top: float) -> float:
    """Low enough for the bands and bars near zero to be seen whole."""
    ends = [-0.15 * top]
    for report in reports:
        low, high = report.interval(own=True)
        ends += [1.1 * a for a, b in zip(low.tolist(), high.tolist(), strict=True) if b < top]
        inference, error = report.controls["inference"], report.controls["inference_se"]
        if inference is not None and error is not None:
            ends += [1.1 * v for v in (inference - 1.96 * error).tolist() if math.isfinite(v)]
    return max(-top, min(ends))


def lowest(reports: list[MemoryReport]) -> float:
    """Slightly below 0, lower where a curve is."""
    curves = [curve.tolist() for r in reports for curve in (r.retention, r.own_retention)]
    values = [value for curve in curves for value in curve if math.isfinite(value)]
    return max(LOWEST, min([-0.04, *(value - 0.03 for value in values)]))
