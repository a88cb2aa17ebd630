"""Which backend runs which unit: the dispatch tables.

A new backend takes one line in `BACKENDS`, a new unit one in each backend's tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.moment_sums import Factors, MomentSums, SumMoments, sum_moments
from rnnmem.network import Network
from rnnmem.reference import ReferenceScan
from rnnmem.scan import Scan
from rnnmem.units import UNITS, Unit, Weights
from rnnmem.user_object import ObjectNetwork

DENSE_UNITS = ("rnn_tanh", "rnn_relu", "gru", "lstm", "echo_tanh", "echo_identity")


@dataclass(frozen=True)
class Backend:
    """A seat in the table.

    Attributes:
        name: as in `assess(backend=...)`.
        units: the units it has; empty while the backend is not built.
        devices: torch device types it runs on.
        make: binds a layer: `(unit, weights, embedding or None, precision that runs) -> Scan`.
        missing: one line on why it cannot run here, or None.
        precisions: what it takes as `precision`, each with the one that runs.
        sum_moments: sums second moments; the reference's where it has none of its own.
    """

    name: str
    units: tuple[str, ...]
    devices: tuple[str, ...]
    make: Callable[[Unit, Weights, Tensor | None, str], Scan]
    missing: Callable[[], str | None]
    precisions: Mapping[str, str] = field(default_factory=lambda: {"highest": "highest"})
    sum_moments: SumMoments = sum_moments


def make_reference(unit: Unit, weights: Weights, embedding: Tensor | None, precision: str) -> Scan:
    return ReferenceScan(unit, weights, embedding)


def make_cpu(unit: Unit, weights: Weights, embedding: Tensor | None, precision: str) -> Scan:
    from rnnmem.ops import CpuScan

    return CpuScan(unit, weights, embedding, half=precision == "medium")


def cpu_sum_moments(of: Factors) -> MomentSums:
    from rnnmem.ops import sum_moments

    return sum_moments(of)


def cpu_missing() -> str | None:
    from rnnmem.ops import missing

    return missing()


def make_nothing(unit: Unit, weights: Weights, embedding: Tensor | None, precision: str) -> Scan:
    raise expected("backend", "one that is built", "one that is not")


def not_built() -> str | None:
    return "not built yet"


# No kernel yet makes three products of split bfloat16 for "high", which asks for no less than they give.
CPU_PRECISIONS = {"highest": "highest", "high": "highest", "medium": "medium"}

BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("reference", tuple(UNITS), ("cpu",), make_reference, lambda: None),
        Backend("cpu", DENSE_UNITS, ("cpu",), make_cpu, cpu_missing, CPU_PRECISIONS, cpu_sum_moments),
        Backend("triton", (), ("cuda",), make_nothing, not_built),
        Backend("cuda", (), ("cuda",), make_nothing, not_built),
    )
}
PREFERENCE = ("cpu", "reference")


def choose_backend(name: str, network: Network | ObjectNetwork) -> str:
    """The name of the backend that will run.

    Raises:
        RnnMemError: an unknown backend, or one that cannot run this network here; none falls back in silence.
    """
    if not isinstance(name, str) or name not in (*BACKENDS, "auto"):
        raise expected("backend", ", ".join(map(repr, (*BACKENDS, "auto"))), repr(name))
    if name != "auto":
        why = refusal(BACKENDS[name], network)
        if why:
            raise expected("backend", "one that can run this network here", f"{name!r}: {why}")
        return name
    if network.device.type != "cpu":
        what = f"one on {network.device.type}: call .cpu() on model and data (no GPU backend is built yet)"
        raise expected("model", "a model on the CPU", what)
    refusals = {each: refusal(BACKENDS[each], network) for each in PREFERENCE}
    for each, why in refusals.items():
        if why is None:
            return each
    raise expected("model", "one that a backend can run here", f"one refused by all: {refusals}")


def slower(name: str, chosen: str, network: Network | ObjectNetwork) -> list[str]:
    """Says that a slower backend than the network has ran, for want of what is installed."""
    missing = BACKENDS["cpu"].missing()
    if name != "auto" or chosen == "cpu" or missing is None or isinstance(network, ObjectNetwork):
        return []
    return [f"the reference backend ran, which is much slower than cpu, since that lacks {missing}"]


def running_precision(name: str, network: Network | ObjectNetwork, precision: str) -> str:
    """The precision that a backend runs where this one is asked for.

    Raises:
        RnnMemError: one that the backend does not take, or that is not for the network's dtype.
    """
    takes = BACKENDS[name].precisions
    if precision not in takes:
        what = f"{' or '.join(map(repr, takes))} on the {name} backend"
        raise expected("precision", what, repr(precision))
    if takes[precision] == "medium" and network.dtype != torch.float32:
        raise expected("precision", f"'highest' for a model of {network.dtype}", repr(precision))
    return takes[precision]


def other_precision(asked: str, ran: str) -> list[str]:
    """Says that another precision than the one that was asked for ran."""
    if asked == ran:
        return []
    return [f"precision {asked!r} ran as {ran!r}, in full: no kernel of this build splits into bfloat16"]


def refusal(backend: Backend, network: Network | ObjectNetwork) -> str | None:
    """Why a backend cannot run a network, or None."""
    missing = backend.missing()
    if missing:
        return missing
    if network.device.type not in backend.devices:
        return f"it does not run on {network.device.type}"
    if isinstance(network, ObjectNetwork):
        return None if backend.name == "reference" else "a user's object runs on 'reference' only"
    for layer in network.layers:
        if layer.unit.name not in backend.units:
            return f"it has no {layer.unit.name}"
    return None
