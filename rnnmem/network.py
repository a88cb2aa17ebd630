"""From whatever the user has trained to layers that every backend can run.

`Network` is torch.nn's recurrent modules and cells and our units: layers of weights. `ObjectNetwork` is any
object with `init_state` and `step`, run by its own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.errors import RnnMemError, expected
from rnnmem.tree import leaves
from rnnmem.units import UNITS, EchoState, Unit, Weights

MODULES: dict[type[nn.RNNBase], str] = {nn.RNN: "rnn", nn.GRU: "gru", nn.LSTM: "lstm"}
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
        floats = len(last.unit.state_parts) * last.weights.hidden_size
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


@dataclass(frozen=True)
class ObjectNetwork:
    """A user's object with `init_state(batch)`, `step(x_t, state)` and maybe `features(state)`."""

    model: Any
    dtype: torch.dtype
    device: torch.device
    name: str
    batch_first: bool = False
    input_size: int | None = None

    def feature_size(self, full: bool) -> int | None:
        return None

    def features(self, state: Any) -> Tensor:
        """The whole state as [B, F]: `features(state)`, or its tensors flattened and joined."""
        if hasattr(self.model, "features"):
            features: Tensor = self.model.features(state)
            return features
        parts = [part.flatten(1) for part in leaves(state)]
        split = [p for part in parts for p in ((part.real, part.imag) if part.is_complex() else (part,))]
        return torch.cat([part.to(self.dtype) for part in split], dim=1)

    def describe(self) -> dict[str, Any]:
        with torch.no_grad():
            state = list(leaves(self.model.init_state(1)))
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        return {
            "name": self.name,
            "unit": self.name,
            "parameters": sum(p.numel() for p in parameters) if isinstance(self.model, nn.Module) else None,
            "state_floats": sum(s.numel() * (2 if s.is_complex() else 1) for s in state),
            "state_bytes": sum(s.numel() * s.element_size() for s in state),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def read_network(model: Any, layer: int = -1) -> Network | ObjectNetwork:
    """Reads a model into a network whose last layer is the one to measure.

    Args:
        model: one of the supported modules, cells, units or objects.
        layer: which layer to measure; negative counts from the last.

    Raises:
        RnnMemError: an unsupported model or option, a layer out of range, weights that are not finite.
    """
    if isinstance(layer, bool) or not isinstance(layer, int):
        raise expected("layer", "an int", repr(layer))
    if isinstance(model, EchoState):
        layers = (Layer(model.unit, model.weights),)
        return build(model, layers, layer, batch_first=False)
    for kind, unit in MODULES.items():
        if isinstance(model, kind):
            refuse_options(model)
            return build(model, module_layers(model, unit), layer, batch_first=model.batch_first)
    for cell, unit in CELLS.items():
        if isinstance(model, cell):
            name = f"rnn_{model.nonlinearity}" if isinstance(model, nn.RNNCell) else unit
            ih, hh, bias_ih, bias_hh = (getattr(model, part) for part in PARTS)
            one = Layer(UNITS[name], stacked(ih, hh, bias_ih, bias_hh))
            return build(model, (one,), layer, batch_first=False)
    if callable(getattr(model, "init_state", None)) and callable(getattr(model, "step", None)):
        return read_object(model, layer)
    if isinstance(model, nn.Module):
        raise whole_module(model)
    if isinstance(model, type):
        raise expected("model", SUPPORTED, f"the class {model.__name__}: make an instance of it")
    raise expected("model", SUPPORTED, type(model).__name__)


def build(model: nn.Module, layers: tuple[Layer, ...], layer: int, batch_first: bool) -> Network:
    if not -len(layers) <= layer < len(layers):
        raise expected("layer", f"an index into {len(layers)} layer(s)", layer)
    for index, each in enumerate(layers):
        w = each.weights
        for name, value in (("weight_ih", w.ih), ("weight_hh", w.hh), ("bias_ih", w.bias_ih)):
            if value.dtype not in (torch.float32, torch.float64):
                raise expected("model", "float32 or float64 weights", f"{value.dtype}: call .float() on it")
            if value.dtype != layers[0].weights.ih.dtype:
                raise expected("model", "weights of one dtype", f"{value.dtype} in layer {index}")
            if value.is_meta:
                raise expected("model", "weights with values", "weights on the meta device")
            if not bool(torch.isfinite(value).all()):
                raise expected("model", "finite weights", f"NaN or Inf in {name} of layer {index}")
        if not bool(torch.isfinite(w.hh).all() and torch.isfinite(w.bias_hh).all()):
            raise expected("model", "finite weights", f"NaN or Inf in layer {index}")
        check_shapes(each, index)
    measured = layers[: range(len(layers))[layer] + 1]
    return Network(measured, layers, batch_first, type(model).__name__)


def check_shapes(layer: Layer, index: int) -> None:
    """Catches weights that were replaced by others of a wrong shape."""
    w, gates = layer.weights, layer.unit.gates
    hidden = w.hidden_size
    for name, value, shape in (
        ("weight_ih", w.ih, (gates * hidden, w.input_size)),
        ("weight_hh", w.hh, (gates * hidden, hidden)),
        ("bias_ih", w.bias_ih, (gates * hidden,)),
        ("bias_hh", w.bias_hh, (gates * hidden,)),
    ):
        if tuple(value.shape) != shape:
            raise expected("model", f"{name} of layer {index} of shape {shape}", tuple(value.shape))


def stacked(ih: Tensor, hh: Tensor, bias_ih: Tensor | None, bias_hh: Tensor | None) -> Weights:
    zero = hh.new_zeros(hh.shape[0])
    bias_ih = zero if bias_ih is None else bias_ih
    bias_hh = zero if bias_hh is None else bias_hh
    return Weights(ih.detach(), hh.detach(), bias_ih.detach(), bias_hh.detach())


def module_layers(model: nn.RNNBase, unit: str) -> tuple[Layer, ...]:
    name = f"rnn_{model.nonlinearity}" if unit == "rnn" else unit
    layers = []
    for index in range(model.num_layers):
        ih, hh, bias_ih, bias_hh = (getattr(model, f"{part}_l{index}", None) for part in PARTS)
        assert ih is not None
        assert hh is not None
        layers.append(Layer(UNITS[name], stacked(ih, hh, bias_ih, bias_hh)))
    return tuple(layers)


def refuse_options(model: nn.RNNBase) -> None:
    if model.bidirectional:
        what = "a bidirectional one: its state has seen the future; measure a one-directional network"
        raise expected("model", "a one-directional recurrent layer", what)
    if model.proj_size:
        raise expected("model", "an LSTM without proj_size", f"proj_size={model.proj_size}")


def read_object(model: Any, layer: int) -> ObjectNetwork:
    if layer not in (-1, 0):
        raise expected("layer", "-1: an object with step() is measured at what step returns", layer)
    try:
        with torch.no_grad():
            state = list(leaves(model.init_state(1)))
    except RnnMemError:
        raise
    except Exception as error:
        raise expected(
            "model", "init_state(batch) to return a state", f"{type(error).__name__}: {error}"
        ) from error
    tensors = [*model.parameters(), *model.buffers(), *state] if isinstance(model, nn.Module) else state
    if not tensors:
        raise expected("model", "init_state(batch) to return tensors", "none")
    for tensor in tensors:
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            raise expected("model", "finite weights and initial state", "NaN or Inf")
    real = [
        torch.zeros((), dtype=t.dtype).abs().dtype for t in tensors if t.is_floating_point() or t.is_complex()
    ]
    if not real or real[0] not in (torch.float32, torch.float64):
        raise expected("model", "a float32 or float64 state", real[0] if real else "integers")
    return ObjectNetwork(model, real[0], tensors[0].device, type(model).__name__)


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
