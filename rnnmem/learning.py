"""How far back a gradient still reaches: what a gradient of the state is, so many steps before.

A vector is pulled back through the network's own steps, tau times, from states that the network visited on
its own data. States between are kept at checkpoints only, so that memory grows with the root of the largest
lag and not with the length of the streams.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError, expected, shown
from rnnmem.lags import is_number
from rnnmem.pieces import SPAN, Pieces, alone, piece
from rnnmem.runner import ChangedShape, LayerRunner, ObjectRunner, as_real
from rnnmem.task import NONE, Task, read_logits
from rnnmem.tree import leaves
from rnnmem.user_step import ObjectBackward, differentiating, gradients

MOST_SAMPLES = 256
REACH = 0.01
MOST = 1e300  # where longer gradients end


@dataclass(frozen=True)
class Learnable:
    """A gradient's length by how many steps it was pulled back; every tensor on the CPU.

    Attributes:
        lags: int64 [L + 1], 0 ... max lag.
        gain: root mean square over samples of the gradient's length, over that at lag 0, float64 [L + 1].
        median: over samples, of each sample's length over that at lag 0.
        q10: its 10 % quantile.
        q90: its 90 % quantile.
        samples: how many.
        kind: what the gradient is of: "state", random directions, or "loss".
    """

    lags: Tensor
    gain: Tensor
    median: Tensor
    q10: Tensor
    q90: Tensor
    samples: int
    kind: str

    def reach(self, eps: float = REACH) -> int:
        """The largest lag up to which the gain is at least eps, and the median no more than 1 / eps.

        Args:
            eps: the share, in (0, 1).

        Returns:
            Steps.

        Raises:
            RnnMemError: `eps` out of range or of a wrong type.

        Example:
            >>> import torch
            >>> from rnnmem.learning import Learnable
            >>> halved = 0.5 ** torch.arange(10).double()
            >>> Learnable(torch.arange(10), halved, halved, halved, halved, 1, "state").reach(0.1)
            3
        """
        if not is_number(eps) or not 0 < eps < 1:
            raise expected("eps", "a number in (0, 1)", shown(eps))
        beyond = (~(self.gain >= eps) | (self.median > 1 / eps)).nonzero()
        return int(beyond[0]) - 1 if len(beyond) else int(self.lags[-1])

    def explodes(self, eps: float = REACH) -> int | None:
        """The first lag at which the median is above 1 / eps; None where it is at none."""
        above = (self.median > 1 / eps).nonzero()
        return int(above[0]) if len(above) else None


class Backward(Protocol):
    """Pulls gradients back through a network, a few steps at a time."""

    def pull(self, inputs: Tensor, state: Any, gradient: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Pulls the gradient of a state back through the steps that led there.

        Args:
            inputs: of the steps [T, N, I], or tokens [T, N].
            state: before the first of them.
            gradient: of the state after the last, a tensor for each part.

        Returns:
            The gradient of the state before the first step, and its squared length before each [T, N],
            float64.
        """


class LayerBackward:
    """The layers of a network, on the backend that they run on."""

    def __init__(self, runner: LayerRunner) -> None:
        self.runner = runner

    def pull(self, inputs: Tensor, state: Any, gradient: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        layers = list(zip(self.runner.scans, self.runner.network.layers, state, strict=True))
        read, states, given = [], [], inputs
        for scan, layer, held in layers:
            read.append(given)
            states.append(scan.store(given, held, None, True)[0])
            given = states[-1][..., : layer.weights.hidden_size]
        squares = gradient[0].new_zeros(inputs.shape[:2], dtype=torch.float64)
        above: Tensor | None = None  # what the layer above adds to the gradient of each step's output
        pulled: list[Tensor] = []
        for index in reversed(range(len(layers))):
            scan, layer, held = layers[index]
            found = scan.pull(read[index], held, states[index], gradient[index], above, index > 0)
            squares += found.squares
            above = found.sides @ layer.weights.ih
            pulled.insert(0, found.gradient)
        return pulled, squares


def make_backward(runner: Any) -> Backward:
    return ObjectBackward(runner) if isinstance(runner, ObjectRunner) else LayerBackward(runner)


def measure_learning(
    pieces: Pieces, backward: Backward, longest: int, washout: int, task: Task | None = None
) -> Learnable | str:
    """Pulls gradients back from states that the network visited.

    Args:
        pieces: the whole network in motion over pieces of its data, its output measured.
        backward: the same network.
        longest: steps to pull back.
        washout: steps before the first state.
        task: what the network predicts: its loss's gradients; None for random unit vectors.

    Returns:
        What becomes of their length, or why that cannot be said.
    """
    begins = max(washout, 1)
    try:
        if task is None:
            found = pieces.visited(begins, longest, MOST_SAMPLES)
            if found is None:
                return f"no stream of {begins + longest} steps (washout and max lag)"
            inputs = pieces.at(found.step, found.stream, longest).inputs
            seeds = random_directions(pieces.follow(alone(inputs), found.state)[0], pieces)
            if seeds is None:
                return "the state holds numbers that are no floats"
            if longest and isinstance(backward, ObjectBackward):
                backward.check(inputs[0], found.state)
            lengths, weight = pulled_lengths(pieces, backward, inputs, found.state, seeds), None
        else:
            places = predicting(pieces, task, longest, begins)
            if places is None:
                return f"no target with {begins + longest} steps before it (washout and max lag)"
            lengths, weight = pulled_losses(pieces, backward, task, longest, *places)
            if not len(weight):
                return "the loss has no gradient at any target"
    except ChangedShape:
        raise
    except RnnMemError as error:
        return str(error)
    return summary(lengths.cpu(), weight)


def predicting(pieces: Pieces, task: Task, longest: int, begins: int) -> tuple[Tensor, Tensor] | None:
    """Steps and streams [N] at which something is predicted, so many steps in or more."""
    least, size = pieces.span(begins) - begins, max(1, SPAN // task.streams)
    parts = [torch.zeros(0, task.streams, dtype=torch.bool)]
    steps = counted = 0
    while begins + longest + steps < task.steps and (steps < least or counted < MOST_SAMPLES):
        first = begins + longest + steps
        parts.append(task.between(first, first + size) != NONE)
        steps, counted = steps + len(parts[-1]), counted + int(parts[-1].sum())
    real = torch.cat(parts)
    enough = int((real.sum(dim=1).cumsum(0) < MOST_SAMPLES).sum()) + 1
    near = real[: max(least, enough)].nonzero()
    if not len(near):
        return None
    step, stream = near[torch.randperm(len(near), generator=pieces.generator)[:MOST_SAMPLES]].T
    return step + begins + longest, stream


def pulled_losses(
    pieces: Pieces, backward: Backward, task: Task, longest: int, step: Tensor, stream: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the losses at these places: lengths as from `pulled_lengths`, and squared lengths [N] at lag 0.

    Lag 0 is the output that the head reads, lag 1 the state that the predicting step reads. A layer's output
    is a part of its state after that step; an object's is its own affair, but for what it reads.
    """
    state, _ = pieces.before(step - longest, stream)
    inputs = pieces.at(step - longest, stream, longest + 1).inputs
    # The state after the first of the steps is where lag `longest` ends.
    state, outputs = pieces.follow(alone(inputs[:1]), state)
    before, last = state, state
    if longest:
        if isinstance(backward, ObjectBackward):
            backward.check(inputs[1], state, True)
        before = pieces.follow(alone(inputs[1:-1]), state)[0]
        last, outputs = pieces.follow(alone(inputs[-1:]), before)
    by_output = loss_gradient(task.head, outputs, task.at(step, stream))
    weight = squared_length([by_output], 0)
    some = (weight > 0).nonzero().flatten()
    if not len(some):
        return weight.new_zeros(longest + 1, 0), weight[some]
    state, before, last = (pieces.pick(each, some) for each in (state, before, last))
    read, by_output, weight = inputs[1:, some], by_output[some], weight[some]
    if isinstance(backward, ObjectBackward):
        return pulled_outputs(pieces, backward, read, state, before, by_output), weight
    gradient = [torch.zeros_like(part) for part in last]
    gradient[-1][0] = by_output
    return pulled_lengths(pieces, backward, read, state, gradient), weight


def loss_gradient(head: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """Of each target's loss by the output [N, H] that it is predicted from."""
    with differentiating("the head"), torch.enable_grad():
        held = outputs.detach().clone().requires_grad_()
        logits = read_logits(head, held, targets)
        loss = torch.nn.functional.cross_entropy(logits, targets.to(logits.device), reduction="sum")
        return torch.autograd.grad(loss, held)[0]


def pulled_outputs(
    pieces: Pieces, backward: ObjectBackward, inputs: Tensor, state: Any, before: Any, by_output: Tensor
) -> Tensor:
    """Lengths as from `pulled_lengths` of the gradients [N, H] of what an object puts out.

    Args:
        pieces: the object in motion.
        backward: the same object.
        inputs: of the steps that led to the output [L, N, I], or tokens.
        state: before the first of them.
        before: before the last of them.
        by_output: the gradients; they are lag 0.
    """
    output = torch.zeros(1, len(by_output), dtype=torch.float64, device=by_output.device)
    if not len(inputs):
        return output
    puts_out = backward.makes(inputs[-1], 0)
    with differentiating("the step"):
        gradient = gradients(lambda held: as_real(puts_out(held)), before, [by_output])
    first = 0.5 * (squared_length(gradient, 0).log() - squared_length([by_output], 0).log())
    return torch.cat((output, first + pulled_lengths(pieces, backward, inputs[:-1], state, gradient)))


def random_directions(state: Any, pieces: Pieces) -> list[Tensor] | None:
    """A random unit vector for each stream, a tensor for each part of the state; None for a state of ints."""
    parts, dim = list(leaves(state)), pieces.runner.stream_dim
    if any(not (part.is_floating_point() or part.is_complex()) for part in parts):
        return None
    drawn = []
    for part in parts:
        dtype = torch.complex128 if part.is_complex() else torch.float64
        drawn.append(torch.randn(part.shape, dtype=dtype, generator=pieces.generator).to(part))
    return scaled(drawn, 1 / squared_length(drawn, dim).sqrt(), dim)


def squared_length(gradient: list[Tensor], dim: int) -> Tensor:
    """Of the parts of a gradient, whose streams lie along `dim`, together: float64 [N]."""
    parts = [part.abs().double().square().movedim(dim, 0).flatten(1).sum(dim=1) for part in gradient]
    return torch.stack(parts).sum(dim=0)


def scaled(gradient: list[Tensor], factor: Tensor, dim: int) -> list[Tensor]:
    """Every stream's gradient times its own factor [N]."""
    return [part * factor.view(*[1] * dim, -1, *[1] * (part.dim() - dim - 1)).to(part) for part in gradient]


def pulled_lengths(
    pieces: Pieces, backward: Backward, inputs: Tensor, state: Any, gradient: list[Tensor]
) -> Tensor:
    """Logarithms [L + 1, N] of the lengths of gradients pulled back by 0 ... L steps, float64.

    Args:
        pieces: the network in motion.
        backward: the same network.
        inputs: of the L steps [L, N, I], or tokens.
        state: before the first of them.
        gradient: of the state after the last, at any length; made unit vectors.
    """
    size, dim = max(1, math.isqrt(len(inputs))), pieces.runner.stream_dim
    starts = range(0, len(inputs), size)
    checkpoints = [state]
    for start in starts[:-1]:
        chunk = piece(inputs[start : start + size], start)
        checkpoints.append(pieces.runner.store(chunk, checkpoints[-1])[1])
    length = 0.5 * squared_length(gradient, dim).log()
    found = [torch.zeros_like(length).unsqueeze(0)]
    total = torch.zeros_like(length)
    for start in reversed(starts):
        # Unit vectors again before each segment, so that nothing over- or underflows on a long way.
        gradient = scaled(gradient, (-length).exp().nan_to_num(posinf=0.0), dim)
        gradient, squares = backward.pull(inputs[start : start + size], checkpoints.pop(), gradient)
        found.append(total + 0.5 * squares.double().log().flip(0))
        length = 0.5 * squared_length(gradient, dim).log()
        total = total + length
    return torch.cat(found)


def summary(lengths: Tensor, weight: Tensor | None) -> Learnable:
    """What the logarithms of lengths [L + 1, N] say of a gradient's way back.

    Args:
        lengths: over that at lag 0.
        weight: squared lengths [N] at lag 0 of the loss's gradients, or None for random directions.
    """
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    q10, median, q90 = torch.quantile(lengths.exp().clamp(max=MOST), levels, dim=1)
    share = torch.zeros(lengths.shape[1], dtype=torch.float64) if weight is None else weight.cpu().log()
    mean = (2 * lengths + share).logsumexp(dim=1) - share.logsumexp(dim=0)
    gain = (mean / 2).exp().clamp(max=MOST)
    kind = "state" if weight is None else "loss"
    return Learnable(torch.arange(len(lengths)), gain, median, q10, q90, lengths.shape[1], kind)
