"""How fast are the kernels at an instruction set below the machine's best, beside torch.nn held to the same?

torch.nn runs with ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA set to AVX2, ours with `isa="avx2"`: layers of H
units that read H numbers, float32, one thread. Outputs are compared with float64 first; the two take turns,
and what is stated is the median of 7 rounds. The floor counts multiply-adds on vectors of half the width, at
the rate that a core reaches with them, measured first.

    python bench/levels.py     # half a minute
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import page
import torch
from floor import GATES, ceilings, floor
from torch import nn

LEVEL = "avx2"
HELD = {"ATEN_CPU_CAPABILITY": LEVEL, "ONEDNN_MAX_CPU_ISA": LEVEL.upper()}
RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS, CHECKED, SECONDS, AGREE = 7, 200, 0.03, 1e-5
SHAPES = [(hidden, streams) for streams in (1, 16) for hidden in (64, 128, 256)]


@torch.no_grad()
def run(unit: str, hidden: int, streams: int, ceiling: dict[str, Any]) -> dict[str, Any]:
    """One row."""
    from rnnmem.network import read_network
    from rnnmem.ops import CpuScan

    torch.manual_seed(0)
    theirs = getattr(nn, unit)(hidden, hidden)
    layer = read_network(theirs).layers[0]
    state = torch.zeros(len(layer.unit.state_parts), streams, hidden)

    def ours(x: torch.Tensor) -> torch.Tensor:
        return CpuScan(layer.unit, layer.weights, isa=LEVEL).store(x, state, None, False)[0]

    short = torch.randn(CHECKED, streams, hidden)
    wide = getattr(nn, unit)(hidden, hidden).double()
    wide.load_state_dict(theirs.state_dict())
    exact = wide(short.double())[0]
    for found in (ours(short), theirs(short)[0]):
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=AGREE)
    weights = GATES[unit] * hidden**2
    least = floor(ceiling, 4 * weights * streams, 4 * weights, 1).seconds
    x = torch.randn(max(CHECKED, int(SECONDS / least)), streams, hidden)
    spent: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(ROUNDS):
        for name, program in (("ours", ours), ("torch", lambda x: theirs(x)[0])):
            begun = time.perf_counter()
            program(x)
            spent[name].append((time.perf_counter() - begun) / len(x))
    us = {name: round(statistics.median(each) * 1e6, 3) for name, each in spent.items()}
    return {
        "row": f"{unit} {hidden}, B={streams}",
        "us": us,
        "over_torch": round(us["torch"] / us["ours"], 2),
        "share_of_floor": round(least * 1e6 / us["ours"], 2),
    }


def main() -> None:
    if any(os.environ.get(name) != value for name, value in HELD.items()):
        sys.exit(subprocess.call([sys.executable, __file__], env=os.environ | HELD))
    import machine

    torch.set_num_threads(1)
    about, ceiling = machine.describe(1), ceilings("-mavx2", "-mfma")
    rows = [run(unit, hidden, streams, ceiling) for unit in GATES for hidden, streams in SHAPES]
    results = {"machine": about, "level": LEVEL, "torch": torch.backends.cpu.get_cpu_capability()}
    out = RESULTS / f"levels-{page.slug(about)}.json"
    out.write_text(json.dumps(results | {"ceilings": ceiling, "rows": rows}, indent=1) + "\n")
    lines = ["| row | torch.nn, µs a step | ours | ratio | of the floor |", "|---|---|---|---|---|"]
    for row in rows:
        us = row["us"]
        lines.append(
            f"| {row['row']} | {us['torch']:.2f} | {us['ours']:.2f} | {row['over_torch']:.2f} "
            f"| {row['share_of_floor']:.0%} |"
        )
    text = f"{page.heading(about)}\n\n" + "\n".join(lines)
    page.write(page.PERFORMANCE, "levels", text)
    print(text)


if __name__ == "__main__":
    main()
