"""Keeps the results of a run by CPU, and writes the README's tables from what is kept.

A row of the job passes with the ratio asked for to each peer, or with 80 % of its floor: the operations of
its products at the rate of multiply-adds. Its memory passes if it is flat in the number of steps and less
than a twentieth of each peer's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import page

RESULTS = Path(__file__).resolve().parent / "results"
README = RESULTS.parent.parent / "README.md"
TARGETS = {
    "RNN": {"naive": 3.3, "best": 2.6},
    "GRU": {"naive": 3.3, "best": 2.8},
    "LSTM": {"naive": 1.7, "best": 1.4},
}
ENOUGH = 0.8  # of the floor
LESS, FLAT = 20, 2  # times less memory than a peer; MiB more at 10^6 steps than at 10^4


def keep(run: Path) -> None:
    """Files a pytest-benchmark run by the CPU's name."""
    rows = [case["extra_info"] for case in json.loads(run.read_text(encoding="utf-8"))["benchmarks"]]
    if not rows:
        return
    out = RESULTS / f"job-{page.slug(rows[0])}.json"
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def of_case(case: str) -> list[dict[str, Any]]:
    """All rows of a case, of all machines kept."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("job-*.json"))]
    return [row for rows in files for row in rows if row["case"] == case]


def table() -> str:
    """The README's tables of all machines kept."""
    lines = [
        "| machine | unit | threads | seconds | naive / ours | best / ours | wanted | of the floor | |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(line, of_case("job")),
        "",
        "| machine | unit | MiB, B=1, T=10⁴ | 10⁵ | 10⁶ | ours, B=16, T=20,000 | best | naive | |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(memory_line, of_case("job memory")),
    ]
    return "\n".join(lines)


def line(row: dict[str, Any]) -> str:
    ratios = {peer: row[peer] / row["seconds"] for peer in ("naive", "best")}
    wanted = TARGETS[row["unit"]]
    passes = row["share"] >= ENOUGH or all(ratios[peer] >= wanted[peer] for peer in wanted)
    verdict = "disturbed" if row["load"] > page.QUIET else "pass" if passes else "miss"
    return (
        f"| {row['cpu']}, {row['isa']} | {row['unit']} | {row['threads']} | {row['seconds']:.2f} "
        f"| {ratios['naive']:.2f} | {ratios['best']:.2f} | {wanted['naive']} / {wanted['best']} "
        f"| {row['share']:.0%} | {verdict} |"
    )


def memory_line(row: dict[str, Any]) -> str:
    """Of a row's MiB: ours by the number of steps of one stream, and each program's at 16 streams."""
    lengths, programs = list(row["mib_by_steps"].values()), row["mib"]
    flat = max(lengths) - lengths[0] <= FLAT
    less = all(LESS * programs["fused"] <= programs[peer] for peer in ("best", "naive"))
    cells = [*(f"{each:.1f}" for each in lengths), *(f"{each:,.1f}" for each in programs.values())]
    return f"| {row['cpu']} | {row['unit']} | {' | '.join(cells)} | {'pass' if flat and less else 'miss'} |"


if __name__ == "__main__":
    found = RESULTS / "bench.json"
    if found.exists():
        keep(found)
    page.write(README, "bench", table())
    print(table())
