"""Markdown tables, and the markers in a page between which they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from real_fetch import RealInputError


def number(value: float | None, digits: int = 3) -> str:
    """Writes a figure for a table cell: `–` where it is undefined.

    Args:
        value: the figure; None and NaN are undefined.
        digits: decimals.

    Returns:
        The cell's text, a true minus sign where negative.
    """
    if value is None or value != value:
        return "–"
    text = f"{value:.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and float(text) else text.lstrip("-")


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """Writes a figure and its standard error: `3.21 ± 0.04`."""
    if value is None or error is None or error != error:
        return number(value, digits)
    return f"{number(value, digits)} ± {number(error, digits)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Writes a Markdown table, first column to the left, the others to the right.

    Args:
        head: column titles.
        rows: cells as text, as many in each row as there are titles.

    Returns:
        Lines without a trailing newline.
    """
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Puts each block between its markers, `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Args:
        page: Markdown with one pair of markers for each block.
        blocks: name -> what stands between the markers from now on.

    Returns:
        The page, everything outside the markers as it was.

    Raises:
        RealInputError: the page and the blocks do not name the same markers, each once.
    """
    named = re.findall(r"<!-- begin ([\w-]+) -->", page)
    if sorted(named) != sorted(blocks):
        raise RealInputError(f"page: expected markers {sorted(blocks)} once each, got {sorted(named)}")
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if not re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, flags=re.DOTALL):
            raise RealInputError(f"page: expected {end} after {begin}, got none")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"
    return page
