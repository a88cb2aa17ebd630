"""What do all measures together cost, over the plain forward pass of torch.nn, and which of them what share?

An LSTM of 256 units reads 20,000 steps of 16 streams: of 32 tokens, embedded in 256 dimensions, which mean
something in 32 others; and of 256 numbers, whose meaning is the first 32 of them. Everything is measured with
the default options, and a head of 32 classes turns on "used". The forward pass is torch.nn's, embedding,
trajectory and all, the best of three; the measures run once, one thread for both. Allowed: 6 forward passes.

The same seconds are told apart by the work done as well, whichever measure asks for it: the loop over time
(recurrent step, projection, distance, and the way back), second moments, linear algebra, the head, and all
else. None outside the loop should take more than a third.

Peak memory beside the inputs is taken of a GRU of 64 units at 60,000 and at 600,000 steps of 4 streams: it
should not grow with them. (Below that it does, until the sample of the fit rows is full.)

    python bench/shares.py         # about two minutes
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import machine
import torch
from torch import nn

import rnnmem
from rnnmem import assessment, context, dynamics, forgetting, ops

UNITS, STEPS, STREAMS, MEANING, CLASSES = 256, 20_000, 16, 32, 32
ALLOWED, REPEATS = 6.0, 3
LONG = (60_000, 600_000)  # steps
BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results" / "shares.json"
PARTS = {
    "kept: maps fitted": (assessment, "fit_session"),
    "kept: measured": (assessment.Assessment, "measure"),
    "kept: token controls": (assessment.Assessment, "token_controls"),
    "kept: inference control": (assessment.Assessment, "inference_control"),
    "forgotten: states": (forgetting.Twins, "from_states"),
    "forgotten: inputs": (forgetting.Twins, "from_inputs"),
    "largest exponent": (dynamics, "largest_exponent"),
    "learnable": (dynamics, "measure_learning"),
    "used": (context.ContextUse, "measure"),
}
LOOP = "the loop over time"
WORK = {
    LOOP: [(ops.CpuScan, name) for name in ("store", "project", "pull")],
    "second moments": [(ops, "sum_moments")],
    "linear algebra": [
        (torch.linalg, name)
        for name in ("cholesky", "eigh", "eigvalsh", "pinv", "qr", "solve_triangular", "svd", "svdvals")
    ],
    "the head": [(nn.Linear, "forward")],
}
THIRD = 1 / 3


def timed(owner, name, label, spent, running):
    """Puts a clock around a function; what it calls of the others counts as its own."""
    inner = getattr(owner, name)

    def outer(*args, **options):
        if running:
            return inner(*args, **options)
        running.append(label)
        begun = time.perf_counter()
        try:
            return inner(*args, **options)
        finally:
            spent[label] += time.perf_counter() - begun
            running.pop()

    setattr(owner, name, outer)


def numbers(unit, units, steps, streams):
    """Model, inputs, and the options that all measures need."""
    torch.manual_seed(0)
    inputs = torch.randn(steps, streams, units)
    given = {
        "semantics": inputs[..., :MEANING].clone(),
        "head": nn.Linear(units, CLASSES),
        "targets": torch.randint(CLASSES, (steps, streams)),
    }
    return unit(units, units), inputs, given


def tokens(unit, units, steps, streams):
    """The same, of tokens."""
    torch.manual_seed(0)
    given = {
        "embedding": nn.Embedding(CLASSES, units),
        "semantics": torch.randn(CLASSES, MEANING),
        "head": nn.Linear(units, CLASSES),
    }
    return unit(units, units), torch.randint(CLASSES, (steps, streams)), given


def peak(steps):
    """MiB that measuring adds to a process of its own at its height; what it frees is given back at once."""
    code = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import shares; shares.grow({steps})"
    given = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    return round(float(done.stdout), 1)


def grow(steps):
    torch.set_num_threads(1)
    model, inputs, given = numbers(nn.GRU, 64, steps, 4)
    before = highest()
    rnnmem.assess(model, inputs, **given)
    print(highest() - before)


def highest():
    """MiB that this process has held at its height; getrusage would count the parent's, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@torch.no_grad()
def forward(model, inputs, embedding=None):
    """Seconds of the plain pass, the best of a few."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        model(inputs if embedding is None else embedding(inputs))
        best = min(best, time.perf_counter() - begun)
    return best


def measure(make, spent, work):
    """What one kind of input costs; `spent` and `work` are where the clocks add up."""
    model, inputs, given = make(nn.LSTM, UNITS, STEPS, STREAMS)
    plain = forward(model, inputs, given.get("embedding"))
    spent.clear()
    work.clear()
    begun = time.perf_counter()
    rnnmem.assess(model, inputs, **given)
    total = time.perf_counter() - begun
    outside = [*(work[label] for label in WORK if label != LOOP), total - sum(work.values())]
    return {
        "forward_seconds": plain,
        "seconds": total,
        "over_forward": total / plain,
        "without_used_over_forward": (total - spent["used"]) / plain,
        "allowed": ALLOWED,
        "pass": total <= ALLOWED * plain,
        "parts_over_forward": {label: spent[label] / plain for label in PARTS},
        "rest_over_forward": (total - sum(spent.values())) / plain,
        "work": {
            **{label: work[label] / total for label in WORK},
            "all else": 1 - sum(work.values()) / total,
        },
        "work_pass": max(outside) <= total * THIRD,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    spent, running = defaultdict(float), []
    for label, (owner, name) in PARTS.items():
        timed(owner, name, label, spent, running)
    work, at_work = defaultdict(float), []
    for label, functions in WORK.items():
        for owner, name in functions:
            timed(owner, name, label, work, at_work)
    results = {
        "command": "python bench/shares.py",
        "machine": machine.describe(1),
        "tokens": measure(tokens, spent, work),
        "numbers": measure(numbers, spent, work),
        "peak_mib": {str(steps): peak(steps) for steps in LONG},
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
