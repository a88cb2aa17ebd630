"""The figures: what one network keeps by lag, and several networks side by side."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnmem import comparison_words, dynamics_words, words
from rnnmem.drawing import INK, PAPER, TEXT, draw_lag_axis, legend, own_style, panels, svg

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from rnnmem.comparison import Comparison
    from rnnmem.forgetting import Forgetting
    from rnnmem.learning import Learnable
    from rnnmem.report import MemoryReport

# After Okabe and Ito, told apart by colour-blind readers; marks and dashes tell curves apart in grey.
RAW, OWN, INFERENCE, MEMORYLESS, WINDOW = "#0072b2", "#d55e00", "#3b4046", "#6b7178", "#7d848c"
NETWORKS = ("#0072c2", "#d55f00", "#009e73", "#b0579a", "#56b4e9", "#c98a00", "#5f6670")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHED = (0, (4, 2))
LOWEST = -0.3
LEAST, MOST = 1e-4, 1e4  # where logarithmic axes end
MARKED = "Filled marks: more than inference accounts for. Hollow: no longer told apart, or not tested."


def report_figure(report: MemoryReport, *, narrow: bool = False, title: bool = False) -> Figure:
    """The two curves with 95 % bands and the controls, and below them what happens near zero.

    Args:
        report: what to draw.
        narrow: for a telephone.
        title: whether the headline stands above.
    """
    with own_style():
        drawn = dynamics([report])
        figure, [(main, zoom)], low = panels([near_zero_top(report)], narrow, len(drawn))
        draw_curves(main, report)
        above = [main] if zoom is None else [main, zoom]
        draw_lag_axis([*above, *low], int(report.lags[0]), int(report.lags[-1]), narrow)
        for panel, draw in zip(low, drawn, strict=True):
            draw(panel, report, OWN, True)
        main.set_ylim(lowest([report]), 1.02)
        main.set_ylabel("retention")
        if zoom is not None:
            draw_near_zero(zoom, report)
        told = textwrap.fill(words.headline(report), 46 if narrow else 90) if title else None
        handles, labels = main.get_legend_handles_labels()
        legend(figure, handles, labels, 1 if narrow else 2, told)
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
        everyone = [report for group in groups for report in group]
        drawn = dynamics(everyone)
        figure, axes, low = panels(tops, narrow, len(drawn))
        order = list(comparison.reports)
        for state, rows, group, top, (main, zoom) in zip(shown, found, groups, tops, axes, strict=True):
            for name, seeds in rows:
                draw_network(main, seeds, order.index(name), thin=True)
                if zoom is not None:
                    draw_network(zoom, seeds, order.index(name), thin=False)
            first, last = min(int(r.lags[0]) for r in group), max(int(r.lags[-1]) for r in group)
            last_pair = low if state == shown[-1] else []
            draw_lag_axis([main, *([] if zoom is None else [zoom]), *last_pair], first, last, narrow)
            main.set_ylim(lowest(group), 1.02)
            main.set_ylabel(f"own retention\n({state} state)")
            if zoom is not None and top is not None:
                zoom.set_ylim(near_zero_bottom(group, top), top)
                zoom.set_ylabel("near zero")
        for panel, draw in zip(low, drawn, strict=True):
            for name, seeds in found[0]:
                for report in seeds:
                    draw(panel, report, look(order.index(name))[0], False)
        name_networks(figure, order, narrow)
        return figure


def dynamics(reports: list[MemoryReport]) -> list[Callable[[Axes, MemoryReport, str, bool], None]]:
    """What draws the curves besides what is kept, of which any of the reports has one."""
    measures = {"forgotten": draw_forgotten, "learnable": draw_learnable, "used": draw_used}
    return [draw for name, draw in measures.items() if any(getattr(r, name) is not None for r in reports)]


def draw_forgotten(panel: Axes, report: MemoryReport, colour: str, alone: bool) -> None:
    """Twins' distance by step, even in its logarithm; alone: with its quantiles and the twins by inputs."""
    if (found := report.forgotten) is None:
        return
    logarithmic(panel, "forgotten:\ntwins' distance", float(found.q90.max()))
    steps = found.lags.numpy()
    if alone:
        panel.fill_between(steps, *spread(found), color=colour, alpha=0.22, linewidth=0.5)
        if (inputs := report.forgotten_inputs) is not None:
            style: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":", "color": INFERENCE}
            panel.plot(inputs.lags.numpy(), visible(inputs.median), **style)
        panel.set_title(dynamics_words.forgotten_note(report), fontsize=TEXT, loc="right")
    panel.plot(steps, visible(found.median), color=colour, linewidth=1.6)


def draw_learnable(panel: Axes, report: MemoryReport, colour: str, alone: bool) -> None:
    """A gradient's length by how far it was pulled back, even in its logarithm."""
    if (found := report.learnable) is None:
        return
    logarithmic(panel, "learnable:\ngradient's length", float(found.gain.max()))
    if alone:
        panel.fill_between(found.lags.numpy(), *spread(found), color=colour, alpha=0.22, linewidth=0.5)
        panel.set_title(dynamics_words.learnable_note(report), fontsize=TEXT, loc="right")
    panel.plot(found.lags.numpy(), visible(found.gain), color=colour, linewidth=1.6)


def draw_used(panel: Axes, report: MemoryReport, colour: str, alone: bool) -> None:
    """Bits lost by ending the context so many steps back."""
    if (found := report.used) is None:
        return
    panel.set_ylabel("used:\nbits lost", fontsize=9)
    panel.axhline(0, color=INK, linewidth=0.8)
    steps, values = (found.lengths - 1).numpy(), found.excess.numpy()
    if alone:
        half = 1.96 * found.excess_se.nan_to_num().numpy()
        panel.fill_between(steps, values - half, values + half, color=colour, alpha=0.22, linewidth=0.5)
        for curve, dash in ((found.loss_after_unrelated, ":"), (found.loss_shuffled, "--")):
            if curve is not None:
                beyond = (curve - found.loss[-1]).numpy()
                panel.plot(steps, beyond, color=INFERENCE, linewidth=1.2, linestyle=dash)
        panel.set_title(dynamics_words.used_note(report), fontsize=TEXT, loc="right")
    panel.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=2.6)


def logarithmic(panel: Axes, name: str, highest: float = 1.0) -> None:
    """An axis even in the logarithm, with a line where a hundredth is left."""
    panel.set_yscale("log")
    top = max(panel.get_ylim()[1] if panel.lines else 3.0, min(2 * highest, MOST))
    panel.set_ylim(LEAST, top)
    panel.set_yticks([level for level in (1e-4, 1e-2, 1, 100) if level <= top], minor=False)
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    panel.axhline(0.01, color=INK, linewidth=0.8, linestyle=DASHED)
    panel.set_ylabel(name, fontsize=9)


def spread(found: Forgetting | Learnable) -> tuple[Any, Any]:
    """The 10 % and the 90 % quantile, for a logarithmic axis."""
    return visible(found.q10), visible(found.q90)


def visible(values: Tensor) -> Any:
    """Values that a logarithmic axis can show: nothing below its end."""
    return values.clamp(min=LEAST / 10).numpy()


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
        ("linear_own", OWN, "-.", "own retention, linear reading"),
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
    ends = (inference + 2 * error.nan_to_num())[report.lags >= 1]
    if bool(ends.isnan().all()):
        return None
    highest = float(np.nanmax(ends.numpy()))
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
