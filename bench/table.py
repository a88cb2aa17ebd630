"""Keeps the results of a run by CPU, and writes the README's table from what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import page

RESULTS = Path(__file__).resolve().parent / "results"
README = RESULTS.parent.parent / "README.md"
TARGETS = {"RNN": 1.3, "GRU": 1.3, "LSTM": 1.0}
QUIET = 0.5  # load per core above which a timing is called disturbed


def keep(run: Path) -> None:
    """Files a pytest-benchmark run by the CPU's name."""
    rows = [case["extra_info"] for case in json.loads(run.read_text(encoding="utf-8"))["benchmarks"]]
    if not rows:
        return
    out = RESULTS / f"job-{page.slug(rows[0])}.json"
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def table() -> str:
    """The README's table of all machines kept."""
    lines = [
        "| machine | unit | threads | seconds | against best | against naive | target | GEMM rate | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("job-*.json")):
        lines += [line(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    ratio, target = row["best"] / row["seconds"], TARGETS[row["unit"]]
    disturbed = row["load"] > row["threads"] + QUIET
    verdict = "disturbed" if disturbed else "pass" if ratio >= target else "miss"
    return (
        f"| {row['cpu']}, {row['isa']} | {row['unit']} | {row['threads']} | {row['seconds']:.2f} "
        f"| {ratio:.2f} x | {row['naive'] / row['seconds']:.2f} x | {target} x | {row['share']:.0%} "
        f"| {verdict} |"
    )


if __name__ == "__main__":
    found = RESULTS / "bench.json"
    if found.exists():
        keep(found)
    page.write(README, "bench", table())
    print(table())
