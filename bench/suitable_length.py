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

import machine
import tasks
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from window_verdict import BEATS_CHANCE, LONGEST, SEEDS, WINDOWS, judge, table

import rnnmem
from rnnmem.task import NONE

TASKS = {"next byte": tasks.text, "delayed copy": tasks.copy, "adding": tasks.adding}
UNSEEN = {"temporal order": tasks.order}  # not looked at while the rule was chosen
# Ten tokens are needed: a window of 16 is 1.6 times that. Would a smaller factor than 2 do?
RIVAL = {"copy, delay 9": partial(tasks.copy, delay=9)}
ALL = TASKS | UNSEEN | RIVAL
PARTS = {
    "The tasks that the rule was made for": TASKS,
    "A task not looked at before": UNSEEN,
    "A task that needs 10 tokens, so that 16 is 1.6 times what is needed": RIVAL,
}
UNITS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
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
CELLS = 16  # that numbers are sorted into to guess from them
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
            cells = judge(kept, ALL, UNITS)
            results = {"command": command, "machine": machine.describe(1), "cells": cells, "rows": kept}
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(results, __doc__, PARTS))


if __name__ == "__main__":
    main()
