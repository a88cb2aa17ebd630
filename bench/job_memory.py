"""What a program of the job needs in memory above the idle process, its inputs loaded: MiB at the peak.

    python bench/job_memory.py fused GRU 1 1000000     # program, unit, streams, steps

Run in a process of its own for each. Lengths beyond 20,000 steps read their inputs again and again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from job import best, fused, make_job, naive

LOADED, WARM = 20_000, 100  # steps
PROGRAMS = {"fused": fused, "best": best, "naive": naive}


def resident(name: str) -> float:
    """VmRSS or VmHWM of this process, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def extra(run: Callable[[], object]) -> float:
    """MiB that a run holds at its peak above what this process holds now."""
    idle = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak from here on
    run()
    return resident("VmHWM") - idle


def main() -> None:
    name, unit, batch, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    job = make_job(unit, batch=batch, steps=min(LOADED, steps))
    PROGRAMS[name](job.short(WARM))
    print(extra(lambda: fused(job, steps=steps) if name == "fused" else PROGRAMS[name](job)))


if __name__ == "__main__":
    main()
