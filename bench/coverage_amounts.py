"""Do the nominal 95 % intervals of memory amounts and of capacity cover the truth? A simulation.

The linear networks of bench/coverage.py, drawn and measured as there, at every lag from 0 to 16. Each
repetition asks whether M(n) ± t se holds the truth, t of Student's with blocks - 1 degrees of freedom, for
n = 1, 4, 9 and 17, the last of which is the capacity. Two truths, exact both:

- **all lags**: the sum of true retention over all lags below n. M(n) stops at the last significant lag, and
  that choice is not in the interval: where much of the sum lies beyond it, the interval misses on one side.
- **counted lags**: the same sum, up to the last lag that this repetition found significant: what the interval
  is made for. What must hold: cover of at least 92 %; where it is over 98 % that is said.

States that ignore their input have nothing significant in most repetitions, and then M = 0 ± 0, the truth. A
network that loses little is known to a few thousandths, and its intervals are too wide (see
bench/coverage.py). The first case has 1,000 repetitions, as its first 300 covered .917 of its capacities.

    python bench/coverage_amounts.py            # goes on where it was interrupted
    python bench/coverage_amounts.py --cases "white, reservoir" --repetitions 1000
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import coverage
import machine
import numpy as np
import torch
from scipy.special import stdtrit

from rnnmem.indicators import memory_amount as amounts

COVER, MOST = 0.92, 0.98
LAGS, AMOUNTS, BLOCKS = list(range(17)), [1, 4, 9, 17], [16, 64]
NAMES = ["white, reservoir", "AR(1) .9, reservoir", "white, cyclic", "ignores, phi .5"]
RESULTS = Path(__file__).resolve().parent / "results"


def measure(draw, seed):
    """Of one repetition, by curve and n [2, N]: value, se, and the two truths; and the blocks."""
    _, report = coverage.summarise(draw, seed)
    found = {"value": [], "se": [], "all": [], "counted": []}
    for curve, truth in zip((report.raw, report.own), draw.truth, strict=True):
        last = amounts.last_lag(curve)
        ends = [min(n, 0 if last is None else last + 1) for n in AMOUNTS]
        found["value"].append([amounts.memory_amount(curve, n) for n in AMOUNTS])
        found["se"].append([amounts.memory_amount_se(curve, n) for n in AMOUNTS])
        found["all"].append([truth[:n].sum() for n in AMOUNTS])
        found["counted"].append([truth[:end].sum() for end in ends])
    return {**{name: np.array(values) for name, values in found.items()}, "blocks": report.blocks}


def run(case, blocks, repetitions, seed):
    """Cover by curve and n over the repetitions."""
    case, found = replace(case, lags=LAGS, width=max(case.width, 4 * LAGS[-1])), []
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, blocks, repetition])
        found.append(measure(case.draw(blocks, rng, repetition), seed))
    at = {name: np.stack([each[name] for each in found]) for name in found[0]}
    judged = at["blocks"] >= 16
    at = {name: values[judged] for name, values in at.items()}
    half = stdtrit(at["blocks"] - 1, 0.975)[:, None, None] * at["se"]
    cover = {
        which: (np.abs(at["value"] - at[which]) <= half + 1e-12).mean(axis=0) for which in ("all", "counted")
    }
    error = at["value"] - at["all"]
    result = {
        "repetitions": repetitions,
        "without_intervals": int((~judged).sum()),
        "n": AMOUNTS,
        "curves": {},
    }
    for row, name in enumerate(("raw", "own")):
        result["curves"][name] = {
            "truth": at["all"].mean(axis=0)[row].tolist(), "cover": cover["all"][row].tolist(),
            "cover_counted": cover["counted"][row].tolist(), "bias": error.mean(axis=0)[row].tolist(),
            "spread": error.std(axis=0)[row].tolist(), "mean_se": at["se"].mean(axis=0)[row].tolist(),
        }  # fmt: skip
    result["pass"] = bool(min(min(c["cover_counted"]) for c in result["curves"].values()) >= COVER)
    return result


def table(results):
    """The results as Markdown."""
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["machine"].items()), ""]
    lines += [
        "| case | repetitions | curve | verdict | cover by n, counted lags | all lags |",
        "|---" * 6 + "|",
    ]
    for name, r in results["cases"].items():
        few = r["without_intervals"]
        count = str(r["repetitions"]) + f" ({few} had under 16 blocks: no interval)" * bool(few)
        for curve, c in r["curves"].items():
            low, high = min(c["cover_counted"]), max(c["cover_counted"])
            said = "pass" if low >= COVER else f"miss: covers {low:.3f}"
            said += f"; over {MOST} at its most" * (high > MOST)
            cells = [
                ", ".join(f"{v:.3f} ({n})" for v, n in zip(c[key], r["n"], strict=True))
                for key in ("cover_counted", "cover")
            ]
            lines.append(f"| {name} | {count} | {curve} | {said} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        "Truth over all lags, bias, spread over repetitions and mean standard error by n, in tokens.",
    ]
    for name, r in results["cases"].items():
        lines += ["", f"**{name}**", "", "| | " + " | ".join(f"n = {n}" for n in r["n"]) + " |"]
        lines += ["|---" * (1 + len(r["n"])) + "|"]
        for curve, c in r["curves"].items():
            for key in ("truth", "bias", "spread", "mean_se"):
                cells = " | ".join(f"{v:.4f}" for v in c[key])
                lines.append(f"| {curve} {key.replace('_', ' ')} | {cells} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "coverage_amounts.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text()) if options.out.exists() else {"cases": {}}
    results["command"] = f"python bench/coverage_amounts.py --seed {options.seed}"
    results["machine"] = {**machine.describe(1), "numpy": np.__version__}
    for name in options.cases:
        for blocks in BLOCKS:
            key = f"{name}, {blocks} blocks"
            if results["cases"].get(key, {}).get("repetitions", 0) >= options.repetitions:
                continue
            start = time.monotonic()
            r = run(coverage.CASES[name], blocks, options.repetitions, options.seed)
            results["cases"][key] = {**r, "seconds": round(time.monotonic() - start, 1)}
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(results))
            print(f"{'pass' if r['pass'] else 'MISS'}  {key}", flush=True)


if __name__ == "__main__":
    main()
