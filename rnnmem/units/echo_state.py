"""The echo-state (leaky integrator) unit with dense weights.

h' = (1 - leak) h + leak * act(W_ih x + W_hh h + b)

Source: Jaeger, Lukosevicius, Popovici and Siewert, 2007.
"""

from __future__ import annotations

from operator import index

import torch
from torch import Tensor, nn

from rnnmem.errors import expected, shown
from rnnmem.lags import is_int, is_number
from rnnmem.units.unit import Unit, Weights, moved_gates, preactivation


def step_tanh(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    h = state[0]
    return ((1 - w.leak) * h + w.leak * torch.tanh(preactivation(w, x, h))).unsqueeze(0)


def step_identity(w: Weights, x: Tensor, state: Tensor) -> Tensor:
    h = state[0]
    return ((1 - w.leak) * h + w.leak * preactivation(w, x, h)).unsqueeze(0)


def tangent_tanh(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    h, dh = state[0], dstate[:, 0]
    act = torch.tanh(preactivation(w, x, h))
    moved = (1 - w.leak) * dh + w.leak * (1 - act.square()) * moved_gates(w, dx, dh)
    return ((1 - w.leak) * h + w.leak * act).unsqueeze(0), moved.unsqueeze(1)


def tangent_identity(
    w: Weights, x: Tensor, state: Tensor, dx: Tensor | None, dstate: Tensor
) -> tuple[Tensor, Tensor]:
    moved = (1 - w.leak) * dstate[:, 0] + w.leak * moved_gates(w, dx, dstate[:, 0])
    return step_identity(w, x, state), moved.unsqueeze(1)


def backward_tanh(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_sum = w.leak * grad[0] * (1 - torch.tanh(preactivation(w, x, state[0])).square())
    return d_sum, d_sum, (1 - w.leak) * grad


def backward_identity(w: Weights, x: Tensor, state: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_sum = w.leak * grad[0]
    return d_sum, d_sum, (1 - w.leak) * grad


ECHO_TANH = Unit(
    "echo_tanh",
    gates=1,
    state_parts=("h",),
    step=step_tanh,
    step_tangent=tangent_tanh,
    step_backward=backward_tanh,
    flops=4,
)
ECHO_IDENTITY = Unit(
    "echo_identity",
    gates=1,
    state_parts=("h",),
    step=step_identity,
    step_tangent=tangent_identity,
    step_backward=backward_identity,
    flops=3,
)
BY_ACTIVATION = {"tanh": ECHO_TANH, "identity": ECHO_IDENTITY}


class EchoState(nn.Module):
    """A reservoir: h' = (1 - leak) h + leak * act(W_ih x + W_hh h + b).

    The weights are copies, fixed (`requires_grad=False`) until you ask otherwise with `.requires_grad_()`.

    Args:
        weight_ih: input weights [H, I].
        weight_hh: recurrent weights [H, H].
        bias: [H], or None for zero.
        leak: leak rate in (0, 1]; at 1 the update takes the place of the state.
        activation: "tanh" or "identity" (a linear reservoir).

    Raises:
        RnnMemError: a weight of a wrong rank, size or dtype, a leak outside (0, 1], an unknown activation.

    Example:
        >>> import torch, rnnmem
        >>> unit = rnnmem.units.EchoState(torch.ones(2, 1), 0.5 * torch.eye(2), leak=0.5)
        >>> output, h = unit(torch.zeros(7, 3, 1))
        >>> output.shape, h.shape
        (torch.Size([7, 3, 2]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None = None,
        *,
        leak: float = 1.0,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        check_weights(weight_ih, weight_hh, bias)
        if not is_number(leak) or not 0 < leak <= 1:
            raise expected("leak", "a number in (0, 1]", shown(leak))
        if not isinstance(activation, str) or activation not in BY_ACTIVATION:
            raise expected("activation", " or ".join(map(repr, BY_ACTIVATION)), repr(activation))
        self.weight_ih = nn.Parameter(weight_ih.detach().clone(), requires_grad=False)
        self.weight_hh = nn.Parameter(weight_hh.detach().clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.leak = float(leak)
        self.activation = activation

    @property
    def unit(self) -> Unit:
        """What it is to every backend."""
        return BY_ACTIVATION[self.activation]

    @property
    def weights(self) -> Weights:
        """The weights as every backend takes them."""
        zero = self.weight_hh.new_zeros(self.weight_hh.shape[:1])
        bias = zero if self.bias is None else self.bias
        return Weights(self.weight_ih, self.weight_hh, bias, zero, self.leak)

    def init_state(self, batch: int) -> Tensor:
        """The state before the first step.

        Args:
            batch: B, how many streams.

        Returns:
            Zeros [B, H].

        Raises:
            RnnMemError: not an int >= 0.
        """
        if not is_int(batch) or index(batch) < 0:
            raise expected("batch", "an int >= 0", shown(batch))
        return self.weight_hh.new_zeros(batch, self.weight_hh.shape[0])

    def step(self, x_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of all streams.

        Args:
            x_t: inputs [B, I].
            state: [B, H].

        Returns:
            (output [B, H], state [B, H]), the same tensor twice.

        Raises:
            RnnMemError: a wrong type, shape, dtype or device.
        """
        hidden, size = self.weight_ih.shape
        check_given(self.weight_ih, "x_t", x_t, (None, size))
        check_given(self.weight_ih, "state", state, (len(x_t), hidden))
        h = self.unit.step(self.weights, x_t, state.unsqueeze(0))[0]
        return h, h

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Runs a sequence.

        Args:
            inputs: [T, B, I].
            state: before the first step [B, H]; None is zeros.

        Returns:
            (outputs [T, B, H], last state [B, H]).

        Raises:
            RnnMemError: inputs or state of a wrong type, shape, dtype or device.
        """
        hidden, size = self.weight_ih.shape
        check_given(self.weight_ih, "inputs", inputs, (None, None, size))
        if state is not None:
            check_given(self.weight_ih, "state", state, (inputs.shape[1], hidden))
        state = self.init_state(inputs.shape[1]) if state is None else state
        outputs = []
        for x_t in inputs:
            output, state = self.step(x_t, state)
            outputs.append(output)
        return torch.stack(outputs) if outputs else inputs.new_empty(0, *state.shape), state

    def extra_repr(self) -> str:
        """What stands between the brackets of its repr."""
        hidden, size = self.weight_ih.shape
        return f"{size}, {hidden}, leak={self.leak}, activation={self.activation!r}"


def check_given(like: Tensor, name: str, value: Tensor, shape: tuple[int | None, ...]) -> None:
    """Refuses what is not a tensor of this shape (None is any size), dtype and device."""
    if not isinstance(value, Tensor):
        raise expected(name, "a Tensor", type(value).__name__)
    if value.dim() != len(shape) or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise expected(name, f"shape ({wanted})", tuple(value.shape))
    if value.dtype != like.dtype or value.device != like.device:
        wanted = f"{like.dtype} on {like.device} like the weights"
        raise expected(name, wanted, f"{value.dtype} on {value.device}")


def check_weights(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor | None) -> None:
    for name, value, rank in (("weight_ih", weight_ih, 2), ("weight_hh", weight_hh, 2), ("bias", bias, 1)):
        if name == "bias" and value is None:
            continue
        if not isinstance(value, Tensor):
            raise expected(name, "a Tensor", type(value).__name__)
        if value.dtype not in (torch.float32, torch.float64):
            raise expected(name, "float32 or float64", value.dtype)
        if value.dim() != rank or 0 in value.shape:
            raise expected(name, f"a non-empty tensor of rank {rank}", f"shape {tuple(value.shape)}")
        if value.dtype != weight_ih.dtype or value.device != weight_ih.device:
            wanted = f"{weight_ih.dtype} on {weight_ih.device} like weight_ih"
            raise expected(name, wanted, f"{value.dtype} on {value.device}")
        if value.is_meta or value.layout != torch.strided:
            raise expected(name, "a dense tensor with values", f"a {value.layout} one on {value.device}")
        if not bool(torch.isfinite(value).all()):
            raise expected(name, "finite numbers", "NaN or Inf")
    hidden = weight_ih.shape[0]
    if weight_hh.shape != (hidden, hidden):
        raise expected("weight_hh", f"shape ({hidden}, {hidden})", tuple(weight_hh.shape))
    if bias is not None and bias.shape != (hidden,):
        raise expected("bias", f"shape ({hidden},)", tuple(bias.shape))
