"""What the compiled operators return, in shapes and dtypes alone: for torch.compile and torch.export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnmem.units import UNITS

VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 16, "neon": 16}


def panels(size: int, gates: int, isa: str, dtype: torch.dtype) -> tuple[int, int, int]:
    """Panels, vectors and lanes of a packed matrix [gates * size, K]; csrc/job.h computes the same."""
    lanes = VECTOR_BYTES[isa] // dtype.itemsize
    units = lanes * (2 if gates == 1 else 1)
    return -(-size // units), 2 if gates == 1 else gates, lanes


def _fake_pack(weight: Tensor, gates: int, isa: str) -> Tensor:
    count, vectors, lanes = panels(weight.shape[1] // gates, gates, isa, weight.dtype)
    return weight.new_empty(weight.shape[0], count, weight.shape[2], vectors, lanes)


def _fake_gate_rows(
    unit: str, isa: str, inputs: Tensor, ih: Tensor, bias_ih: Tensor, hh: Tensor, bias_hh: Tensor
) -> Tensor:
    return inputs.new_empty(inputs.shape[0], bias_ih.numel())


def _fake_store(
    unit: str,
    isa: str,
    inputs: Tensor,
    table: Tensor | None,
    ih: Tensor | None,
    bias_ih: Tensor,
    hh: Tensor,
    bias_hh: Tensor,
    leak: float,
    state: Tensor,
    reset: Tensor | None,
    full: bool,
) -> tuple[Tensor, Tensor]:
    features = state.shape[2] * (state.shape[0] if full else 1)
    return state.new_empty(inputs.shape[0], state.shape[1], features), torch.empty_like(state)


def _fake_layer(
    unit: str,
    inputs: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    half: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    steps, streams, hidden = inputs.shape[0], inputs.shape[1], hh.shape[1]
    last = hh.new_empty(1, streams, hidden)
    cell = hh.new_empty(len(UNITS[unit].state_parts) - 1, streams, hidden)
    return hh.new_empty(steps, streams, hidden), last, cell


def _fake_pull(
    unit: str,
    isa: str,
    inputs: Tensor,
    table: Tensor | None,
    ih: Tensor | None,
    bias_ih: Tensor,
    hh: Tensor,
    bias_hh: Tensor,
    leak: float,
    state: Tensor,
    reset: Tensor | None,
    full: bool,
    back: Tensor,
    states: Tensor,
    gradient: Tensor,
    above: Tensor | None,
    sides: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    steps, streams, hidden = inputs.shape[0], state.shape[1], state.shape[2]
    gates = back.shape[2] // (back.shape[1] * back.shape[3] * back.shape[4])
    return (
        torch.empty_like(state),
        state.new_empty(steps, streams, dtype=torch.float64),
        state.new_empty(steps if sides else 0, streams, gates * hidden),
    )


def _fake_moments(
    left: Tensor,
    left_at: Tensor,
    right: Tensor,
    right_at: Tensor,
    row: Tensor,
    left_pilot: Tensor,
    right_pilot: Tensor,
    isa: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features = left_pilot.shape[0]
    return (
        torch.empty_like(left_pilot),
        left_pilot.new_empty(features, features),
        torch.empty_like(right_pilot),
        right_pilot.new_empty(right_pilot.shape[0], features, right_pilot.shape[1]),
    )


def _fake_project(
    unit: str,
    isa: str,
    inputs: Tensor,
    table: Tensor | None,
    ih: Tensor | None,
    bias_ih: Tensor,
    hh: Tensor,
    bias_hh: Tensor,
    leak: float,
    state: Tensor,
    reset: Tensor | None,
    full: bool,
    maps: Tensor,
    map_bias: Tensor,
    targets: Tensor,
    buffer: Tensor,
    lag: Tensor,
    age: Tensor,
    min_age: Tensor,
    step: int,
    moment_every: int,
    directions: Tensor,
    coordinate_maps: int,
    coordinate_every: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    steps, streams, d = inputs.shape[0], state.shape[1], targets.shape[3]
    taken = (step + steps - 1) // coordinate_every - (step - 1) // coordinate_every
    return (
        state.new_empty(steps, streams, lag.shape[0]),
        state.new_empty(lag.shape[0], d, d, dtype=torch.float64),
        state.new_empty(taken, streams, coordinate_maps, directions.shape[0]),
        torch.empty_like(state),
    )


FAKES: dict[str, Callable[..., Any]] = {
    "pack": _fake_pack,
    "gate_rows": _fake_gate_rows,
    "store": _fake_store,
    "layer": _fake_layer,
    "pull": _fake_pull,
    "moments": _fake_moments,
    "project": _fake_project,
}
