"""How fast are second moments summed, against torch's products of targets laid out, and beside the machine?

8,192 rows of 256 features, float32, with 48 targets of 32 dimensions, on one thread; compared with the
float64 reference first. torch's program lays 4 targets at a time out beside each other, centred on the way,
which was the fastest of 1 to 48. The best of 20.

    python bench/moments.py
"""

import json
import time
from pathlib import Path

import machine
import torch
from floor import ceilings

from rnnmem import ops
from rnnmem.moment_sums import Factors, sum_moments

ROWS, FEATURES, TARGETS, DIMENSION, REPEATS = 8192, 256, 48, 32, 20
GROUP = 4
RESULTS = Path(__file__).resolve().parent / "results" / "moments.json"


def laid_out(of):
    """The same sums by torch alone, the squares in float64."""
    left, pilots = of.left - of.left_pilot.float(), of.right_pilot.float()
    wide, starts, found = left.double(), of.right_at.tolist(), []
    for first in range(0, TARGETS, GROUP):
        block = left.new_empty(ROWS, GROUP, DIMENSION)
        for place, start in enumerate(starts[first : first + GROUP]):
            torch.sub(of.right[start : start + ROWS], pilots[first + place], out=block[:, place])
        found.append((left.T @ block.flatten(1)).double())
        found.append(block.sum(dim=0, dtype=torch.float64))
    return wide.T @ wide, wide.sum(dim=0), found


def best(program):
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        program()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    left, right = torch.randn(ROWS, FEATURES), torch.randn(4 * ROWS, DIMENSION)
    right_at, row = torch.randint(0, 3 * ROWS, (TARGETS,)), torch.arange(ROWS)
    pilots = torch.zeros(FEATURES).double(), torch.zeros(TARGETS, DIMENSION).double()
    of = Factors(left, row[:1], right, right_at, row, *pilots)
    squares = Factors(left, row[:1], right, right_at[:0], row, pilots[0], pilots[1][:0])
    exact, found = sum_moments(of), ops.sum_moments(of)
    for name in ("left", "square", "right", "cross"):
        torch.testing.assert_close(getattr(found, name), getattr(exact, name), rtol=1e-9, atol=1e-3)
    alone, whole = best(lambda: ops.sum_moments(squares)), best(lambda: ops.sum_moments(of))
    results = {
        "command": "python bench/moments.py",
        "machine": machine.describe(1),
        "fma_rate": ceilings()["fma"],
        "seconds": whole,
        "seconds_by_torch": best(lambda: laid_out(of)),
        "rate_of_products": 2 * ROWS * FEATURES * TARGETS * DIMENSION / (whole - alone),
        "rate_of_squares_float64": ROWS * FEATURES**2 / alone,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
