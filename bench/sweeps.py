"""What does the job cost against its sizes: T steps, H units, B streams, K lags, d semantic dimensions?

The job is recall distance, `fused` of `job.py`: recurrent step, projection and distance, chunk by chunk. One
size changes at a time, all else stays as in `BASE`; H units read H numbers, float32. Each job is compared
with the float64 reference first. Then, in each round, the jobs of a sweep take turns; what is stated is the
median of the rounds, in µs for one step of all streams.

The sweep over T has a small layer, and each length and round a process of its own, where what the job needs
above what the idle process holds (inputs loaded, 100 steps run) is measured too. Inputs are read again and
again.

The floor is the larger of two times: the operations of the products (input side, recurrent side, projection)
at the measured rate of multiply-adds, and the recurrent weights read once a step at the measured bandwidth of
the cache that holds a thread's share of them. Recall maps are read once for many steps, and do not count. The
rates are measured before each sweep.

    python bench/sweeps.py                          # about six minutes
    python bench/sweeps.py --sweeps H d --rounds 1  # some of them, nothing kept
    python bench/sweeps.py --draw                   # pictures and page again from what is kept
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import page
import sweep_pictures
import torch
from floor import GATES, Floor, ceilings, floor
from job import CHUNK, LAGS, Job, check, flops, fused, make_job
from job_memory import WARM, extra
from tqdm import tqdm

RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS = 5
OPERATIONS = 20e9  # of one timing, roughly: a fifth of a second
INPUT_BYTES = 32 << 20  # kept of inputs; enough that they come from memory, as a user's do
BASE = {"unit": "GRU", "hidden": 128, "batch": 16, "d": 32, "lags": LAGS}
LONG = {"unit": "GRU", "hidden": 64, "batch": 1, "d": 8, "lags": LAGS}
POWERS = tuple(2**i for i in range(9))
VALUES = {
    "T": (*(each * 10**power for power in range(3, 7) for each in (1, 3)), 10**7),
    "H": tuple(2**i for i in range(4, 12)),
    "B": POWERS,
    "K": POWERS,
    "d": POWERS,
}


@dataclass(frozen=True)
class Point:
    """One size of a sweep, and the threads that work on it."""

    sweep: str
    value: int
    threads: int

    def sizes(self) -> dict[str, Any]:
        changed: dict[str, dict[str, Any]] = {
            "T": LONG,
            "H": {"hidden": self.value},
            "B": {"batch": self.value},
            "K": {"lags": range(self.value)},
            "d": {"d": self.value},
        }
        return BASE | changed[self.sweep]

    def job(self) -> Job:
        sizes = self.sizes()
        chunks = INPUT_BYTES // (4 * sizes["hidden"] * sizes["batch"] * CHUNK)
        return make_job(steps=CHUNK * max(1, chunks), **sizes)

    def floor(self, ceiling: dict[str, Any]) -> Floor:
        """Of one step."""
        job = self.job()
        weight_bytes = 4 * GATES[self.sizes()["unit"]] * job.module.hidden_size**2
        return floor(ceiling, flops(job) / len(job.inputs), weight_bytes, self.threads)


def timed(job: Job, steps: int, calls: int = 1) -> float:
    """Seconds a step."""
    begun = time.perf_counter()
    for _ in range(calls):
        fused(job, steps=steps)
    return (time.perf_counter() - begun) / (calls * steps)


def enough_steps(job: Job) -> int:
    """Steps that take long enough to be timed."""
    return int(OPERATIONS * len(job.inputs) / flops(job))


def take_turns(points: list[Point], rounds: int) -> list[list[float]]:
    """Seconds a step by point and round."""
    jobs = [point.job() for point in points]
    for job in jobs:
        check(job, (fused,))
        fused(job, steps=WARM)
    spent: list[list[float]] = [[] for _ in points]
    for _ in range(rounds):
        for job, found in zip(jobs, spent, strict=True):
            found.append(timed(job, CHUNK * max(1, enough_steps(job) // CHUNK)))
    return spent


def run_long(point: Point) -> dict[str, float]:
    """Seconds a step, and the peak of memory over the idle process in MiB, in this process."""
    job, steps = point.job(), point.value
    fused(job, steps=WARM)
    seconds: list[float] = []
    mib = extra(lambda: seconds.append(timed(job, steps)))
    calls = enough_steps(job) // steps
    return {"seconds": seconds[0] if calls < 1 else timed(job, steps, calls), "extra_mib": mib}


def alone(point: Point) -> dict[str, float]:
    """What `run_long` finds in a fresh process."""
    command = [sys.executable, __file__, "--one", str(point.value), "--threads", str(point.threads)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True))
    return found


def measure(sweep: str, threads: int, rounds: int, ceiling: dict[str, Any]) -> list[dict[str, Any]]:
    """All points of a sweep."""
    points = [Point(sweep, value, threads) for value in VALUES[sweep]]
    extras: list[dict[str, Any]] = [{} for _ in points]
    if sweep == "T":
        check(points[0].job(), (fused,), 2 * CHUNK)
        found = [[alone(point) for point in points] for _ in tqdm(range(rounds), desc="T", disable=None)]
        by_point = list(zip(*found, strict=True))
        spent = [[each["seconds"] for each in of] for of in by_point]
        extras = [{"extra_mib": statistics.median(each["extra_mib"] for each in of)} for of in by_point]
    else:
        spent = take_turns(points, rounds)
    rows = []
    for point, seconds, more in zip(points, spent, extras, strict=True):
        least, median = point.floor(ceiling), statistics.median(seconds)
        rows.append(
            {
                "value": point.value,
                "us": round(median * 1e6, 3),
                "us_of_rounds": [round(each * 1e6, 3) for each in seconds],
                "floor_us": round(least.seconds * 1e6, 3),
                "binds": least.binds,
                "share_of_floor": round(least.seconds / median, 3),
                **more,
            }
        )
        print(sweep, rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", nargs="+", choices=list(VALUES), default=list(VALUES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="only draw and write what is kept of this CPU")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one is not None:
        print(json.dumps(run_long(Point("T", given.one, given.threads))))
        return
    about = machine.describe(given.threads)
    out = RESULTS / f"sweeps-{page.slug(about)}.json"
    if not given.draw:
        rates, found = {}, {}
        for sweep in given.sweeps:
            rates[sweep] = ceilings()  # anew each time: a shared machine's change within minutes
            found[sweep] = measure(sweep, given.threads, given.rounds, rates[sweep])
        if given.sweeps != list(VALUES):
            return
        results = {
            "command": " ".join(["python", "bench/sweeps.py", *sys.argv[1:]]),
            "machine": about,
            "ceilings": rates,
            "base": BASE,
            "base_of_T": LONG,
            "sweeps": found,
        }
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sweep_pictures.write(json.loads(out.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
