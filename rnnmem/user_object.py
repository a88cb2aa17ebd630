"""A user's own object as a network: checked at every answer, read without its weights being known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.errors import RnnMemError, expected
from rnnmem.tree import leaves


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
