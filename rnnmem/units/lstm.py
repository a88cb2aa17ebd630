"""Long short-term memory, gates in torch.nn's order i, f, g, o.

i, f, o = sigmoid(W_i* x + b_i* + W_h* h + b_h*),  g = tanh(W_ig x + b_ig + W_hg h + b_hg)
c' = f * c + i * g
h' = o * tanh(c')

Source: Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000; torch.nn.LSTM.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.units.unit import Unit, Weights


def step(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    h, c = state
    i, f, g, o = (x @ w.ih.T + w.bias_ih + h @ w.hh.T + w.bias_hh).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.stack((torch.sigmoid(o) * torch.tanh(c), c))


LSTM = Unit("lstm", gates=4, state_parts=("h", "c"), step=step, flops=13)
