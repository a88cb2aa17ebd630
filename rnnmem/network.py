"""From whatever the user has trained to layers that every backend can run.

`Network` is torch.nn's recurrent modules and cells and our units: layers of weights. `ObjectNetwork` is any
object with `init_state` and `step`, run by its own code.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rnnmem.errors import RnnMemError, expected, shown
from rnnmem.lags import is_int
from rnnmem.tree import leaves
from rnnmem.units import UNITS, EchoState, Unit, Weights
from rnnmem.units.echo_state import BY_ACTIVATION

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


class CheckedObject:
    """A user's object, each of whose answers is checked before anything is made of it.

    Attributes:
        given: the object.
        width: size that outputs and features have, by kind; that of the first holds for all.
    """

    def __init__(self, given: Any) -> None:
        self.given = given
        self.width: dict[str, int] = {}

    def init_state(self, batch: int) -> Any:
        """The object's state before the first step.

        Raises:
            RnnMemError: it raised, or returned no tree of tensors [batch, ...].
        """
        try:
            state = self.given.init_state(batch)
            check_state(state, batch)
        except Exception as error:
            wanted = "init_state(batch) to return a state of tensors (batch, ...)"
            raise expected("model", wanted, described(error)) from error
        return state

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the object.

        Raises:
            ValueError: whatever it raised, or what is wrong with what it returned; the runner says where.
        """
        try:
            output, state = self.given.step(x_t, state)
        except Exception as error:
            raise ValueError(described(error)) from error
        check_state(state, len(x_t))
        self.check_features("output", output, len(x_t))
        return output, state

    def features(self, state: Any) -> Tensor:
        """The object's own features of a state.

        Raises:
            RnnMemError: it raised, or returned no tensor [B, F].
        """
        try:
            features: Tensor = self.given.features(state)
            self.check_features("features", features, len(next(leaves(state))))
        except Exception as error:
            raise expected("model", "features(state) to return a tensor (B, F)", described(error)) from error
        return features

    def check_features(self, kind: str, value: Any, streams: int) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"{kind} of type {type(value).__name__}")
        if value.dim() != 2 or len(value) != streams or not value.shape[1] or value.is_meta:
            raise ValueError(f"{kind} of shape {tuple(value.shape)} on {value.device}, not ({streams}, H)")
        width = value.shape[1] * (2 if value.is_complex() else 1)
        if self.width.setdefault(kind, width) != width:
            raise ValueError(f"{kind} of {width} numbers, not {self.width[kind]}")


def check_state(state: Any, streams: int) -> None:
    """Raises ValueError where a state's tensors do not begin with one row for each stream."""
    for tensor in leaves(state):
        if tensor.dim() == 0 or len(tensor) != streams:
            raise ValueError(f"a state of shape {tuple(tensor.shape)}, not ({streams}, ...)")


def described(error: Exception) -> str:
    """An error in words: type and text, or the text alone where it was raised here."""
    return str(error) if type(error) in (ValueError, RnnMemError) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class ObjectNetwork:
    """A user's object with `init_state(batch)`, `step(x_t, state)` and maybe `features(state)`."""

    model: CheckedObject
    dtype: torch.dtype
    device: torch.device
    name: str
    batch_first: bool = False
    input_size: int | None = None

    def feature_size(self, full: bool) -> int | None:
        return None

    def features(self, state: Any) -> Tensor:
        """The whole state as [B, F]: `features(state)`, or its tensors flattened and joined."""
        if hasattr(self.model.given, "features"):
            return self.model.features(state)
        parts = [part.reshape(len(part), -1) for part in leaves(state)]
        split = [p for part in parts for p in ((part.real, part.imag) if part.is_complex() else (part,))]
        joined = torch.cat([part.to(self.dtype) for part in split], dim=1)
        try:
            self.model.check_features("state", joined, len(joined))
        except ValueError as error:
            raise expected("model", "a state of one size", error) from error
        return joined

    def describe(self) -> dict[str, Any]:
        state = list(leaves(first_state(self.model)))
        model = self.model.given
        parameters = model.parameters() if isinstance(model, nn.Module) else None
        return {
            "name": self.name,
            "unit": self.name,
            "parameters": None if parameters is None else sum(p.numel() for p in parameters),
            "state_floats": sum(s.numel() * (2 if s.is_complex() else 1) for s in state),
            "state_bytes": sum(s.numel() * s.element_size() for s in state),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def first_state(model: CheckedObject, streams: int = 1) -> Any:
    """An object's initial state to look at; numbers that it draws for it are drawn apart."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return model.init_state(streams)


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


def read_object(model: Any, layer: int) -> ObjectNetwork:
    if layer not in (-1, 0):
        raise expected("layer", "-1: an object with step() is measured at what step returns", layer)
    checked = CheckedObject(model)
    state = list(leaves(first_state(checked)))
    tensors = [*model.parameters(), *model.buffers(), *state] if isinstance(model, nn.Module) else state
    if not tensors:
        raise expected("model", "init_state(batch) to return tensors", "none")
    for tensor in tensors:
        if tensor.is_meta:
            raise expected("model", "weights and an initial state with values", "some on the meta device")
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            raise expected("model", "finite weights and initial state", "NaN or Inf")
    real = [
        torch.zeros((), dtype=t.dtype).abs().dtype for t in tensors if t.is_floating_point() or t.is_complex()
    ]
    if not real or real[0] not in (torch.float32, torch.float64):
        raise expected("model", "a float32 or float64 state", real[0] if real else "integers")
    return ObjectNetwork(checked, real[0], tensors[0].device, type(model).__name__)


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
