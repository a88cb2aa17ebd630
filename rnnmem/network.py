"""From whatever the user has trained to layers that every backend can run.

`Network` is torch.nn's recurrent modules and cells and our units: layers of weights. Any object with
`init_state` and `step` is run by its own code; see `rnnmem.user_object`.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rnnmem import nn as dropin
from rnnmem.errors import RnnMemError, expected, shown
from rnnmem.lags import is_int
from rnnmem.units import UNITS, EchoState, Unit, Weights
from rnnmem.units.echo_state import BY_ACTIVATION
from rnnmem.user_object import ObjectNetwork, read_object

MODULES: dict[type[nn.RNNBase], str] = {
    nn.RNN: "rnn",
    nn.GRU: "gru",
    nn.LSTM: "lstm",
    dropin.RNN: "rnn",
    dropin.GRU: "gru",
    dropin.LSTM: "lstm",
}
CELLS: dict[type[nn.RNNCellBase], str] = {nn.RNNCell: "rnn", nn.GRUCell: "gru", nn.LSTMCell: "lstm"}
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SUPPORTED = (
    "nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell, rnnmem.units.EchoState, "
    "or an object with init_state(batch) and step(x_t, state)"
)


@dataclass(frozen=True)
class Layer:
    """One recurrent layer: which unit, and its weights."""

    unit: Unit
    weights: Weights

    @property
    def parameters(self) -> int:
        w = self.weights
        return w.ih.numel() + w.hh.numel() + w.bias_ih.numel() + w.bias_hh.numel()

    @property
    def flops(self) -> int:
        """Floating-point operations a step and stream."""
        w = self.weights
        return 2 * w.ih.numel() + 2 * w.hh.numel() + (2 * self.unit.gates + self.unit.flops) * w.hidden_size


@dataclass(frozen=True)
class Network:
    """Layers of known units, from the input up to and including the measured one.

    Attributes:
        layers: from the input to the measured layer.
        all_layers: every layer that the module has.
        batch_first: whether the user's module, and so the user, puts the batch first.
        name: what the module calls itself.
    """

    layers: tuple[Layer, ...]
    all_layers: tuple[Layer, ...]
    batch_first: bool
    name: str

    @property
    def dtype(self) -> torch.dtype:
        return self.layers[0].weights.ih.dtype

    @property
    def device(self) -> torch.device:
        return self.layers[0].weights.ih.device

    @property
    def input_size(self) -> int | None:
        return self.layers[0].weights.input_size

    def feature_size(self, full: bool) -> int:
        last = self.layers[-1]
        return last.weights.hidden_size * (len(last.unit.state_parts) if full else 1)

    def describe(self) -> dict[str, Any]:
        """What is printed beside a measurement: sizes and costs of the whole module."""
        last = self.layers[-1]
        floats = sum(len(each.unit.state_parts) * each.weights.hidden_size for each in self.all_layers)
        return {
            "name": self.name,
            "unit": last.unit.name,
            "layers": len(self.all_layers),
            "layer": len(self.layers) - 1,
            "input_size": self.input_size,
            "hidden_size": last.weights.hidden_size,
            "parameters": sum(layer.parameters for layer in self.all_layers),
            "state_floats": floats,
            "state_bytes": floats * last.weights.hh.element_size(),
            "flops_per_step": sum(layer.flops for layer in self.all_layers),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def at_precision(network: Network | ObjectNetwork, precision: str) -> Network | ObjectNetwork:
    """The network that runs: at "medium", with its matrices rounded to bfloat16."""
    if precision != "medium" or isinstance(network, ObjectNetwork):
        return network
    rounded = [replace(each, weights=each.weights.rounded()) for each in network.all_layers]
    return replace(network, layers=tuple(rounded[: len(network.layers)]), all_layers=tuple(rounded))


def fingerprint(network: Network | ObjectNetwork, embedding: Tensor | None) -> str | None:
    """A short digest of weights and embedding; None for an object, whose weights are its own affair."""
    if isinstance(network, ObjectNetwork):
        return None
    names = " ".join(f"{layer.unit.name} {layer.weights.leak}" for layer in network.layers)
    weights = [layer.weights for layer in network.layers]
    parts = [part for w in weights for part in (w.ih, w.hh, w.bias_ih, w.bias_hh)]
    return digest_of(parts if embedding is None else [*parts, embedding], names)


def digest_of(tensors: Sequence[Tensor], names: str = "") -> str:
    """A short digest of all numbers of some tensors."""
    digest = hashlib.blake2b(names.encode(), digest_size=8)
    for part in tensors:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_network(model: Any, layer: int = -1) -> Network | ObjectNetwork:
    """Reads a model into a network whose last layer is the one to measure.

    Args:
        model: one of the supported modules, cells, units or objects.
        layer: which layer to measure; negative counts from the last.

    Raises:
        RnnMemError: an unsupported model or option, a layer out of range, weights that are not finite.
    """
    layer = read_layer(layer)
    refuse_overrides(model)
    if isinstance(model, EchoState):
        check_echo(model)
        layers = (Layer(model.unit, model.weights),)
        return build(model, layers, layer, batch_first=False)
    for kind, unit in MODULES.items():
        if isinstance(model, kind):
            refuse_options(model)
            return build(model, module_layers(model, unit), layer, batch_first=model.batch_first)
    for cell, unit in CELLS.items():
        if isinstance(model, cell):
            one = Layer(UNITS[unit_name(model, unit)], read_weights(model, ""))
            return build(model, (one,), layer, batch_first=False)
    if callable(getattr(model, "init_state", None)) and callable(getattr(model, "step", None)):
        return read_object(model, layer)
    if isinstance(model, nn.Module):
        raise whole_module(model)
    if isinstance(model, type):
        raise expected("model", SUPPORTED, f"the class {model.__name__}: make an instance of it")
    raise expected("model", SUPPORTED, type(model).__name__)


def refuse_overrides(model: Any) -> None:
    """Refuses a subclass that computes something else than the unit whose weights would be read."""
    for kind in (*MODULES, *CELLS, EchoState):
        for name in ("forward", "step"):
            if isinstance(model, kind) and getattr(type(model), name, None) is not getattr(kind, name, None):
                what = f"{type(model).__name__} with a {name} of its own: wrap it in an object with " + (
                    "init_state(batch) and step(x_t, state)"
                )
                raise expected("model", f"a {kind.__name__} that computes what its class does", what)


def read_layer(layer: Any) -> int:
    """An int, Python's or numpy's."""
    if not is_int(layer):
        raise expected("layer", "an int", shown(layer))
    return operator.index(layer)


def build(model: nn.Module, layers: tuple[Layer, ...], layer: int, batch_first: bool) -> Network:
    if not -len(layers) <= layer < len(layers):
        raise expected("layer", f"an index into {len(layers)} layer(s)", shown(layer))
    size = getattr(model, "input_size", None)
    for index, each in enumerate(layers):
        w = each.weights
        for name, value in zip(PARTS, (w.ih, w.hh, w.bias_ih, w.bias_hh), strict=True):
            if value.dtype not in (torch.float32, torch.float64):
                raise expected("model", "float32 or float64 weights", f"{value.dtype}: call .float() on it")
            if value.dtype != layers[0].weights.ih.dtype:
                raise expected("model", "weights of one dtype", f"{value.dtype} in layer {index}")
            if value.is_meta:
                raise expected("model", "weights with values", "weights on the meta device")
            if not bool(torch.isfinite(value).all()):
                raise expected("model", "finite weights", f"NaN or Inf in {name} of layer {index}")
        check_shapes(each, index, size, getattr(model, "hidden_size", None))
        size = w.hidden_size
    measured = layers[: range(len(layers))[layer] + 1]
    return Network(measured, layers, batch_first, type(model).__name__)


def check_shapes(layer: Layer, index: int, size: int | None, hidden: int | None) -> None:
    """Catches weights that were replaced by others of a wrong shape.

    Args:
        layer: the layer.
        index: which it is.
        size: features that the module or the layer below gives it; None takes the weights' word.
        hidden: its units; None takes the weights' word.
    """
    w, gates = layer.weights, layer.unit.gates
    for name, value in (("weight_ih", w.ih), ("weight_hh", w.hh)):
        if value.dim() != 2:
            raise expected("model", f"{name} of layer {index} of rank 2", f"shape {tuple(value.shape)}")
    hidden = w.hidden_size if hidden is None else hidden
    for name, value, shape in (
        ("weight_ih", w.ih, (gates * hidden, w.input_size if size is None else size)),
        ("weight_hh", w.hh, (gates * hidden, hidden)),
        ("bias_ih", w.bias_ih, (gates * hidden,)),
        ("bias_hh", w.bias_hh, (gates * hidden,)),
    ):
        if tuple(value.shape) != shape:
            raise expected("model", f"{name} of layer {index} of shape {shape}", tuple(value.shape))


def stacked(ih: Tensor, hh: Tensor, bias_ih: Tensor | None, bias_hh: Tensor | None) -> Weights:
    zero = hh.new_zeros(hh.shape[:1])
    bias_ih = zero if bias_ih is None else bias_ih
    bias_hh = zero if bias_hh is None else bias_hh
    return Weights(ih.detach(), hh.detach(), bias_ih.detach(), bias_hh.detach())


def module_layers(model: nn.RNNBase, unit: str) -> tuple[Layer, ...]:
    kind = UNITS[unit_name(model, unit)]
    return tuple(Layer(kind, read_weights(model, f"_l{index}")) for index in range(model.num_layers))


def unit_name(model: nn.RNNBase | nn.RNNCellBase, unit: str) -> str:
    if unit != "rnn":
        return unit
    if model.nonlinearity not in ("tanh", "relu"):
        raise expected("model", "an RNN with nonlinearity 'tanh' or 'relu'", repr(model.nonlinearity))
    return f"rnn_{model.nonlinearity}"


def read_weights(model: nn.RNNBase | nn.RNNCellBase, suffix: str) -> Weights:
    found: list[Any] = []
    for part in PARTS:
        value = getattr(model, part + suffix, None)
        if value is None and (model.bias or part.startswith("weight")):
            raise expected("model", f"a {type(model).__name__} with {part + suffix}", "one without it")
        refuse_made(model, part + suffix, "model")
        found.append(value)
    return stacked(*found)


def refuse_made(module: nn.Module, name: str, argument: str) -> None:
    """Refuses a weight that a hook makes before each forward pass: none runs here, so it may be stale."""
    made = getattr(module, name, None) is not None and name not in {**module._parameters, **module._buffers}
    if made and not is_parametrized(module, name):
        remedy = "use torch.nn.utils.parametrizations, or remove the hook"
        raise expected(
            argument, f"{name} to be a parameter", f"one that a hook makes (weight_norm, prune): {remedy}"
        )


def check_echo(model: EchoState) -> None:
    """Catches a leak or an activation that was changed into another that there is not."""
    if model.activation not in BY_ACTIVATION or not 0 < model.leak <= 1:
        wanted = f"an EchoState with a leak in (0, 1] and activation {' or '.join(map(repr, BY_ACTIVATION))}"
        raise expected("model", wanted, f"leak={model.leak}, activation={model.activation!r}")


def refuse_options(model: nn.RNNBase) -> None:
    if model.bidirectional:
        what = "a bidirectional one: its state has seen the future; measure a one-directional network"
        raise expected("model", "a one-directional recurrent layer", what)
    if model.proj_size:
        raise expected("model", "an LSTM without proj_size", f"proj_size={model.proj_size}")


def whole_module(model: nn.Module) -> RnnMemError:
    """The refusal of a module that holds recurrent layers, with the call to make."""
    recurrent, embedding, head = [], "", ""
    for name, child in model.named_modules():
        if isinstance(child, (*MODULES, *CELLS, EchoState)) and name:
            recurrent.append(name)
        elif isinstance(child, nn.Embedding) and not embedding:
            embedding = f", embedding=model.{name}"
        elif isinstance(child, nn.Linear):
            head = f", head=model.{name}"
    if not recurrent:
        return expected("model", SUPPORTED, f"{type(model).__name__}, which holds no recurrent layer")
    call = f"assess(model.{recurrent[-1]}, inputs{embedding}{head})"
    return expected("model", "the recurrent layer itself", f"{type(model).__name__}: call {call}")
