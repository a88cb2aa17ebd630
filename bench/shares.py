"""What do all measures together cost, over the plain forward pass of torch.nn, and which of them what share?

An LSTM of 256 units reads 20,000 steps of 16 streams of 256 numbers, whose meaning is the first 32 of
them; everything is measured with the default options, and a head of 32 classes turns on "used". The
forward pass is torch.nn's, trajectory and all, the best of three; the measures run once, one thread for both.
Allowed: 6 forward passes.

Peak memory beside the inputs is taken once more at a tenth of the steps: it should not grow with them.

    python bench/shares.py         # about two minutes
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import machine
import torch
from torch import nn

import rnnmem
from rnnmem import assess, context, dynamics, forgetting

UNITS, STEPS, STREAMS, MEANING, CLASSES = 256, 20_000, 16, 32, 32
ALLOWED, REPEATS = 6.0, 3
RESULTS = Path(__file__).resolve().parent / "results" / "shares.json"
module = sys.modules[assess.__module__]  # rnnmem.assess is the function
PARTS = {
    "kept: maps fitted": (module, "fit_session"),
    "kept: measured": (module.Assessment, "measure"),
    "kept: token controls": (module.Assessment, "token_control"),
    "kept: inference control": (module.Assessment, "inference_control"),
    "forgotten: states": (forgetting.Twins, "from_states"),
    "forgotten: inputs": (forgetting.Twins, "from_inputs"),
    "largest exponent": (dynamics, "largest_exponent"),
    "learnable": (dynamics, "measure_learning"),
    "used": (context.ContextUse, "measure"),
}


def timed(owner, name, label, spent):
    """Puts a clock around a function."""
    inner = getattr(owner, name)

    def outer(*args, **options):
        begun = time.perf_counter()
        try:
            return inner(*args, **options)
        finally:
            spent[label] += time.perf_counter() - begun

    setattr(owner, name, outer)


def case(steps):
    """Model, inputs, and the options that all measures need."""
    torch.manual_seed(0)
    inputs = torch.randn(steps, STREAMS, UNITS)
    return (
        nn.LSTM(UNITS, UNITS),
        inputs,
        {
            "semantics": inputs[..., :MEANING].clone(),
            "head": nn.Linear(UNITS, CLASSES),
            "targets": torch.randint(CLASSES, (steps, STREAMS)),
        },
    )


def peak(steps):
    """MiB that measuring adds to the process at its height, in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {str(RESULTS.parent.parent)!r}); import shares; shares.grow({steps})"
    )
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def grow(steps):
    torch.set_num_threads(1)
    model, inputs, given = case(steps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rnnmem.assess(model, inputs, **given)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


@torch.no_grad()
def forward(model, inputs):
    """Seconds of the plain pass, the best of a few."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        model(inputs)
        best = min(best, time.perf_counter() - begun)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, inputs, given = case(STEPS)
    spent = defaultdict(float)
    plain = forward(model, inputs)
    begun = time.perf_counter()
    rnnmem.assess(model, inputs, semantics=given["semantics"], measures=("kept",))
    kept = time.perf_counter() - begun
    for label, (owner, name) in PARTS.items():
        timed(owner, name, label, spent)
    begun = time.perf_counter()
    rnnmem.assess(model, inputs, **given)
    total = time.perf_counter() - begun
    results = {
        "command": "python bench/shares.py",
        "machine": machine.describe(1),
        "forward_seconds": plain,
        "seconds": total,
        "over_forward": total / plain,
        "kept_alone_over_forward": kept / plain,
        "allowed": ALLOWED,
        "pass": total <= ALLOWED * plain,
        "parts_over_forward": {label: spent[label] / plain for label in PARTS},
        "rest_over_forward": (total - sum(spent.values())) / plain,
        "peak_mib": {str(steps): peak(steps) for steps in (STEPS // 10, STEPS)},
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
