"""Does training bear out the advice on length? Windows of every length, trained and scored alike.

For each task, unit and seed the network is first trained on windows of 256, for so many steps that its
validation loss falls by less than .01 bit over the last fifth of them (if it does not, it is trained anew for
half as many more). Where the loss falls for as long as the rate of learning does (adding), the last quarter
of the steps goes at a hundredth of the rate. The advice is read off that network. Then the same start is
trained on windows of 4, 8 ... 128, with the same steps and tokens a step, each window cut at random and begun
from zero, and a target counts in the loss only where its cause lies inside the window. All are scored on one
held-out stream, the state carried along, after 256 steps of running in.

- "As good": the mean over seeds of the paired difference to the best window is within .02 bit (where a target
  has one right answer: within 1 % of accuracy), or its one-sided 95 % interval reaches that.
- A cell (task, unit) counts where its best window beats, by 5 % in bits, the best guess from the current step
  alone: where no window profits from memory, none is too short.
- The advice of a cell is the median over the seeds whose loss has settled, rounded up to the grid of windows.
  Where none has there is none to judge: such cells are listed, not counted.

Resumable: what is finished is in the output and is not done again.

    python bench/suitable_length.py         # about 90 minutes on two cores
"""

import argparse
import json
import math
import multiprocessing
import time
from collections import deque
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import machine
import tasks
import torch
from scipy.stats import t as student
from torch import nn
from torch.nn.functional import cross_entropy

import rnnmem
from rnnmem.task import NONE

TASKS = {"next byte": tasks.text, "delayed copy": tasks.copy, "adding": tasks.adding}
UNSEEN = {"temporal order": tasks.order}  # not looked at while the rule was chosen
# Ten tokens are needed: a window of 16 is 1.6 times that. Would a smaller factor than 2 do?
RIVAL = {"copy, delay 9": partial(tasks.copy, delay=9)}
ALL = TASKS | UNSEEN | RIVAL
BY_BITS = {"next byte"}  # the others by accuracy
UNITS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
SEEDS = (0, 1, 2)
WINDOWS = (4, 8, 16, 32, 64, 128, 256)
LONGEST = WINDOWS[-1]
HIDDEN, WIDTH = 64, 32
TOKENS = 4096  # a step
RATE = 1e-2  # of learning; it falls to zero along a cosine
STEPS = {
    "next byte": 1500,
    "delayed copy": 1500,
    "adding": 4000,
    "temporal order": 600,
    "copy, delay 9": 1500,
}
CALM = {"adding": 0.25}  # the share of the steps, its last, that goes at
CALM_RATE = 1e-4  # ...
MORE = (1.0, 1.5)  # times as many, until the loss has settled
LAST_FIFTH, SETTLED = 0.8, 0.01  # bits
BEATS_CHANCE = 0.95
CELLS = 16  # that numbers are sorted into to guess from them
WITHIN_BITS, WITHIN_ACCURACY = 0.02, 0.01
BURN_IN = 256
TRAINED, VALIDATED, SCORED, ADVISED = 6000, 1024, 2048, 2048  # steps of a stream
STREAMS = 256
RESULTS = Path(__file__).resolve().parent / "results" / "suitable_length.json"


class Model(nn.Module):
    """A network with one recurrent layer that answers at every step."""

    def __init__(self, unit, stream):
        super().__init__()
        size = stream.inputs.shape[-1] if stream.tokens is None else WIDTH
        self.embedding = None if stream.tokens is None else nn.Embedding(stream.tokens, WIDTH)
        self.recurrent = UNITS[unit](size, HIDDEN)
        self.head = nn.Linear(HIDDEN, stream.classes)

    def forward(self, inputs, state=None):
        read = inputs if self.embedding is None else self.embedding(inputs)
        output, state = self.recurrent(read, state)
        return self.head(output), state


def make(task, seed):
    """Three stretches of one task: to train on, to validate on and be advised by, to be scored on."""
    generator = torch.Generator().manual_seed(1000 + seed)
    if task == "next byte":
        whole = tasks.text(10**9, STREAMS // 8, generator)
        steps = len(whole.inputs)
        borders = (0, int(0.8 * steps), int(0.9 * steps), steps)
        return [whole.cut(*pair) for pair in pairwise(borders)]
    source = ALL[task]
    sizes = ((TRAINED, STREAMS), (VALIDATED + ADVISED, STREAMS // 8), (BURN_IN + SCORED, STREAMS // 4))
    return [source(steps, streams, generator) for steps, streams in sizes]


def windows(stream, length, count, generator):
    """`count` windows of a stream, cut at random: inputs, and targets without those of older causes."""
    steps, streams = stream.targets.shape
    start = torch.randint(steps - length + 1, (count,), generator=generator)
    which = torch.randint(streams, (count,), generator=generator)
    time = start + torch.arange(length).unsqueeze(1)
    inside = stream.needs[time, which] <= torch.arange(1, length + 1).unsqueeze(1)
    return stream.inputs[time, which], stream.targets[time, which].masked_fill(~inside, NONE)


def rate(step, steps, calm):
    """Of learning: along a cosine to zero, or to a low one that stays for the share `calm` of the steps."""
    along = min(1.0, step / (steps * (1 - calm)))
    return max(CALM_RATE if calm else 0.0, RATE * (0.5 + 0.5 * math.cos(math.pi * along)))


def train(model, stream, length, seed, steps, calm=0.0):
    """Trains for so many steps, and yields after each how many have been made."""
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        optimiser.param_groups[0]["lr"] = rate(step, steps, calm)
        inputs, targets = windows(stream, length, TOKENS // length, generator)
        if bool((targets != NONE).any()):
            loss = cross_entropy(model(inputs)[0].flatten(0, 1), targets.flatten(), ignore_index=NONE)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        yield step


@torch.no_grad()
def grade(logits, targets):
    """Loss in bits and accuracy, summed over the targets that count, and how many these are."""
    counted = targets != NONE
    logits, targets = logits[counted].double(), targets[counted]
    loss = cross_entropy(logits, targets, reduction="sum").item() / math.log(2)
    return torch.tensor([loss, float((logits.argmax(1) == targets).sum()), float(len(targets))])


@torch.no_grad()
def in_windows(model, stream, length):
    """Loss in bits and accuracy inside windows of its own length, from zero; None without a target."""
    generator = torch.Generator().manual_seed(7)
    inputs, targets = windows(stream, length, max(64, 8 * TOKENS // length), generator)
    total = grade(model(inputs)[0], targets)
    return (total[:2] / total[2]).tolist() if total[2] else None


@torch.no_grad()
def carried(model, stream):
    """Loss in bits and accuracy on the stream, the state carried along, after running in."""
    total, state = torch.zeros(3), None
    for start in range(0, BURN_IN + SCORED, BURN_IN):
        part = stream.cut(start, start + BURN_IN)
        logits, state = model(part.inputs, state)
        if start:
            total += grade(logits, part.targets)
    return (total[:2] / total[2]).tolist()


def chance(stream):
    """Bits of the best guess from the current step alone: what needs no memory."""
    counted = stream.targets != NONE
    read, targets = stream.inputs[counted], stream.targets[counted]
    cells = ((read[:, 0] / tasks.WIDEST + 1) * CELLS / 2).long() if stream.tokens is None else read
    counts = torch.zeros(int(cells.max()) + 1, stream.classes, dtype=torch.float64)
    counts.index_put_((cells, targets), torch.ones(len(cells), dtype=torch.float64), accumulate=True)
    share = counts / counts.sum(1, keepdim=True)
    return float(-torch.where(counts > 0, counts * share.log2(), 0.0).sum() / counts.sum())


def build(unit, stream, seed):
    """A network, the forget gate of an LSTM open from the start, as is usual (Jozefowicz et al. 2015)."""
    torch.manual_seed(seed)
    model = Model(unit, stream)
    if unit == "LSTM":
        nn.init.ones_(model.recurrent.bias_hh_l0.data[HIDDEN : 2 * HIDDEN])
    return model


def settle(task, unit, training, validation, seed):
    """The network trained on the longest window until it has settled, its steps, and whether it has.

    A network that is no better than chance has not settled: it may not have begun to learn.
    """
    for more in MORE:
        steps, before = round(more * STEPS[task]), math.inf
        model = build(unit, training, seed)
        for step in train(model, training, LONGEST, seed, steps, CALM.get(task, 0)):
            if step == round(LAST_FIFTH * steps):
                before = in_windows(model, validation, LONGEST)[0]
        after = in_windows(model, validation, LONGEST)[0]
        if before - after < SETTLED and after < BEATS_CHANCE * chance(validation):
            return model, steps, True
    return model, steps, False


def advise(model, stream):
    """What rnnmem says of the network trained on the longest window."""
    part = stream.cut(0, ADVISED)
    report = rnnmem.assess(
        model.recurrent,
        part.inputs[:, :16],
        embedding=model.embedding,
        head=model.head,
        targets=part.targets[:, :16],
        lags=LONGEST - 1,
        measures=("learnable", "used"),
        trained_window=LONGEST,
    )
    found = report.suitable_length("training")
    return {
        "length": found.length,
        "reason": found.reason,
        "used_span": report.used.span(),
        "reach": report.learnable.reach(),
        "memory_horizon": report.memory_horizon,
    }


def run(job):
    """One task, unit and seed: every window."""
    task, unit, seed = job
    torch.set_num_threads(1)
    begun = time.perf_counter()
    training, validation, scored = make(task, seed)
    model, steps, settled = settle(task, unit, training, validation, seed)
    row = {"task": task, "unit": unit, "seed": seed, "steps": steps, "settled": settled}
    row |= {"chance": chance(scored), "advice": advise(model, validation), "windows": {}}
    for length in reversed(WINDOWS):
        if length != LONGEST:
            model = build(unit, training, seed)
            deque(train(model, training, length, seed, steps, CALM.get(task, 0)), maxlen=0)
        own = in_windows(model, validation, length)
        row["windows"][str(length)] = {"carried": carried(model, scored), "own_window": own}
    row["seconds"] = round(time.perf_counter() - begun, 1)
    return row


def judge(rows):
    """Every cell (task, unit): scores, advice, and which windows are as good as the best."""
    cells = []
    for task in ALL:
        for unit in UNITS:
            found = [row for row in rows if (row["task"], row["unit"]) == (task, unit)]
            if len(found) == len(SEEDS):
                cells.append(cell(task, unit, sorted(found, key=lambda row: row["seed"])))
    return cells


def cell(task, unit, rows):
    """One of them."""
    which = 0 if task in BY_BITS else 1
    sign, slack = (1, WITHIN_BITS) if task in BY_BITS else (-1, WITHIN_ACCURACY)
    scores = torch.tensor([[row["windows"][str(n)]["carried"] for n in WINDOWS] for row in rows])
    worse = sign * scores[:, :, which]
    best = int(worse.mean(0).argmin())
    paired = (worse - worse[:, [best]]).double()
    half = float(student.ppf(0.95, len(rows) - 1)) * paired.std(0) / math.sqrt(len(rows))
    good = (paired.mean(0) - half <= slack) | (paired.mean(0) <= slack)
    advice = [row["advice"] for row in rows]
    used = [span["used_span"] for span in advice]
    settled = [row["advice"] for row in rows if row["settled"]]
    return {
        "task": task,
        "unit": unit,
        "steps": [row["steps"] for row in rows],
        "settled": [row["settled"] for row in rows],
        "chance": rows[0]["chance"],
        "bits": scores[:, :, 0].mean(0).tolist(),
        "accuracy": scores[:, :, 1].mean(0).tolist(),
        "own_window": [own_score(rows, n, which) for n in WINDOWS],
        "best": WINDOWS[best],
        "as_good": [n for n, fine in zip(WINDOWS, good.tolist(), strict=True) if fine],
        "counts": float(scores[:, :, 0].mean(0).min()) <= BEATS_CHANCE * rows[0]["chance"],
        "used_spans": used,
        "reach": [found["reach"] for found in advice],
        "advised": [found["length"] for found in advice],
        "advice": on_grid([found["length"] for found in settled]),
        "u": on_grid([found["used_span"] for found in settled]),
    }


def own_score(rows, length, which):
    """Mean score inside windows of the length trained at, from zero; None where they hold no target."""
    found = [row["windows"][str(length)]["own_window"] for row in rows]
    return None if None in found else sum(each[which] for each in found) / len(found)


def on_grid(lengths):
    """The median, rounded up to the grid of windows; None where a seed has no advice, or none has settled."""
    if not lengths or None in lengths:
        return None
    return next((n for n in WINDOWS if n >= median(lengths)), LONGEST)


def from_factor(cell, factor):
    """The window of the first power of two from so many times the used span on."""
    spans = [u for u, settled in zip(cell["used_spans"], cell["settled"], strict=True) if settled]
    lengths = [u and min(LONGEST, 1 << (math.ceil(factor * u) - 1).bit_length()) for u in spans]
    return on_grid(lengths)


RULES = {
    "the advice (2u)": lambda cell: cell["advice"],
    "1.5u": lambda cell: from_factor(cell, 1.5),
    "u alone": lambda cell: cell["u"],
    "always 256": lambda _: LONGEST,
    "always 16": lambda _: 16,
}


def tally(cells):
    """How every rule fares over the cells that count, and its (geometric) mean window."""
    found = {}
    for name, rule in RULES.items():
        chosen = [rule(cell) for cell in cells]
        good = [n in cell["as_good"] for n, cell in zip(chosen, cells, strict=True)]
        below = [None if n is None else two_below(n) for n in chosen]
        too_short = [n not in cell["as_good"] for n, cell in zip(below, cells, strict=True)]
        mean = 2 ** (sum(math.log2(n or LONGEST) for n in chosen) / max(1, len(chosen)))
        found[name] = {
            "as_good": sum(good),
            "two_below_not": sum(too_short),
            "cells": len(cells),
            "mean": mean,
        }
    return found


def two_below(length):
    """The window two below on the grid, or None."""
    place = WINDOWS.index(length) - 2
    return WINDOWS[place] if place >= 0 else None


def table(results):
    """The results as Markdown."""
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["machine"].items()), ""]
    for part, names in (
        ("The tasks that the rule was made for", TASKS),
        ("A task not looked at before", UNSEEN),
        ("A task that needs 10 tokens, so that 16 is 1.6 times what is needed", RIVAL),
    ):
        cells = [found for found in results["cells"] if found["task"] in names]
        counted = [found for found in cells if found["counts"] and found["advice"]]
        lines += [f"## {part}", "", *rows_of(cells), ""]
        lines += [
            "| rule | as good as the best | two windows below is not | mean window |",
            "|---|---|---|---|",
        ]
        for name, found in tally(counted).items():
            good, below = (f"{found[key]} of {found['cells']}" for key in ("as_good", "two_below_not"))
            lines.append(f"| {name} | {good} | {below} | {found['mean']:.0f} |")
        lines += [
            "",
            "Scores inside windows of the length trained at, begun from zero:",
            "",
            *own_rows(cells),
            "",
        ]
    return "\n".join(lines)


def own_rows(cells):
    """One row for each cell: score by window, inside such windows."""
    lines = ["| task | unit | " + " | ".join(map(str, WINDOWS)) + " |", "|---" * (2 + len(WINDOWS)) + "|"]
    for found in cells:
        form = "{:.3f}" if found["task"] in BY_BITS else "{:.1%}"
        shown = ["-" if value is None else form.format(value) for value in found["own_window"]]
        lines.append("| " + " | ".join([found["task"], found["unit"], *shown]) + " |")
    return lines


def rows_of(cells):
    """One row for each cell: score by window, those as good as the best in bold."""
    head = ["task", "unit", "steps", "u", "reach", "advice", *map(str, WINDOWS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for found in cells:
        key, form = ("bits", "{:.3f}") if found["task"] in BY_BITS else ("accuracy", "{:.1%}")
        shown = [
            f"**{form.format(value)}**" if n in found["as_good"] else form.format(value)
            for n, value in zip(WINDOWS, found[key], strict=True)
        ]
        facts = [found["steps"], found["used_spans"], found["reach"]]
        facts = [", ".join(map(str, fact)) for fact in facts]
        name = found["task"]
        if not found["counts"]:
            name += " (not counted: no window beats chance)"
        elif found["advice"] is None:
            name += " (not counted: not settled, so no advice)"
        lines.append("| " + " | ".join([name, found["unit"], *facts, str(found["advice"]), *shown]) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    command = "python bench/suitable_length.py"
    kept = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    done = {(row["task"], row["unit"], row["seed"]) for row in kept}
    jobs = [(task, unit, seed) for task in ALL for seed in SEEDS for unit in UNITS]
    todo = [job for job in jobs if job not in done]
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=4) as pool:
        for row in pool.imap_unordered(run, todo):
            kept.append(row)
            print(json.dumps(row), flush=True)
            results = {"command": command, "machine": machine.describe(1), "cells": judge(kept), "rows": kept}
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
