"""The vanilla (Elman) recurrent unit, with tanh or relu.

h' = act(W_ih x + b_ih + W_hh h + b_hh)

Source: Elman, "Finding structure in time", 1990; torch.nn.RNN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.units.unit import Unit, Weights, moved_gates, preactivation


def step_tanh(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    return torch.tanh(preactivation(w, x, state[0])).unsqueeze(0)


def step_relu(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    return torch.relu(preactivation(w, x, state[0])).unsqueeze(0)


def tangent_tanh(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    new = step_tanh(w, x, state)
    return new, ((1 - new[0].square()) * moved_gates(w, dx, dstate[:, 0])).unsqueeze(1)


def tangent_relu(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    new = step_relu(w, x, state)
    return new, (moved_gates(w, dx, dstate[:, 0]) * (new[0] > 0)).unsqueeze(1)


def backward_tanh(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_sum = grad[0] * (1 - step_tanh(w, x, state)[0].square())
    return d_sum, d_sum, torch.zeros_like(grad)


def backward_relu(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_sum = grad[0] * (step_relu(w, x, state)[0] > 0)
    return d_sum, d_sum, torch.zeros_like(grad)


RNN_TANH = Unit(
    "rnn_tanh",
    gates=1,
    state_parts=("h",),
    step=step_tanh,
    step_tangent=tangent_tanh,
    step_backward=backward_tanh,
    flops=1,
)
RNN_RELU = Unit(
    "rnn_relu",
    gates=1,
    state_parts=("h",),
    step=step_relu,
    step_tangent=tangent_relu,
    step_backward=backward_relu,
    flops=1,
)
