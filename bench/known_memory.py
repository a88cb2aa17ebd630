"""Does a network of known memory measure as it should? One that copies with a delay must remember so long.

RNN, GRU and LSTM learn to repeat the symbol of 10, and of 40, steps ago, one of eight drawn at random.
Where one has learned it (99 % of a held-out stream are right):

- the memory horizon is the delay, or more: nothing stops a state from holding a symbol beyond its use while
  it fades, so own retention is printed at the delay and on both sides of it;
- the used span is the delay + 1, the delay and the symbol itself;
- the trained gradient reaches the delay or further.

    python bench/known_memory.py         # about twenty minutes on two cores
"""

import argparse
import json
from functools import partial
from pathlib import Path

import machine
import suitable_length as windows
import tasks
import torch
from torch.nn.functional import cross_entropy

import rnnmem
from rnnmem.task import NONE

DELAYS = {10: (2000, 64), 40: (12_000, 128)}  # delay: steps of training, window
LEARNED = 0.99
LAGS = {10: 32, 40: 96}
MEASURED = (4000, 16)
RESULTS = Path(__file__).resolve().parent / "results" / "known_memory.json"


def trained(unit, delay, seed):
    """A network trained to copy, and its accuracy on a stream that it has not seen."""
    steps, window = DELAYS[delay]
    draw = partial(tasks.copy, delay=delay)
    generator = torch.Generator().manual_seed(seed)
    stream, held_out = draw(6000, 256, generator), draw(*MEASURED, generator)
    model = windows.build(unit, stream, seed)
    for _ in windows.train(model, stream, window, seed, steps):
        pass
    with torch.no_grad():
        logits = model(held_out.inputs)[0]
    counted = held_out.targets != NONE
    right = (logits.argmax(dim=2) == held_out.targets)[counted]
    bits = cross_entropy(logits[counted], held_out.targets[counted]) / torch.log(torch.tensor(2.0))
    return model, held_out, float(right.float().mean()), float(bits)


def case(unit, delay, seed):
    """One network: what was measured, and whether it is as it should be."""
    model, held_out, accuracy, bits = trained(unit, delay, seed)
    report = rnnmem.assess(
        model.recurrent,
        held_out.inputs,
        embedding=model.embedding,
        semantics=torch.eye(tasks.SYMBOLS),
        head=model.head,
        targets=held_out.targets,
        lags=range(LAGS[delay] + 1),
    )
    near = [delay - 1, delay, delay + 1, min(2 * delay, LAGS[delay])]
    found = {
        "unit": unit,
        "delay": delay,
        "accuracy": accuracy,
        "bits": bits,
        "learned": accuracy >= LEARNED,
        "memory_horizon": report.memory_horizon,
        "own_retention": {lag: float(report.own_retention[lag]) for lag in near},
        "used_span": report.used.span(),
        "excess_at_delay": float(report.used.excess[delay]),
        "reach": report.learnable.reach(),
    }
    found["pass"] = not found["learned"] or (
        (report.memory_horizon or 0) >= delay and found["used_span"] == delay + 1 and found["reach"] >= delay
    )
    print(json.dumps(found), flush=True)
    return found


def table(results):
    """The results as Markdown."""
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["machine"].items()), ""]
    head = ["unit", "delay", "right", "memory horizon", "own retention at", "used span", "reach", ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results["cases"]:
        kept = ", ".join(f"{lag}: {value:.3f}" for lag, value in row["own_retention"].items())
        verdict = "pass" if row["pass"] else "MISS"
        cells = [row["unit"], row["delay"], f"{row['accuracy']:.1%}", row["memory_horizon"], kept]
        cells += [row["used_span"], row["reach"], verdict if row["learned"] else "not learned"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case(unit, delay, options.seed) for delay in DELAYS for unit in windows.UNITS]
    command = f"python bench/known_memory.py --seed {options.seed}"
    results = {"command": command, "machine": machine.describe(1), "cases": cases}
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
