"""What every measurement begins with: a network read, its data checked, a backend chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.backends import choose_backend, running_precision
from rnnmem.chunks import Streams, check_data, read_streams
from rnnmem.network import Network, at_precision, read_network
from rnnmem.runner import NetworkRunner, make_runner
from rnnmem.semantics import SemanticSpace, semantic_space
from rnnmem.user_object import ObjectNetwork


@dataclass(frozen=True)
class Session:
    """A network ready to run over checked data.

    Attributes:
        network: what was read from the model.
        space: where semantic vectors come from.
        data: the streams, time first.
        backend: the name of the backend that runs.
        full: whether the whole state is measured.
        precision: the one that runs.
    """

    network: Network | ObjectNetwork
    space: SemanticSpace
    data: Streams
    backend: str
    full: bool
    precision: str

    @property
    def flops(self) -> int:
        """Operations of a step and stream, for the size of chunks."""
        if isinstance(self.network, ObjectNetwork):
            return 10**6
        return sum(layer.flops for layer in self.network.layers)

    def runner(self) -> NetworkRunner:
        """The network in motion, its weights packed as they are now."""
        embedding = self.space.embedding
        return make_runner(self.network, self.backend, embedding, self.full, self.precision)


def open_session(
    model: Any,
    inputs: Tensor,
    *,
    embedding: nn.Embedding | Tensor | None,
    semantics: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    layer: int,
    full: bool,
    backend: str,
    seed: int,
    precision: str = "highest",
) -> Session:
    """Reads and checks everything that a measurement is given."""
    network = read_network(model, layer)
    chosen = choose_backend(backend, network)
    ran = running_precision(chosen, network, precision)
    aligned = semantics if isinstance(semantics, Tensor) and semantics.dim() == 3 else None
    data = read_streams(network, inputs, aligned, lengths, reset)
    space = semantic_space(network, data.inputs, embedding, semantics, seed)
    check_data(data, space)
    return Session(at_precision(network, ran), space, data, chosen, full, ran)


@contextmanager
def measuring(model: Any) -> Iterator[None]:
    """Leaves the model's mode, gradients and the random state as they were."""
    modes = [(m, m.training) for held in modules_of(model) for m in held.modules()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            for held in modules_of(model):
                held.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def modules_of(model: Any) -> list[nn.Module]:
    """The model, or the modules that an object holds as attributes, in lists, tuples or dicts among them.

    Of a method, the same of whatever it is a method of.
    """
    model = getattr(model, "__self__", model)
    if isinstance(model, nn.Module):
        return [model]
    found: list[nn.Module] = []
    for value in getattr(model, "__dict__", {}).values():
        parts = value.values() if isinstance(value, dict) else value
        several = parts if isinstance(value, (dict, list, tuple)) else [value]
        found += [part for part in several if isinstance(part, nn.Module)]
    return found
