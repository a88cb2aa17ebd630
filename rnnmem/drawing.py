"""What every figure shares: style, panels, the axis of lags, and its way into a file or a page.

Matplotlib is used by its object interface and imported when first drawn with; its global settings are the
user's and stay as they were.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A page swaps each of these for a variable of its style sheet, so that figures follow it into the dark.
INK, GRID, PAPER = "#1f2328", "#d8dade", "#fefefe"
DOTS = 160
TEXT = 8.5
OWN_SETTINGS: Any = {
    "svg.hashsalt": "rnnmem",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's defaults and a few changes, whatever the user has set; theirs come back."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a network may be named in any script
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(OWN_SETTINGS)
        yield


def panels(
    tops: list[float | None], narrow: bool, low: int = 0
) -> tuple[Figure, list[tuple[Axes, Axes | None]], list[Axes]]:
    """A figure with a tall panel for each top and, where that is not None, a low one near zero below it.

    Args:
        tops: see above.
        narrow: for a telephone.
        low: how many more low panels stand below all.
    """
    from matplotlib.figure import Figure

    ratios = [part for top in tops for part in ((3.0, 1.7) if top else (3.0,))] + [1.7] * low
    width, unit = (3.9, 0.88) if narrow else (7.4, 0.92)
    figure = Figure(figsize=(width, unit * sum(ratios) + (1.5 if narrow else 0.9)), layout="constrained")
    grid = figure.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    for panel in grid:
        panel.grid(True, color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=TEXT)
    free = iter(grid)
    for panel in grid[: len(ratios) - low]:
        panel.axhline(0, color=INK, linewidth=0.8)
    pairs = [(next(free), next(free) if top else None) for top in tops]
    return figure, pairs, list(free)


def draw_lag_axis(shown: list[Axes], first: int, last: int, narrow: bool) -> None:
    """An axis even in log(lag + 1), so that lag 0 has its place, with powers of two named; under the last."""
    left, right = forward(np.array([first, max(last, first + 1)], dtype=float))
    room = 0.03 * (right - left)
    for panel in shown:
        panel.set_xscale("function", functions=(forward, backward))
        panel.set_xlim(float(backward(left - room)), float(backward(right + room)))
        panel.set_xticks(lag_ticks(first, last, 8 if narrow else 12))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    shown[-1].set_xlabel("lag: steps back (0: the current token)", fontsize=9)


def forward(lag: Any) -> Any:
    """Where a lag lies on the axis."""
    return np.log2(np.maximum(np.asarray(lag, dtype=float), -0.9) + 1)


def backward(value: Any) -> Any:
    """Which lag lies there."""
    return np.exp2(value) - 1


def lag_ticks(first: int, last: int, most: int) -> list[int]:
    """0 and powers of two from first to last, at most so many, and last where there is room for it."""
    powers = [2**i for i in range(last.bit_length()) if first <= 2**i <= last]
    stride = max(1, math.ceil(len(powers) / (most - 2)))
    ticks = [first, *(power for power in powers[::stride] if power > 1.2 * first)]
    return [*ticks, last] if last >= max(1.5 * ticks[-1], 1) else ticks


def legend(
    figure: Figure, handles: list[Any], texts: list[str], columns: int, title: str | None = None
) -> None:
    """Names the curves above the panels, never over data."""
    keys = [
        f"curve {i}" for i in range(len(handles))
    ]  # matplotlib drops a name that begins with an underscore
    sizes: dict[str, Any] = {"fontsize": TEXT, "title_fontsize": 9.5, "borderpad": 0.2}
    shown = None if title is None else drawable(title)
    made = figure.legend(handles, keys, loc="outside upper left", ncols=columns, title=shown, **sizes)
    made.set_alignment("left")
    for label, text in zip(made.get_texts(), texts, strict=True):
        label.set_text(drawable(text))


def drawable(text: str) -> str:
    """Text that matplotlib takes: half a surrogate pair is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    with own_style(), io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=DOTS)
        return file.getvalue()


def svg(figure: Figure, name: str = "f") -> str:
    """The figure as an <svg> to put into a page: colours from the page's style sheet, ids of its own.

    Args:
        figure: what to draw.
        name: begins every id; needed where the same figure comes twice in a page.
    """
    with own_style(), io.StringIO() as file:
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\n?|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = f"{name}{zlib.crc32(text.encode()):08x}"  # different figures of a notebook share no id
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r"(fill|stroke): #([0-9a-f]{6})", r"\1: var(--c-\2, #\2)", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    return f"<svg {box[0]}>" + text[text.index(">") + 1 :].strip()
