"""The job against torch.nn: ours and the peers take turns in one process, results compared first. And its
memory: each program in a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import pytest
import torch
from floor import ceilings
from job import UNITS, best, check, flops, fused, make_job, naive

ROUNDS = 3
STEPS = 20_000
MEMORY = Path(__file__).resolve().parent / "job_memory.py"


@pytest.fixture(scope="module")
def about() -> dict[str, object]:
    """The machine before the first case: later, its load is our own."""
    return machine.describe(1)


@pytest.fixture(scope="module")
def ceiling(about: dict[str, object]) -> dict[str, float]:
    return ceilings()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("unit", list(UNITS))
def test_job(benchmark, unit: str, threads: int, about: dict[str, object], ceiling: dict[str, float]) -> None:
    torch.set_num_threads(threads)
    job = make_job(unit, steps=STEPS)
    check(job)
    peers: dict[str, list[float]] = {"best": [], "naive": []}

    def peers_first() -> None:
        for program in (best, naive):
            start = time.perf_counter()
            program(job)
            peers[program.__name__].append(time.perf_counter() - start)

    benchmark.pedantic(fused, args=(job,), setup=peers_first, rounds=ROUNDS, warmup_rounds=1)
    ours = statistics.median(benchmark.stats.stats.data)
    floor = flops(job) / (ceiling["fma"] * threads)
    benchmark.extra_info.update(
        about,
        threads=threads,
        case="job",
        unit=unit,
        shape="H=256, B=16, T=20,000, d=32, 24 lags",
        seconds=ours,
        best=statistics.median(peers["best"][1:]),
        naive=statistics.median(peers["naive"][1:]),
        fma=ceiling["fma"],
        floor=floor,
        share=floor / ours,
    )


def test_job_memory(benchmark, about: dict[str, object]) -> None:
    """MiB over the idle process: of ours at lengths of one stream, of each program at 16 streams."""

    def extra(program: str, batch: int, steps: int) -> float:
        command = [sys.executable, str(MEMORY), program, "GRU", str(batch), str(steps)]
        return round(float(subprocess.check_output(command, text=True)), 2)

    def measure() -> dict[str, object]:
        return {
            "mib_by_steps": {steps: extra("fused", 1, steps) for steps in (10**4, 10**5, 10**6)},
            "mib": {program: extra(program, 16, STEPS) for program in ("fused", "best", "naive")},
        }

    found = benchmark.pedantic(measure)
    benchmark.extra_info.update(about, case="job memory", unit="GRU", **found)
