"""Peak resident memory against the length of the stream, each length in a fresh process.

The stream is made and fed chunk by chunk, so that what grows would be ours. Usage: python bench/memory.py
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
LENGTHS = (10_000, 100_000, 1_000_000)
ALLOWED = 30  # MiB between the shortest and the longest
FIT = 5_000
CHUNK = 1_000


def measure(steps: int, hidden: int, batch: int) -> float:
    """Peak resident MiB of measuring `steps` steps in this process."""
    import torch

    import rnnmem

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.GRU(8, hidden)
    sample = torch.randn(FIT, batch, 8)
    maps = rnnmem.fit_recall(model, sample, lags=64)
    meter = rnnmem.MemoryMeter(model, maps)
    meter.warm(sample)
    for _ in range(0, steps, CHUNK):
        meter.update(torch.randn(CHUNK, batch, 8))
    meter.compute()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Runs every length in a process of its own and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, help="measure this length in this process and print MiB")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    if options.steps:
        print(measure(options.steps, options.hidden, options.batch))
        return 0
    peaks = {}
    for steps in LENGTHS:
        command = [sys.executable, __file__, "--steps", str(steps)]
        command += ["--hidden", str(options.hidden), "--batch", str(options.batch)]
        peaks[steps] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{steps:>9,} steps: {peaks[steps]:.1f} MiB at the peak", flush=True)
    growth = peaks[LENGTHS[-1]] - peaks[LENGTHS[0]]
    print(f"growth {growth:.1f} MiB, allowed {ALLOWED}")
    record = {"hidden": options.hidden, "batch": options.batch, "peak_mib": peaks, "growth_mib": growth}
    (RESULTS / "memory.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if growth <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
