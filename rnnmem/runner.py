"""Runs a network chunk by chunk on a backend: layers below the measured one first, then a sink."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from rnnmem.backends import BACKENDS
from rnnmem.chunks import Chunk
from rnnmem.errors import RnnMemError, expected
from rnnmem.moment_sums import SumMoments, sum_moments
from rnnmem.network import Network
from rnnmem.reference import project
from rnnmem.scan import Projected, Projection, Scan
from rnnmem.tree import tree_map
from rnnmem.user_object import ObjectNetwork


class ChangedShape(RnnMemError):
    """A state is of one shape at one step and of another at another."""


class Runner(Protocol):
    """A network in motion. The state it hands out goes back in with the next chunk of the same streams.

    Attributes:
        stream_dim: which dimension of its states goes with the streams.
        sum_moments: what sums second moments of its features.
    """

    stream_dim: int
    sum_moments: SumMoments

    def init_state(self, streams: int) -> Any:
        """The state before the first step."""

    def store(self, chunk: Chunk, state: Any) -> tuple[Tensor, Any]:
        """Runs a chunk: (features [T, B, F], state)."""

    def project(self, chunk: Chunk, state: Any, projection: Projection) -> tuple[Projected, Any]:
        """Runs a chunk: (what the projection leaves, state)."""


class NetworkRunner(Runner, Protocol):
    """A network in motion on inputs of its own.

    Attributes:
        embedding: what it reads for each token, or None where it is given what it reads.
    """

    embedding: Tensor | None

    def reading(self, rows: Tensor) -> NetworkRunner:
        """The network in motion on these rows [N, I] (tokens [N]) alone: its inputs are their numbers.

        What is read again and again is made into gates only once.
        """


def make_runner(
    network: Network | ObjectNetwork,
    backend: str,
    embedding: Tensor | None,
    full: bool,
    precision: str = "highest",
) -> NetworkRunner:
    """Binds a network to a backend, packing its weights as they are now."""
    if isinstance(network, ObjectNetwork):
        return ObjectRunner(network, embedding, full)
    return LayerRunner(network, backend, embedding, full, precision)


class LayerRunner:
    """Runs the layers of a `Network`."""

    stream_dim = 1

    def __init__(
        self, network: Network, backend: str, embedding: Tensor | None, full: bool, precision: str
    ) -> None:
        make, self.sum_moments = BACKENDS[backend].make, BACKENDS[backend].sum_moments
        tables = [embedding] + [None] * (len(network.layers) - 1)
        self.network, self.backend, self.embedding = network, backend, embedding
        self.full, self.precision = full, precision
        self.scans: list[Scan] = [
            make(layer.unit, layer.weights, table, precision)
            for layer, table in zip(network.layers, tables, strict=True)
        ]

    def reading(self, rows: Tensor) -> LayerRunner:
        table = look_up(self.embedding, rows)
        return LayerRunner(self.network, self.backend, table, self.full, self.precision)

    def init_state(self, streams: int) -> list[Tensor]:
        return [
            layer.weights.hh.new_zeros(len(layer.unit.state_parts), streams, layer.weights.hidden_size)
            for layer in self.network.layers
        ]

    def lower(self, chunk: Chunk, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Runs all layers but the last: its inputs, and their states."""
        inputs, after = chunk.inputs, []
        for scan, before in zip(self.scans[:-1], state[:-1], strict=True):
            inputs, last = scan.store(inputs, before, chunk.reset, False)
            after.append(last)
        return inputs, after

    def store(self, chunk: Chunk, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        inputs, after = self.lower(chunk, state)
        features, last = self.scans[-1].store(inputs, state[-1], chunk.reset, self.full)
        check_finite(features, chunk)
        return features, [*after, last]

    def project(
        self, chunk: Chunk, state: list[Tensor], projection: Projection
    ) -> tuple[Projected, list[Tensor]]:
        inputs, after = self.lower(chunk, state)
        projected, last = self.scans[-1].project(inputs, state[-1], chunk.reset, self.full, projection)
        check_finite(projected.distance, chunk)
        return projected, [*after, last]


class ObjectRunner:
    """Runs a user's object, a step at a time."""

    stream_dim = 0

    def __init__(self, network: ObjectNetwork, embedding: Tensor | None, full: bool) -> None:
        self.network = network
        self.embedding = embedding
        self.full = full
        self.sum_moments: SumMoments = sum_moments

    def reading(self, rows: Tensor) -> ObjectRunner:
        return ObjectRunner(self.network, look_up(self.embedding, rows), self.full)

    def init_state(self, streams: int) -> Any:
        return self.network.model.init_state(streams)

    def read(self, inputs: Tensor) -> Tensor:
        """What the object reads, and may write into: a copy of the inputs, or the embedding's of tokens."""
        return inputs.clone() if self.embedding is None else self.embedding[inputs]

    def store(self, chunk: Chunk, state: Any) -> tuple[Tensor, Any]:
        model, steps = self.network.model, len(chunk.inputs)
        state = tree_map(torch.clone, state)  # an object may write into the state it is given
        initial = self.init_state(chunk.inputs.shape[1]) if chunk.reset is not None else None
        features = []
        for t in range(steps):
            if chunk.reset is not None and bool(chunk.reset[t].any()):
                check_shapes(self, [initial, state])
                state = tree_map(lambda old, new, mask=chunk.reset[t]: choose(mask, new, old), state, initial)
            x = self.read(chunk.inputs[t])
            try:
                output, state = model.step(x, state)
            except ValueError as error:
                what = f"for x_t of shape {tuple(x.shape)}: {error}"
                raise expected("model", "step(x_t, state) to return (output, state)", what) from error
            value = self.network.features(state) if self.full else output
            features.append(value.clone())  # ... or hand out one tensor again and again
        joined = as_real(torch.stack(features))
        if joined.dtype != self.network.dtype:
            raise expected("model", f"features of dtype {self.network.dtype}", joined.dtype)
        check_finite(joined, chunk)
        return joined, state

    def project(self, chunk: Chunk, state: Any, projection: Projection) -> tuple[Projected, Any]:
        features, state = self.store(chunk, state)
        return project(features, projection), state


def look_up(embedding: Tensor | None, rows: Tensor) -> Tensor:
    """What a network reads for rows of its inputs: these, or what the embedding has for tokens."""
    return rows if embedding is None else embedding[rows]


def as_real(values: Tensor) -> Tensor:
    """Complex numbers [..., F] as real | imaginary [..., 2 F]; others as they are."""
    return torch.cat((values.real, values.imag), dim=-1) if values.is_complex() else values


def choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (old.dim() - 1)), new, old)


def check_finite(values: Tensor, chunk: Chunk) -> None:
    """Raises for the first (step, stream) of values [T, B, N] that is NaN or Inf where a step was taken."""
    # A finite sum clears them all at the price of one pass.
    if bool(values.sum().isfinite()):
        return
    wrong = ~values.isfinite().all(dim=-1) & (chunk.age >= 0)
    if bool(wrong.any()):
        step, stream = (int(i) for i in wrong.nonzero()[0])
        where = f"NaN or Inf in the state of stream {chunk.stream + stream} at step {chunk.step + step}"
        raise expected("model", "a network whose state stays finite", where)


def stream_slice(runner: Runner, state: Any, streams: slice) -> Any:
    """The state of some streams."""
    index = (slice(None),) * runner.stream_dim + (streams,)
    return tree_map(lambda tensor: tensor[index], state)


def stream_join(runner: Runner, states: list[Any]) -> Any:
    """The states of several groups of streams as one.

    Raises:
        ChangedShape: they are of different steps, and the state takes another shape as it goes.
    """
    if len(states) == 1:
        return states[0]
    check_shapes(runner, states)
    return tree_map(lambda *parts: torch.cat(parts, dim=runner.stream_dim), *states)


def check_shapes(runner: Runner, states: list[Any]) -> None:
    """Raises ChangedShape where states differ in more than how many streams they are of."""
    dim = runner.stream_dim
    shapes = [tree_map(lambda p: (*p.shape[:dim], *p.shape[dim + 1 :]), state) for state in states]
    for shape in shapes:
        if shape != shapes[0]:
            raise ChangedShape(
                str(expected("model", "a state of constant shape", f"{shapes[0]} and {shape}"))
            )
