"""The pictures of `sweeps.py`, a file for each sweep, and its section of docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import page

from rnnmem.drawing import legend, own_style, panels, png
from rnnmem.plot import DASHED, INFERENCE, NETWORKS, OWN, RAW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH, HEIGHT = 7.4, 2.9  # inches; the height of one panel, with what stands above and below
AXES = {
    "T": "T: steps",
    "H": "H: units, and numbers read a step",
    "B": "B: streams",
    "K": "K: lags",
    "d": "d: dimensions of the semantic space",
}
NAMES = {"H": "hidden", "B": "batch", "K": "lags", "d": "d"}
BINDS = {"operations": "multiply-adds", "weights": "reading weights"}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def base_words(results: dict[str, Any], sweep: str) -> str:
    """What stays as it is in a sweep."""
    base = results["base_of_T" if sweep == "T" else "base"]
    sizes = {name: base[key] for name, key in NAMES.items() if name != sweep}
    if "K" in sizes:
        sizes["K"] = len(sizes["K"])
    threads = results["machine"]["threads"]
    told = [base["unit"], *(f"{name} = {size}" for name, size in sizes.items())]
    return ", ".join(told) + f", {threads} thread{'s' * (threads > 1)}"


def figure_of(results: dict[str, Any], sweep: str) -> Figure:
    """Time and floor against the size, with the reached share at each point; for T, memory below."""
    rows = results["sweeps"][sweep]
    with own_style():
        figure, _, shown = panels([], False, 2 if sweep == "T" else 1)
        figure.set_size_inches(WIDTH, HEIGHT * (1 if len(shown) == 1 else 1.6))
        draw_time(shown[0], rows)
        if sweep == "T":
            draw_memory(shown[1], rows, results["base_of_T"])
        for panel in shown:
            draw_sizes(panel, [row["value"] for row in rows])
        shown[-1].set_xlabel(AXES[sweep], fontsize=9)
        found = [panel.get_legend_handles_labels() for panel in shown]
        handles = [handle for handles, _ in found for handle in handles]
        labels = [str(label) for _, labels in found for label in labels]
        legend(figure, handles, labels, 2, base_words(results, sweep))
        return figure


def draw_time(panel: Axes, rows: list[dict[str, Any]]) -> None:
    """µs a step, measured and at the least."""
    sizes, spent = [row["value"] for row in rows], [row["us"] for row in rows]
    least = [row["floor_us"] for row in rows]
    style: dict[str, Any] = {"linewidth": 1.6, "markersize": 4}
    label = "measured, with the share of the floor that is reached"
    panel.plot(sizes, spent, color=RAW, marker="o", label=label, **style)
    panel.plot(sizes, least, color=OWN, linestyle=DASHED, marker="s", label="floor", **style)
    logarithmic(panel, min(least) / 1.6, max(spent) * 2)
    panel.set_ylabel("µs a step", fontsize=9)
    for row in rows:
        place: dict[str, Any] = {"xytext": (-5, 6), "textcoords": "offset points", "ha": "center"}
        panel.annotate(f"{row['share_of_floor']:.0%}", (row["value"], row["us"]), fontsize=8, **place)


def draw_memory(panel: Axes, rows: list[dict[str, Any]], base: dict[str, Any]) -> None:
    """MiB above the idle process, and what the states of all steps would take."""
    sizes = [row["value"] for row in rows]
    a_step = 4 * base["batch"] * base["hidden"] / 2**20
    style: dict[str, Any] = {"linewidth": 1.6, "markersize": 4}
    extra = [row["extra_mib"] for row in rows]
    label = "peak of memory above the idle process"
    panel.plot(sizes, extra, color=NETWORKS[2], marker="^", label=label, **style)
    kept = [a_step * size for size in sizes]
    panel.plot(sizes, kept, color=INFERENCE, linestyle=":", linewidth=1.4, label="all states, were they kept")
    logarithmic(panel, min(extra + kept) / 1.6, max(extra + kept) * 2)
    panel.set_ylabel("MiB", fontsize=9)


def logarithmic(panel: Axes, low: float, high: float) -> None:
    """An axis of times or bytes, with as many numbers on it as can be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_yscale("log")
    panel.set_ylim(low, high)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    panel.yaxis.set_minor_formatter(NullFormatter())


def draw_sizes(panel: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with the sizes named that were measured, or powers of ten."""
    from matplotlib.ticker import FixedLocator, NullLocator

    panel.set_xscale("log")
    far = sizes[-1] / sizes[0] > 5000
    named = [size for size in sizes if not far or str(size).strip("0") == "1"]
    panel.xaxis.set_major_locator(FixedLocator(named))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: power(value) if far else f"{value:,.0f}")


def power(value: float) -> str:
    """A power of ten, as 10⁴."""
    return "10" + str(len(f"{value:.0f}") - 1).translate(SUPERSCRIPTS)


def table(rows: list[dict[str, Any]], sweep: str) -> str:
    """A line for each size."""
    memory = sweep == "T"
    lines = [
        f"| {sweep} | µs a step | floor, µs | share | binds the floor |" + " MiB above idle |" * memory,
        "|---|---|---|---|---|" + "---|" * memory,
    ]
    for row in rows:
        cells = [f"{row['value']:,}", f"{row['us']:,.2f}", f"{row['floor_us']:,.2f}"]
        cells += [f"{row['share_of_floor']:.0%}", BINDS[row["binds"]]]
        cells += [f"{row['extra_mib']:.1f}"] if memory else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(sweep: str) -> Path:
    """Where a sweep's picture is kept."""
    return DOCS / f"sweep-{sweep.lower()}.png"


def section(results: dict[str, Any]) -> str:
    """What stands between the marks."""
    parts = [f"`{results['command']}`: {page.heading(results['machine'])}"]
    for sweep, rows in results["sweeps"].items():
        words = f"Cost of a step against {AXES[sweep]}; {base_words(results, sweep)}"
        summary = f"<details><summary>{sweep} in numbers</summary>"
        parts += [
            f"### {AXES[sweep]}",
            f"![{words}]({picture(sweep).name})",
            f"{summary}\n\n{table(rows, sweep)}\n\n</details>",
        ]
    return "\n\n".join(parts)


def write(results: dict[str, Any]) -> None:
    """Draws all sweeps and writes the section."""
    for sweep in results["sweeps"]:
        picture(sweep).write_bytes(png(figure_of(results, sweep)))
    page.write(page.PERFORMANCE, "sweeps", section(results))
