"""Differentiates the step of a user's own object, and finds steps that let no gradient through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError
from rnnmem.runner import ObjectRunner
from rnnmem.tree import leaves, tree_map, unflatten
from rnnmem.user_object import described

NEAR = 0.01  # of a state's numbers, and of 1: how far off it is looked at
Read = Callable[[Any], Any]  # a state -> a tree of what a step makes of it


class Undifferentiable(RnnMemError):
    """What cannot be differentiated, and why, in one line."""


@contextmanager
def differentiating(what: str) -> Iterator[None]:
    """Says in one line what a user's own code raises.

    Raises:
        Undifferentiable: instead of anything else.
    """
    try:
        yield
    except Undifferentiable:
        raise
    except Exception as error:
        told = (described(error).splitlines() or [type(error).__name__])[0].removesuffix(": ")
        raise Undifferentiable(f"{what} cannot be differentiated: {told}") from error


class ObjectBackward:
    """A user's object, by differentiating its step."""

    def __init__(self, runner: ObjectRunner) -> None:
        self.runner = runner

    def pull(self, inputs: Tensor, state: Any, gradient: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        states, squares = [tree_map(torch.clone, state)], []
        with differentiating("the step"):
            for x in self.runner.read(inputs[:-1]):
                after = self.runner.network.model.step(x, tree_map(torch.clone, states[-1]))[1]
                states.append(tree_map(torch.clone, after))
            for x, before in zip(reversed(inputs), reversed(states), strict=True):
                gradient = gradients(self.makes(x, 1), before, gradient)
                squares.append(sum(p.abs().double().square().flatten(1).sum(dim=1) for p in gradient))
        return gradient, torch.stack([torch.as_tensor(each) for each in squares[::-1]])

    def makes(self, inputs: Tensor, part: int) -> Read:
        """What a step on inputs [N, I] makes of a state: the output (part 0) or the next state (1)."""
        step, x = self.runner.network.model.given.step, self.runner.read(inputs)
        return lambda state: step(x.clone(), state)[part]

    def check(self, inputs: Tensor, state: Any, outputs: bool = False) -> None:
        """Refuses an object whose next state, or output, moves with its state while no gradient says so.

        Raises:
            Undifferentiable: it does, or its step raised.
        """
        with differentiating("the step"):
            for part in (0, 1) if outputs else (1,):
                if blocks_gradients(self.makes(inputs, part), state):
                    raise Undifferentiable("the step cannot be differentiated: it blocks gradients")


def gradients(read: Read, state: Any, seeds: list[Tensor]) -> list[Tensor]:
    """The gradient of a state, a tensor for each part.

    Args:
        read: makes something of a state; it is given copies, which it may write into.
        state: where.
        seeds: gradients of what it makes, a tensor for each part.
    """
    with torch.enable_grad():
        held = [part.detach().clone().requires_grad_() for part in leaves(state)]
        made = list(leaves(read(unflatten(state, iter([part.clone() for part in held])))))
        pairs = [(m, g) for m, g in zip(made, seeds, strict=True) if m.requires_grad]
        if not pairs:
            return [torch.zeros_like(part) for part in held]
        differentiable, given = zip(*pairs, strict=True)
        found = torch.autograd.grad(differentiable, held, given, allow_unused=True)
    return [torch.zeros_like(h) if g is None else g for h, g in zip(held, found, strict=True)]


def blocks_gradients(read: Read, state: Any) -> bool:
    """Whether what a step makes of a state moves with it, and no gradient says so.

    Args:
        read: as for `gradients`.
        state: one that the network was in.
    """
    where = nearby(state, 0)
    made = outcome(read, where)
    if any(bool(part.any()) for part in gradients(read, where, [drawn(part, 1) for part in made])):
        return False
    return any(moving(read, where))


def moving(read: Read, state: Any) -> list[bool]:
    """For each part of a state, whether what a step makes of it moves with this part alone."""
    base, parts = outcome(read, state), list(leaves(state))
    # A step that is random for itself says nothing of its state.
    if any(not torch.equal(a, b) for a, b in zip(base, outcome(read, state), strict=True)):
        return [False] * len(parts)
    found = []
    for index, (part, near) in enumerate(zip(parts, leaves(nearby(state, 2)), strict=True)):
        after = outcome(read, unflatten(state, iter([*parts[:index], near, *parts[index + 1 :]])))
        moved = sum(float((a - b).norm()) for a, b in zip(after, base, strict=True) if is_float(a))
        found.append(
            is_float(part) and moved > torch.finfo(part.dtype).eps ** 0.5 * float((near - part).norm())
        )
    return found


def nearby(state: Any, seed: int) -> Any:
    """A state a little off, so that it lies on no bend of a step: no relu is at 0 there."""
    moved = [p + NEAR * (1 + p.abs()) * drawn(p, seed) if is_float(p) else p for p in leaves(state)]
    return unflatten(state, iter(moved))


def outcome(read: Read, state: Any) -> list[Tensor]:
    """What a step makes of a copy of a state, with the same random numbers every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = read(unflatten(state, iter([part.clone() for part in leaves(state)])))
    return [part.detach().clone() for part in leaves(made)]


def drawn(like: Tensor, seed: int) -> Tensor:
    """Normal numbers in the shape and dtype of a tensor."""
    dtype = torch.complex128 if like.is_complex() else torch.float64
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, dtype=dtype, generator=generator).to(like)


def is_float(part: Tensor) -> bool:
    return part.is_floating_point() or part.is_complex()
