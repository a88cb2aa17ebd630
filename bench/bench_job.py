"""The job against torch.nn: ours and the peers take turns in one process, results compared first."""

from __future__ import annotations

import statistics
import time

import machine
import pytest
import torch
from job import UNITS, best, check, flops, fused, make_job, naive

ROUNDS = 3


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("unit", list(UNITS))
def test_job(benchmark, unit: str, threads: int) -> None:
    torch.set_num_threads(threads)
    job = make_job(unit)
    check(job)
    peers: dict[str, list[float]] = {"best": [], "naive": []}

    def peers_first() -> None:
        for program in (best, naive):
            start = time.perf_counter()
            program(job)
            peers[program.__name__].append(time.perf_counter() - start)

    benchmark.pedantic(fused, args=(job,), setup=peers_first, rounds=ROUNDS, warmup_rounds=1)
    ours = statistics.median(benchmark.stats.stats.data)
    rate = machine.gemm_rate(threads)
    benchmark.extra_info.update(
        machine.describe(threads),
        case="job",
        unit=unit,
        shape="H=256, B=16, T=20,000, d=32, 24 lags",
        seconds=ours,
        best=statistics.median(peers["best"][1:]),
        naive=statistics.median(peers["naive"][1:]),
        gemm_rate=rate,
        share=flops(job) / rate / ours,
    )
