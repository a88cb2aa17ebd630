"""The gated recurrent unit, gates in torch.nn's order r, z, n.

r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
h' = (1 - z) * n + z * h

Source: Cho et al., 2014, in the variant of torch.nn.GRU (the reset gate acts after the product).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.units.unit import Unit, Weights


def gates(w: Weights, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gates r, z and n, and the recurrent side of n that r gates, [B, H] each."""
    x_r, x_z, x_n = (x @ w.ih.T + w.bias_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = (h @ w.hh.T + w.bias_hh).chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return r, z, n, h_n


def step(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    h = state[0]
    _, z, n, _ = gates(w, x, h)
    return (n + z * (h - n)).unsqueeze(0)


def step_tangent(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    h, dh = state[0], dstate[:, 0]
    r, z, n, h_n = gates(w, x, h)
    d_r, d_z, d_hn = (dh @ w.hh.T).chunk(3, dim=-1)
    d_xn: Tensor | float = 0.0
    if dx is not None:
        x_moved = (dx @ w.ih.T).chunk(3, dim=-1)
        d_r, d_z, d_xn = d_r + x_moved[0], d_z + x_moved[1], x_moved[2]
    d_n = (1 - n.square()) * (d_xn + r * (1 - r) * d_r * h_n + r * d_hn)
    moved = (1 - z) * d_n + z * (1 - z) * d_z * (h - n) + z * dh
    return (n + z * (h - n)).unsqueeze(0), moved.unsqueeze(1)


def step_backward(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h, g = state[0], grad[0]
    r, z, n, h_n = gates(w, x, h)
    d_z = g * (h - n) * z * (1 - z)
    d_n = g * (1 - z) * (1 - n.square())
    d_r = d_n * h_n * r * (1 - r)
    return torch.cat((d_r, d_z, d_n), dim=-1), torch.cat((d_r, d_z, d_n * r), dim=-1), (g * z).unsqueeze(0)


GRU = Unit(
    "gru",
    gates=3,
    state_parts=("h",),
    step=step,
    step_tangent=step_tangent,
    step_backward=step_backward,
    flops=10,
)
