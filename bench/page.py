"""How results come into a page: between marks, under a line that says what they were measured on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PERFORMANCE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
QUIET = 0.5  # load above which a run is called disturbed


def slug(about: dict[str, Any]) -> str:
    """The CPU's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", str(about["cpu"]).lower()).strip("-")


def heading(about: dict[str, Any]) -> str:
    """What was measured on, and whether the machine had other work to do."""
    load = about["load"]
    quiet = "" if load <= QUIET else f": disturbed (above {QUIET}), and no verdict to rely on"
    return f"{about['cpu']}, {about['isa']}, commit {about['commit']}, load {load} at the start{quiet}"


def write(page: Path, name: str, text: str) -> None:
    """Puts text between the marks of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
