"""Streams to train on, and what each of their targets needs: to ask how long a training window should be.

A task is one endless stream, so that a window may be cut anywhere. Every target says how many of the newest
steps its cause spans; a window that begins later does not hold the cause.
"""

import math
from dataclasses import dataclass

import torch

from rnnmem.task import NONE
from rnnmem.text import embedded_english, encode_bytes

SYMBOLS = 8
WIDEST = math.sqrt(3)  # of numbers uniform with unit variance
DELAY = 10
NEAREST, FARTHEST = 10, 30  # steps between the two marks of the adding task
SUMS = 16
NOISE, FIRST, ORDERS = 4, 4, 4  # distractors; the first of two marked symbols; orders of two
NEAR, FAR = 5, 20  # steps between the two symbols of the temporal order task


@dataclass(frozen=True)
class Stream:
    """A stretch of a task.

    Attributes:
        inputs: int64 tokens [T, B], or float32 [T, B, I].
        targets: int64 [T, B], NONE where there is none.
        needs: newest steps, the target's own among them, that its cause spans, int64 [T, B].
        classes: how many there are to choose from.
        tokens: how many different ones; None where the inputs are numbers.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    needs: torch.Tensor
    classes: int
    tokens: int | None

    def cut(self, first, last):
        """The steps from `first` to before `last`."""
        parts = (part[first:last] for part in (self.inputs, self.targets, self.needs))
        return Stream(*parts, self.classes, self.tokens)


def text(steps, streams, generator):
    """Next byte of the English that Python carries; the text is cut into `streams` equal ones."""
    del generator
    found, numbers = torch.unique(encode_bytes(embedded_english().encode()), return_inverse=True)
    steps = min(steps, (len(numbers) - 1) // streams)
    numbers = numbers[: streams * steps + 1]
    inputs, targets = (part.view(streams, steps).T.contiguous() for part in (numbers[:-1], numbers[1:]))
    return Stream(inputs, targets, torch.ones_like(inputs), len(found), len(found))


def copy(steps, streams, generator, delay=DELAY):
    """The symbol of so many steps ago, of eight drawn at random."""
    inputs = torch.randint(SYMBOLS, (steps, streams), generator=generator)
    targets = torch.full_like(inputs, NONE)
    targets[delay:] = inputs[:-delay]
    return Stream(inputs, targets, torch.full_like(inputs, delay + 1), SYMBOLS, SYMBOLS)


def pairs(steps, streams, nearest, farthest, generator):
    """Marks in pairs: the steps of firsts and of seconds, bool [T, B] each, and the gap at each second."""
    first, second = torch.zeros(2, steps, streams, dtype=torch.bool)
    gaps = torch.zeros(steps, streams, dtype=torch.int64)
    place = torch.zeros(streams, dtype=torch.int64)
    stream = torch.arange(streams)
    while bool((place < steps).any()):
        place = place + torch.randint(1, nearest + 1, (streams,), generator=generator)
        gap = torch.randint(nearest, farthest + 1, (streams,), generator=generator)
        whole = place + gap < steps
        first[place[whole], stream[whole]] = True
        place = place + gap
        second[place[whole], stream[whole]] = True
        gaps[place[whole], stream[whole]] = gap[whole]
    return first, second, gaps


def adding(steps, streams, generator):
    """The sum of the two marked numbers (uniform, unit variance), in sixteen classes, at the second mark."""
    first, second, gaps = pairs(steps, streams, NEAREST, FARTHEST, generator)
    numbers = torch.rand(steps, streams, generator=generator)
    inputs = torch.stack((WIDEST * (2 * numbers - 1), (first | second).float()), dim=2)
    targets = torch.full((steps, streams), NONE)
    time, stream = second.nonzero(as_tuple=True)
    total = numbers[time, stream] + numbers[time - gaps[time, stream], stream]
    targets[time, stream] = (total / 2 * SUMS).long().clamp(max=SUMS - 1)
    return Stream(inputs, targets, gaps + 1, SUMS, None)


def order(steps, streams, generator):
    """Which of two symbols came first and which second, told at the second, between four distractors."""
    first, second, gaps = pairs(steps, streams, NEAR, FAR, generator)
    marked = torch.randint(2, (steps, streams), generator=generator)
    inputs = torch.randint(NOISE, (steps, streams), generator=generator)
    inputs = torch.where(first | second, FIRST + marked, inputs)
    targets = torch.full((steps, streams), NONE)
    time, stream = second.nonzero(as_tuple=True)
    targets[time, stream] = 2 * marked[time - gaps[time, stream], stream] + marked[time, stream]
    return Stream(inputs, targets, gaps + 1, ORDERS, NOISE + 2)
