"""How large are the known biases (a) to (e) of docs/definitions.md? A simulation.

Everything is measured with the second implementation, tests/oracle.py, on fresh data in each repetition; the
first half of every stream is fitted on, the second measured. Each figure is a mean over the repetitions, with
its standard error. All processes are Gaussian, stationary and of variance 1.

- **(a)** A leaky integrator h' = .8 h + .6 x on white input, lags 0 to 15, one stream of 2,800 and of 40,000
  steps, so 1,400 and 20,000 measured rows (the washout takes 100 from those to fit); all other options as by
  default. The capacity is 1 (.9992 up to lag 15), for retention and own retention alike: what is measured of
  it, and how often value ± t se, the 95 % interval, holds 1.
- **(b)** h = x, x_t = .95 x_{t-12} + noise, lags 0 to 36, p = 8, 40,000 steps. In the population own capacity
  is 1 + .95^2 + .95^4 + .95^6: the 8 newer tokens say nothing of a token, so all that x_t says of those 12,
  24 and 36 steps back counts as own.
- **(c)** States and tokens that are white and independent of each other, at lag 0.
- **(d)** 32 units of autocorrelation .9 and a white scalar target independent of them, at lag 0; so many rows
  that the N_eff found is 55 H_eff. "se found" is the one that a measurement states, "spread" the true one.
- **(e)** A unit of autocorrelation .9 and 7 copies of it, each with white noise of 1e-4 added (so the flat
  directions have about 1e-9 of the largest eigenvalue), at lag 0; the target has 16 dimensions of
  autocorrelation .9, independent of the state and of each other. The predicted cost is H_eff / N_eff, the
  actual one what held-out retention is below 0, the truth.

    python bench/limits.py            # about four minutes
"""

import argparse
import json
import sys
import time
from pathlib import Path

import machine
import numpy as np
import scipy
import torch
from scipy.signal import lfilter
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import oracle

LEAK, PERIOD, PERIODIC = 0.8, 12, 0.95
SLOW, COPIES, APART = 0.9, 7, 1e-4
RESULTS = Path(__file__).resolve().parent / "results"


def autoregression(steps, dim, phi, rng, period=1):
    """x_t = phi x_{t-period} + noise, of variance 1 [T, 1, dim]."""
    noise = rng.standard_normal((steps, 1, dim))
    noise[period:] *= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, *[0.0] * (period - 1), -phi], noise, axis=0) if phi else noise


def at_lag_0(states, targets):
    """The curve of retention at lag 0 alone, from every row."""
    return oracle.measure(states, targets, [0], washout=0, innovation_order=0).raw


def leaky(rng, rows):
    """(a): capacity and whether its interval holds 1, for both curves."""
    x = autoregression(2 * rows, 1, 0.0, rng)
    h = lfilter([np.sqrt(1 - LEAK**2)], [1.0, -LEAK], x, axis=0)
    measured, found = oracle.measure(h, x, range(16)), {}
    for name, curve in (("capacity", measured.raw), ("own capacity", measured.own)):
        value, se, _ = oracle.capacity(curve)
        found[name] = value
        found[f"{name}: cover"] = abs(value - 1) <= stdtrit(curve.blocks - 1, 0.975) * se
    return found


def periodic(rng, rows):
    """(b): own capacity, and the ceiling that is no bound."""
    x = autoregression(2 * rows, 1, PERIODIC, rng, PERIOD)
    measured = oracle.measure(x, x, range(3 * PERIOD + 1), innovation_order=8)
    return {"own capacity": oracle.capacity(measured.own)[0], "ceiling": measured.ceiling}


def clipped(rng, rows, units, dim):
    """(c): bits and retention where there is nothing to find."""
    curve = at_lag_0(autoregression(2 * rows, units, 0.0, rng), autoregression(2 * rows, dim, 0.0, rng))
    return {"bits": curve.bits[0], "retention": curve.retention[0]}


def slower(rng, rows, units):
    """(d): retention, corrected and held out, of slow states that ignore a white target."""
    curve = at_lag_0(autoregression(2 * rows, units, SLOW, rng), autoregression(2 * rows, 1, 0.0, rng))
    return {
        "N_eff / H_eff": curve.n_eff[0] / curve.h_eff[0],
        "retention": curve.retention[0],
        "held-out retention": curve.heldout[0],
        "se found": curve.se[0],
    }


def copied(rng, rows, dim):
    """(e): what the fit costs as N_eff has it, and what it does cost."""
    unit = autoregression(2 * rows, 1, SLOW, rng)
    copies = unit + APART * rng.standard_normal((2 * rows, 1, COPIES))
    curve = at_lag_0(np.concatenate([unit, copies], axis=2), autoregression(2 * rows, dim, SLOW, rng))
    return {
        "H_eff": curve.h_eff[0],
        "predicted cost": curve.h_eff[0] / curve.n_eff[0],
        "actual cost": -curve.heldout[0],
    }


CASES = {  # name: (what one repetition measures, its setting, repetitions)
    "(a) 1,400 rows": (leaky, {"rows": 1400}, 1200),
    "(a) 20,000 rows": (leaky, {"rows": 20_000}, 200),
    "(b)": (periodic, {"rows": 20_000}, 16),
    "(c) H = 32, d = 32, N = 632": (clipped, {"rows": 632, "units": 32, "dim": 32}, 300),
    "(c) H = 128, d = 32, N = 12,800": (clipped, {"rows": 12_800, "units": 128, "dim": 32}, 40),
    "(d) H = 32, N = 1,620": (slower, {"rows": 1620, "units": 32}, 3000),
    "(e) H = 8, N = 1,250": (copied, {"rows": 1250, "dim": 16}, 2000),
}


def run(number, repeat, setting, repetitions, seed):
    """The mean of every figure over the repetitions, its standard error and the spread."""
    start, found = time.monotonic(), []
    for repetition in range(repetitions):
        found.append(repeat(np.random.default_rng([seed, number, repetition]), **setting))
    figures = {}
    for name in found[0]:
        values = np.array([each[name] for each in found], float)
        spread = float(values.std(ddof=1))
        figures[name] = {"mean": float(values.mean()), "se": spread / repetitions**0.5, "spread": spread}
    seconds = round(time.monotonic() - start, 1)
    return {**setting, "repetitions": repetitions, "seconds": seconds, "figures": figures}


def table(results):
    """The results as Markdown."""
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["machine"].items()), ""]
    lines += [f"In the population, own capacity of (b) is {results['periodic_population']:.4f}.", ""]
    lines += ["| case | repetitions | figure | mean ± its standard error | spread |", "|---" * 5 + "|"]
    for name, case in results["cases"].items():
        for figure, f in case["figures"].items():
            mean = f"{f['mean']:.5f} ± {f['se']:.5f}"
            lines.append(f"| {name} | {case['repetitions']} | {figure} | {mean} | {f['spread']:.5f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "limits.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        "command": f"python bench/limits.py --seed {options.seed}",
        "machine": {**machine.describe(1), "numpy": np.__version__, "scipy": scipy.__version__},
        "periodic_population": float((PERIODIC ** (2.0 * np.arange(4))).sum()),
        "cases": {},
    }
    for number, (name, case) in enumerate(CASES.items()):
        found = results["cases"][name] = run(number, *case, options.seed)
        means = ", ".join(f"{key} {f['mean']:.4f} ± {f['se']:.4f}" for key, f in found["figures"].items())
        print(f"{name}: {means}  ({found['seconds']} s)", flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
