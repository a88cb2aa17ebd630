"""Long short-term memory, gates in torch.nn's order i, f, g, o.

i, f, o = sigmoid(W_i* x + b_i* + W_h* h + b_h*),  g = tanh(W_ig x + b_ig + W_hg h + b_hg)
c' = f * c + i * g
h' = o * tanh(c')

Source: Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000; torch.nn.LSTM.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.units.unit import Unit, Weights, moved_gates, preactivation


def gates(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gates i, f, g and o, [B, H] each."""
    i, f, g, o = preactivation(w, x, h).chunk(4, dim=-1)
    return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)


def step(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    h, c = state
    i, f, g, o = gates(w, x, h)
    c = f * c + i * g
    return torch.stack((o * torch.tanh(c), c))


def step_tangent(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    h, c = state
    i, f, g, o = gates(w, x, h)
    new = f * c + i * g
    squashed = torch.tanh(new)
    d_i, d_f, d_g, d_o = moved_gates(w, dx, dstate[:, 0]).chunk(4, dim=-1)
    d_c = f * dstate[:, 1] + f * (1 - f) * d_f * c + i * (1 - i) * d_i * g + i * (1 - g.square()) * d_g
    d_h = o * (1 - o) * d_o * squashed + o * (1 - squashed.square()) * d_c
    return torch.stack((o * squashed, new)), torch.stack((d_h, d_c), dim=1)


def step_backward(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h, c = state
    i, f, g, o = gates(w, x, h)
    squashed = torch.tanh(f * c + i * g)
    d_c = grad[1] + grad[0] * o * (1 - squashed.square())
    d_i = d_c * g * i * (1 - i)
    d_f = d_c * c * f * (1 - f)
    d_g = d_c * i * (1 - g.square())
    d_o = grad[0] * squashed * o * (1 - o)
    d_sums = torch.cat((d_i, d_f, d_g, d_o), dim=-1)
    return d_sums, d_sums, torch.stack((torch.zeros_like(d_c), d_c * f))


LSTM = Unit(
    "lstm",
    gates=4,
    state_parts=("h", "c"),
    step=step,
    step_tangent=step_tangent,
    step_backward=step_backward,
    flops=13,
)
