"""Drives a network with a scalar input and hands its states over, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.fit import walk
from rnnmem.network import Network, read_network
from rnnmem.session import Session, open_session

MOST_STEPS = 2**28  # 2 GiB of float64


def uniform_input(model: Any, steps: int, width: float, seed: int, told: str = "steps") -> Tensor:
    """Independent inputs between -width and width, [T, 1, 1] or [1, T, 1] as the model takes them.

    Args:
        model: what is driven.
        steps: T.
        width: of the inputs.
        seed: of the inputs.
        told: the argument that asks for so many steps.

    Raises:
        RnnMemError: a network of more than one input; more steps than `MOST_STEPS`.
    """
    network = read_network(model)
    if steps > MOST_STEPS:
        raise expected(
            told, f"a number that asks for at most {MOST_STEPS:,} steps of input", f"{steps:,} steps"
        )
    if isinstance(network, Network) and network.input_size != 1:
        raise expected("model", "a network with one input", f"{network.input_size} inputs")
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(steps, 1, 1, dtype=torch.float64, generator=generator) * (2 * width) - width
    values = values.to(network.dtype).to(network.device)
    return values.transpose(0, 1) if network.batch_first else values


def driven(model: Any, inputs: Tensor) -> Session:
    """A session of the model's output on scalar inputs, checked."""
    session = open_session(
        model,
        inputs,
        embedding=None,
        semantics=None,
        lengths=None,
        reset=None,
        layer=-1,
        full=False,
        backend="auto",
        seed=0,
    )
    if session.data.inputs.shape[-1] != 1 or session.space.tokens:
        raise expected("inputs", "one float a step, shape (T, B, 1)", tuple(inputs.shape))
    return session


def states(session: Session) -> Iterator[tuple[Tensor, int]]:
    """Outputs [t, B, H] of the next steps, and the first of those steps."""
    runner = session.runner()
    features = session.network.feature_size(session.full) or 1
    state: Any = None
    for chunk, _, starts in walk(session.space, session.data, 0, features, session.flops):
        if starts:
            state = runner.init_state(chunk.age.shape[1])
        values, state = runner.store(chunk, state)
        yield values, chunk.step
