"""How fast neighbouring states of a driven network part or meet: its conditional Lyapunov exponents."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rnnmem.errors import expected
from rnnmem.measures.arguments import read_positive
from rnnmem.network import Network
from rnnmem.options import read_count
from rnnmem.session import Session, measuring, open_session
from rnnmem.tree import leaves, tree_map, unflatten
from rnnmem.user_object import ObjectNetwork, described
from rnnmem.user_step import drawn, moving, nearby

FEW_STREAMS, FEW_STEPS, SETTLING = 4, 1000, 100


def lyapunov_spectrum(
    model: Any,
    inputs: Tensor,
    *,
    embedding: nn.Embedding | Tensor | None = None,
    k: int | None = None,
    washout: int = 100,
    qr_every: int = 1,
) -> Tensor:
    """Conditional (input-driven) Lyapunov exponents of a network, the largest first.

    A frame of k orthonormal directions is carried along with the state, J_t Q_t, and made orthonormal again
    by QR; an exponent is the mean logarithm by which its direction grew. It starts from the axes where k is
    all, else from random directions (of a fixed seed), which turn towards the fastest during the washout.
    Negative exponents: the network forgets where it started. The whole network's state is looked at, all
    layers of it.

    Args:
        model: as in `rnnmem.assess`; an object's step must be of torch functions that can be differentiated.
        inputs: as in `rnnmem.assess`.
        embedding: as in `rnnmem.assess`.
        k: how many exponents; None for as many as the state has numbers.
        washout: steps over which state and frame settle before growth is counted.
        qr_every: steps from one QR to the next; more is faster, and loses the smallest exponents first.

    Returns:
        Exponents in nats a step, means over streams, float64 [k], descending; -inf where a direction
        vanishes.

    Raises:
        RnnMemError: bad input as in `rnnmem.assess`; k beyond the state's size; no step after the washout.

    Source:
        Benettin et al. 1980; for recurrent networks, Engelken, Wolf and Abbott 2023.

    Example:
        >>> import torch, rnnmem
        >>> weight = torch.diag(torch.tensor([0.9, 0.5]))
        >>> unit = rnnmem.units.EchoState(torch.eye(2), weight, activation="identity")
        >>> rnnmem.lyapunov_spectrum(unit, torch.randn(400, 1, 2)).exp()
        tensor([0.9000, 0.5000], dtype=torch.float64)
    """
    wanted = None if k is None else read_positive("k", k)
    skipped, every = read_count("washout", washout), read_positive("qr_every", qr_every)
    with measuring(model):
        session = open_session(
            model,
            inputs,
            embedding=embedding,
            semantics=None,
            lengths=None,
            reset=None,
            layer=-1,
            full=True,
            backend="reference",
            seed=0,
        )
        steps = session.data.steps
        if steps <= skipped:
            raise expected("inputs", f"more than washout = {skipped} steps", steps)
        flow = make_flow(session)
        if wanted is not None and wanted > flow.size:
            raise expected("k", f"at most {flow.size}, the numbers that the state holds", wanted)
        return exponents(flow, rows(session), wanted or flow.size, skipped, every)


def largest_exponent(session: Session, washout: int) -> float | None:
    """The largest exponent on the beginning of some of a session's streams, in nats a step.

    Args:
        session: the network, all layers of which are looked at, and its data.
        washout: steps over which state and direction settle, 100 at least.

    Returns:
        A mean over 4 streams and 1,000 steps or what there is; None where the streams are too short, where
        all differences vanish, and for a user's object, of which `lyapunov_spectrum` can be asked.
    """
    data, washout = session.data, max(washout, SETTLING)
    if isinstance(session.network, ObjectNetwork):
        return None
    if data.lengths is not None:
        order = data.lengths.argsort(descending=True, stable=True)[:FEW_STREAMS]
        data = replace(data, inputs=data.inputs[: int(data.lengths[order].min()), order], lengths=None)
    begun = data.streams(0, FEW_STREAMS).time(0, washout + FEW_STEPS)
    if begun.steps <= washout:
        return None
    found = exponents(make_flow(session), rows(replace(session, data=begun)), 1, washout, 1)
    return float(found[0]) if bool(found.isfinite().all()) else None


class Flow(Protocol):
    """A network's whole state in motion, and directions carried along with it.

    Attributes:
        size: numbers in the state of one stream.
    """

    size: int

    def start(self, streams: int, count: int) -> Tensor:
        """Goes to the initial state and returns the first directions [count, B, size]."""

    def step(self, x: Tensor, directions: Tensor) -> Tensor:
        """Takes a step on inputs [B, I]: the directions [k, B, size] after it."""


class LayerFlow:
    """The layers of a `Network`, by the units' own `step_tangent`."""

    def __init__(self, network: Network) -> None:
        self.layers = network.all_layers
        self.sizes = [len(each.unit.state_parts) * each.weights.hidden_size for each in self.layers]
        self.size = sum(self.sizes)
        self.state: list[Tensor] = []

    def start(self, streams: int, count: int) -> Tensor:
        self.state = [
            each.weights.hh.new_zeros(len(each.unit.state_parts), streams, each.weights.hidden_size)
            for each in self.layers
        ]
        return frame(self.state[0], streams, count, self.size)

    def step(self, x: Tensor, directions: Tensor) -> Tensor:
        moved, x_moved = [], None
        for index, (layer, part) in enumerate(
            zip(self.layers, directions.split(self.sizes, dim=-1), strict=True)
        ):
            parts = len(layer.unit.state_parts)
            tangent = part.unflatten(-1, (parts, -1)).transpose(1, 2)
            self.state[index], tangent = layer.unit.step_tangent(
                layer.weights, x, self.state[index], x_moved, tangent
            )
            x, x_moved = self.state[index][0], tangent[:, 0]
            moved.append(tangent.transpose(1, 2).flatten(2))
        return torch.cat(moved, dim=-1)


class ObjectFlow:
    """A user's object, by forward-mode differentiation of its step, which may write into its state."""

    def __init__(self, network: ObjectNetwork) -> None:
        self.model = network.model
        self.state: Any = None
        self.checked = False
        found = list(leaves(self.model.init_state(1)))
        if any(not each.is_floating_point() for each in found):
            raise expected("model", "a state of real floats, for directions in it", "another")
        self.size = sum(each.numel() for each in found)

    def start(self, streams: int, count: int) -> Tensor:
        self.state = tree_map(torch.clone, self.model.init_state(streams))
        return frame(next(leaves(self.state)), streams, count, self.size)

    def step(self, x: Tensor, directions: Tensor) -> Tensor:
        after = self.after(x)
        before = list(leaves(self.state))
        parts = directions.split([each[0].numel() for each in before], dim=-1)
        tangents = [part.reshape(len(part), *b.shape) for part, b in zip(parts, before, strict=True)]
        wanted = "a step that torch.func.jvp can differentiate"
        try:
            moved = self.pushed(x, self.state, tangents)
            blocked = not self.checked and self.blocked(x)
        except Exception as error:
            raise expected("model", wanted, described(error)) from error
        if blocked:
            raise expected("model", wanted, "one that blocks gradients")
        self.state, self.checked = after, True
        return torch.cat([each.flatten(2) for each in moved], dim=-1)

    def after(self, x: Tensor) -> Any:
        """The state a step later, of the same shape."""
        try:
            state = self.model.step(x.clone(), tree_map(torch.clone, self.state))[1]
        except ValueError as error:
            wanted = "step(x_t, state) to return (output, state)"
            raise expected("model", wanted, described(error)) from error
        shapes = [[tuple(part.shape) for part in leaves(each)] for each in (self.state, state)]
        if shapes[0] != shapes[1]:
            raise expected("model", "a state of constant shape", f"{shapes[0]} and then {shapes[1]}")
        if not self.size:
            raise expected("model", "a state that holds numbers", f"shapes {shapes[0]}")
        return tree_map(torch.clone, state)

    def pushed(self, x: Tensor, state: Any, tangents: list[Tensor]) -> tuple[Tensor, ...]:
        """What a step makes of tangents [k, B, ...] of each part of a state."""

        def after(*values: Tensor) -> tuple[Tensor, ...]:
            given = iter([each.clone() for each in values])
            return tuple(leaves(self.model.given.step(x.clone(), unflatten(state, given))[1]))

        def push(*tangent: Tensor) -> tuple[Tensor, ...]:
            return torch.func.jvp(after, tuple(leaves(state)), tangent)[1]

        with warnings.catch_warnings():  # torch's own, when it first loads this part of itself
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.func.vmap(push)(*tangents)

    def blocked(self, x: Tensor) -> bool:
        """Whether the next state moves with a part of the state of which no tangent comes through."""
        where = nearby(self.state, 0)
        parts = list(leaves(where))
        for index, moves in enumerate(
            moving(lambda state: self.model.given.step(x.clone(), state)[1], where)
        ):
            tangents = [torch.zeros_like(part).unsqueeze(0) for part in parts]
            tangents[index] = drawn(tangents[index], 1)
            if moves and not any(bool(each.any()) for each in self.pushed(x, where, tangents)):
                return True
        return False


def make_flow(session: Session) -> Flow:
    network = session.network
    return ObjectFlow(network) if isinstance(network, ObjectNetwork) else LayerFlow(network)


def frame(like: Tensor, streams: int, count: int, size: int) -> Tensor:
    """The first directions [count, B, size]: the axes, or random ones where there are fewer than axes.

    A frame on some of the axes would never leave them where no unit reads another.
    """
    if count < size:
        generator = torch.Generator().manual_seed(0)
        axes = torch.linalg.qr(torch.randn(size, count, dtype=torch.float64, generator=generator))[0].T
    else:
        axes = torch.eye(size, dtype=torch.float64)
    return axes.to(like).unsqueeze(1).repeat(1, streams, 1)


def rows(session: Session) -> Iterator[Tensor]:
    """What the network reads, step by step [B, I]."""
    embedding = session.space.embedding
    for x in session.data.inputs:
        yield x if embedding is None else embedding[x]


def exponents(flow: Flow, inputs: Iterator[Tensor], count: int, washout: int, every: int) -> Tensor:
    """Carries a frame along and sums the logarithms of its growth [count]."""
    total, counted, last = torch.zeros(count, dtype=torch.float64), 0, 0
    directions: Tensor | None = None
    step = 0
    for step, x in enumerate(inputs, start=1):
        if directions is None:
            directions = flow.start(len(x), count)
        directions = flow.step(x, directions)
        if step == washout or step % every == 0:
            directions, growth = orthonormal(directions, step)
            if step > washout:
                total += growth.mean(dim=0).cpu()
                counted += step - last
            last = step
    assert directions is not None
    if last < step:
        total += orthonormal(directions, step)[1].mean(dim=0).cpu()
        counted += step - last
    return (total / counted).sort(descending=True).values


def orthonormal(directions: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The frame made orthonormal [k, B, N], and the logarithms of its growth [B, k], float64."""
    if not bool(directions.isfinite().all()):
        raise expected("model", "a network whose state stays finite", f"NaN or Inf at step {step - 1}")
    q, r = torch.linalg.qr(directions.permute(1, 2, 0))
    growth = r.diagonal(dim1=-2, dim2=-1).abs().double().log()
    return q.permute(2, 0, 1), growth
