"""What a recurrent unit is: a name, its sizes and one step through time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """The weights of one layer, gates stacked in the order torch.nn uses.

    Attributes:
        ih: input weights [G*H, I].
        hh: recurrent weights [G*H, H].
        bias_ih: input-side bias [G*H].
        bias_hh: recurrent-side bias [G*H] (apart, because a GRU gates it).
        leak: leak rate in (0, 1]; 1 for units that have none.
    """

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor
    leak: float = 1.0

    def rounded(self) -> Weights:
        """What precision "medium" computes with.

        Returns:
            The same weights, both matrices rounded to numbers that bfloat16 has; the biases as they are.
        """
        ih, hh = (each.bfloat16().to(each.dtype) for each in (self.ih, self.hh))
        return replace(self, ih=ih, hh=hh)

    @property
    def input_size(self) -> int:
        """I, features of an input."""
        return self.ih.shape[1]

    @property
    def hidden_size(self) -> int:
        """H, units of the layer."""
        return self.hh.shape[1]


def preactivation(w: Weights, x: Tensor, h: Tensor) -> Tensor:
    """The gates' sums [B, G*H] of input [B, I] and output [B, H], where no gate acts on one side alone."""
    return x @ w.ih.T + w.bias_ih + h @ w.hh.T + w.bias_hh


def moved_gates(w: Weights, dx: Tensor | None, dh: Tensor) -> Tensor:
    """What tangents of input [k, B, I] and output [k, B, H] do to the gates' sums [k, B, G*H]."""
    return dh @ w.hh.T if dx is None else dh @ w.hh.T + dx @ w.ih.T


def pull_back(w: Weights, recurrent: Tensor, past: Tensor) -> Tensor:
    """The gradient of a state [S, B, H], from that of the gates' recurrent side and that past the gates."""
    return torch.cat((past[:1] + recurrent @ w.hh, past[1:]))


Step = Callable[[Weights, Tensor, Tensor], Tensor]
StepTangent = Callable[[Weights, Tensor, Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]
StepBackward = Callable[[Weights, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Unit:
    """A recurrent unit.

    Attributes:
        name: its key in `rnnmem.units.UNITS` and in every backend's table.
        gates: G, how many [H] blocks its weights stack.
        state_parts: what it carries from step to step; the first part is its output.
        step: `(weights, x [B, I], state [S, B, H]) -> state [S, B, H]`, plain torch.
        step_tangent: `(weights, x, state, x's tangents [k, B, I] or None, state's tangents [k, S, B, H]) ->
            (state, its tangents)`: one step, and its Jacobian applied to k directions, plain torch.
        step_backward: `(weights, x, state, gradient of the new state [S, B, H]) -> (of the gates' input side
            [B, G*H], of their recurrent side [B, G*H], of the state past the gates [S, B, H])`, plain torch;
            `pull_back` makes the gradient of the state of it.
        flops: floating-point operations a step beyond the matrix products, per hidden unit.
    """

    name: str
    gates: int
    state_parts: tuple[str, ...]
    step: Step = field(repr=False)
    step_tangent: StepTangent = field(repr=False)
    step_backward: StepBackward = field(repr=False)
    flops: int
