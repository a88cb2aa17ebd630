"""A recurrent network from a saved state_dict: unit, size and depth are told from the names and shapes.

What a state_dict does not hold (whether an RNN is tanh or relu, which table is the embedding when two would
fit) is asked for.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.errors import expected
from rnnmem.state_dict import read_state_dict
from rnnmem.text import describe

GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
CELLS: dict[str, Callable[..., nn.RNNCellBase]] = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}

_RECURRENT = re.compile(
    r"^(?P<prefix>(?:.*\.)?)(?:weight|bias)_(?P<side>ih|hh|hr)(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?$"
)


@dataclass(frozen=True)
class LayerKeys:
    """The keys of one recurrent module of a state_dict.

    Attributes:
        prefix: what its keys start with, "" or ending in a dot.
        stacked: torch.nn.RNN, GRU or LSTM; False for a cell.
        keys: full keys of all its tensors.
    """

    prefix: str
    stacked: bool
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A recurrent network read from a file, and the tensors saved beside it.

    Attributes:
        path: the file.
        model: torch.nn.RNN, GRU, LSTM or a cell, in eval mode, float32 or float64 as saved.
        unit: "RNN", "GRU" or "LSTM".
        layer: where it was found.
        tensors: everything in the file, by its cleaned name.
        assumed: what the file does not say and was taken for granted, or None.
    """

    path: str
    model: nn.RNNBase | nn.RNNCellBase
    unit: str
    layer: LayerKeys
    tensors: Mapping[str, Tensor]
    assumed: str | None

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return next(self.model.parameters()).dtype

    def embedding(self, key: str | None = None) -> Tensor:
        """Returns the table [V, I] that turns tokens into this network's inputs.

        Args:
            key: its name; None takes the only matrix with I columns that is not the weight of an affine map.

        Raises:
            RnnMemError: no such table, or several and no `key`; the candidates are listed.
        """
        size = self.model.input_size
        fits = [name for name in self._tables(size) if not self._has_bias(name)]
        if key is not None:
            name = self._named("--embedding", key, f"a table with {size} columns", fits)
            if self.tensors[name].ndim != 2 or self.tensors[name].shape[1] != size:
                raise expected("--embedding", f"[V, {size}] to feed the {self.unit}", self._shown([name]))
            return self.tensors[name]
        if not fits:
            raise expected(
                "embedding",
                f"a table [V, {size}] in {self.path} to turn tokens into inputs",
                f"none among {self._shown(self._others())}; without one, the data must be floats",
            )
        if any(not torch.equal(self.tensors[fits[0]], self.tensors[name]) for name in fits[1:]):
            raise expected("embedding", "one candidate", f"{self._shown(fits)}; choose with --embedding KEY")
        return self.tensors[fits[0]]

    def head(self, key: str | None = None, *, tokens: int | None = None) -> nn.Linear | None:
        """Returns the affine map from the hidden state to the logits, or None if it cannot be told.

        Args:
            key: the name of its weight [V, H]; None takes the only matrix that fits.
            tokens: V, if known.

        Raises:
            RnnMemError: `key` names no such matrix.
        """
        size = self.model.hidden_size
        fits = [name for name in self._tables(size) if tokens in (None, len(self.tensors[name]))]
        if key is not None:
            name = self._named("--head", key, f"a weight with {size} columns", fits)
            weight = self.tensors[name]
            if weight.ndim != 2 or weight.shape[1] != size or tokens not in (None, len(weight)):
                raise expected("--head", f"[{tokens or 'V'}, {size}]", self._shown([name]))
        else:
            biased = [name for name in fits if self._has_bias(name)]
            fits = biased if len(biased) == 1 else fits
            if len(fits) != 1:
                return None
            name = fits[0]
        return self._linear(name)

    def _linear(self, name: str) -> nn.Linear:
        weight = self.tensors[name]
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=self._has_bias(name), dtype=weight.dtype)
        # The file's own tensors, so that a weight tied to the embedding is known to be the same.
        head.weight = nn.Parameter(weight, requires_grad=False)
        if self._has_bias(name):
            head.bias = nn.Parameter(self.tensors[_bias_of(name)], requires_grad=False)
        return head.eval()

    def _others(self) -> list[str]:
        return [name for name in self.tensors if not _RECURRENT.match(name)]

    def _tables(self, columns: int) -> list[str]:
        return [
            name
            for name in self._others()
            if self.tensors[name].ndim == 2
            and self.tensors[name].shape[1] == columns
            and self.tensors[name].dtype == self.dtype
        ]

    def _has_bias(self, name: str) -> bool:
        bias = self.tensors.get(_bias_of(name))
        return name.endswith("weight") and bias is not None and bias.shape == self.tensors[name].shape[:1]

    def _named(self, option: str, key: str, wanted: str, fits: list[str]) -> str:
        for name in (key, f"{key}.weight"):
            if name in self.tensors:
                return name
        close = difflib.get_close_matches(key, self.tensors, n=3) or fits or self._others()
        raise expected(
            option, f"the key of {wanted} in {self.path}", f"{key!r}; there is {self._shown(close)}"
        )

    def _shown(self, names: Iterable[str]) -> str:
        return _shown(names, self.tensors)


def load_checkpoint(
    path: str | os.PathLike[str], *, prefix: str | None = None, nonlinearity: str | None = None
) -> Checkpoint:
    """Rebuilds the recurrent network that a state_dict holds.

    The number of gates G is told from weight_hh [G·H, H]: 1 is an RNN, 3 a GRU, 4 an LSTM.

    Args:
        path: a file for `read_state_dict`.
        prefix: where the network's keys start ("encoder" for encoder.rnn.weight_ih_l0), if there are several.
        nonlinearity: "tanh" or "relu", for an RNN; a state_dict does not say. None is tanh.

    Returns:
        The network with its weights, and what was saved beside it.

    Raises:
        RnnMemError: as `read_state_dict`; none or several networks; bidirectional or projected ones; shapes
            that do not fit; a dtype other than float32 or float64.

    Example:
        >>> import tempfile, torch
        >>> from rnnmem.checkpoint import load_checkpoint
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(torch.nn.LSTM(5, 7, num_layers=2).state_dict(), f"{folder}/lstm.pt")
        ...     load_checkpoint(f"{folder}/lstm.pt").model
        LSTM(5, 7, num_layers=2)
    """
    name = os.fspath(path)
    tensors = read_state_dict(path)
    layer = _choose(name, tensors, prefix)
    unit, model = _rebuild(name, tensors, layer, nonlinearity)
    guessed = unit == "RNN" and nonlinearity is None
    assumed = "taken to be a tanh RNN (--nonlinearity relu if it is not)" if guessed else None
    return Checkpoint(name, model, unit, layer, tensors, assumed)


def find_layers(tensors: Mapping[str, Tensor]) -> list[LayerKeys]:
    """Lists the recurrent modules of a state_dict, in its order."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for key in tensors:
        match = _RECURRENT.match(key)
        if match:
            groups.setdefault((match["prefix"], match["layer"] is not None), []).append(key)
    return [LayerKeys(prefix, stacked, tuple(keys)) for (prefix, stacked), keys in groups.items()]


def _choose(name: str, tensors: Mapping[str, Tensor], prefix: str | None) -> LayerKeys:
    layers = find_layers(tensors)
    if not layers:
        raise expected(
            "checkpoint",
            "a recurrent layer of torch.nn (keys such as rnn.weight_ih_l0 and rnn.weight_hh_l0)",
            f"{name} with {_shown(tensors, tensors)}",
        )
    if prefix is None:
        if len(layers) == 1:
            return layers[0]
        raise expected(
            "checkpoint", "one recurrent layer", f"{_listed(layers)} in {name}; choose with --prefix"
        )
    wanted = prefix.rstrip(".")
    exact = [layer for layer in layers if layer.prefix.rstrip(".") == wanted]
    below = exact or [layer for layer in layers if layer.prefix.startswith(wanted + ".")]
    if len(below) != 1:
        raise expected("--prefix", f"one of {_listed(layers)}", repr(prefix))
    return below[0]


def _listed(layers: Iterable[LayerKeys]) -> str:
    return ", ".join(repr(layer.prefix.rstrip(".")) for layer in layers)


def _refuse(name: str, tensors: Mapping[str, Tensor], layer: LayerKeys) -> None:
    """Raises for networks that have recurrent keys but that no torch.nn module here can carry."""
    where = f"{name}: {layer.prefix.rstrip('.') or 'its network'}"
    own = [key.removeprefix(layer.prefix) for key in layer.keys]
    if any(key.endswith("_reverse") for key in own):
        raise expected(
            "checkpoint",
            "a network that runs forward in time only",
            f"{where}, bidirectional; its outputs have seen the future: save the keys without _reverse alone "
            "to measure the forward half of a one-layer network, or train it with bidirectional=False",
        )
    if any(key.startswith("weight_hr") for key in own):
        raise expected(
            "checkpoint",
            "an LSTM without proj_size",
            f"{where}, which has weight_hr; in Python, wrap it as an object with init_state and step",
        )
    if not layer.stacked and f"{layer.prefix}bias" in tensors:
        raise expected(
            "checkpoint",
            "a layer or cell of torch.nn",
            f"{where}, an EchoState: its leak is not in its state_dict; measure it in Python: rnnmem.assess",
        )
    dtypes = sorted({str(tensors[key].dtype).removeprefix("torch.") for key in layer.keys})
    if dtypes not in (["float32"], ["float64"]):
        got = f"{where} in {' and '.join(dtypes)}; save the state_dict of model.float()"
        raise expected("checkpoint", "float32 or float64 weights", got)


def _rebuild(
    name: str, tensors: Mapping[str, Tensor], layer: LayerKeys, nonlinearity: str | None
) -> tuple[str, nn.RNNBase | nn.RNNCellBase]:
    _refuse(name, tensors, layer)
    own = {key.removeprefix(layer.prefix): tensors[key] for key in layer.keys}
    depth = 1 + max(int(key.rpartition("_l")[2]) for key in own) if layer.stacked else 1
    end = "_l0" if layer.stacked else ""
    weight_ih, weight_hh = own.get(f"weight_ih{end}"), own.get(f"weight_hh{end}")
    found = f"{name} with {_shown(layer.keys, tensors)}"
    if weight_ih is None or weight_hh is None or weight_ih.ndim != 2 or weight_hh.ndim != 2:
        raise expected("checkpoint", f"matrices weight_ih{end} and weight_hh{end}", found)
    rows, hidden = weight_hh.shape
    unit = GATES.get(rows // hidden) if hidden and rows % hidden == 0 else None
    if unit is None or weight_ih.shape[1] == 0:
        raise expected("checkpoint", "weight_hh [G·H, H] with G = 1 (RNN), 3 (GRU) or 4 (LSTM)", found)
    if nonlinearity is not None and (unit != "RNN" or nonlinearity not in ("tanh", "relu")):
        raise expected(
            "--nonlinearity", "tanh or relu, for an RNN only", f"{nonlinearity!r} for the {unit} in {name}"
        )
    options: dict[str, Any] = {"bias": f"bias_ih{end}" in own, "dtype": weight_hh.dtype}
    if layer.stacked:
        options["num_layers"] = depth
    if nonlinearity is not None:
        options["nonlinearity"] = nonlinearity
    model = (LAYERS if layer.stacked else CELLS)[unit](weight_ih.shape[1], hidden, **options)
    try:
        model.load_state_dict(own)
    except RuntimeError as error:  # a layer is missing or of another size
        raise expected("checkpoint", f"the weights of {model}", f"{found}; {describe(error)}") from error
    return unit, model.eval()


def _bias_of(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def _shown(names: Iterable[str], tensors: Mapping[str, Tensor]) -> str:
    """Names and shapes for a message, at most eight."""
    listed = list(names)
    shown = ", ".join(f"{name} {list(tensors[name].shape)}" for name in listed[:8])
    return (shown or "none") + (f", … ({len(listed)} in all)" if len(listed) > 8 else "")
