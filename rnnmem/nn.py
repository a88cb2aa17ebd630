"""RNN, GRU and LSTM in place of torch.nn's: same arguments, parameters and results, on the compiled kernels.

So far for inference: on the CPU, in float32, float64 or bfloat16, without gradients. What is not there yet
raises. Bfloat16 layers compute in float32 and round what comes out; float32 layers round their weights to
bfloat16 where `torch.set_float32_matmul_precision("medium")` lets them, but for a few steps at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnmem import ops
from rnnmem.errors import expected, shown
from rnnmem.units import UNITS

__all__ = ["GRU", "LSTM", "RNN"]

LayerWeights = list[list[Tensor]]
NO_BIASES = (None,) * 4  # where a layer's fewer weights end
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
UNIT_OF = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "GRU": "gru", "LSTM": "lstm"}


class Recurrent(nn.RNNBase):
    """What RNN, GRU and LSTM share: torch.nn's parameters, and a forward pass of our own.

    Nothing is kept of the weights from one call to the next, so a change of theirs is never missed.
    """

    def flatten_parameters(self) -> None:
        """Does nothing: there is no buffer to flatten into. Here for code that calls it."""

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Runs all layers over all steps.

        Args:
            input: [T, B, I], [B, T, I] if `batch_first`, or unbatched [T, I].
            hx: the initial state [layers * directions, B, H], without B if unbatched; (h, c) in an LSTM;
                None for zeros.

        Returns:
            The last layer's outputs [T, B, directions * H] (batch first, unbatched like the input), and the
            state after the last step, shaped like `hx`.

        Raises:
            RnnMemError: what is not there yet: packed sequences, gradients, dropout in training, other
                devices and dtypes; or the compiled extension is missing.
            ValueError, RuntimeError: shapes that do not fit, in torch.nn's words.
        """
        if isinstance(input, PackedSequence):
            raise expected("input", "a Tensor (packed sequences are not built yet)", "a PackedSequence")
        if input.dim() not in (2, 3):
            raise ValueError(f"{self.name}: Expected input to be 2D or 3D, got {input.dim()}D tensor instead")
        batched = input.dim() == 3
        if not batched:
            input = input.unsqueeze(1)
        elif self.batch_first:
            input = input.transpose(0, 1)
        parts = () if hx is None else self.initial(input, hx, batched)
        self.check_input(input, None)
        weights = [self.weights(names) for names in self._all_weights]
        self.refuse_missing(input, parts, weights)
        if input.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        output, last = self.run(input, parts, weights)
        if not batched:
            output, last = output.squeeze(1), [part.squeeze(1) for part in last]
        elif self.batch_first:
            output = output.transpose(0, 1)
        return output, tuple(last) if self.state_parts > 1 else last[0]

    @property
    def name(self) -> str:
        """What torch.nn's messages call it."""
        return "RNN" if self.mode.startswith("RNN") else self.mode

    @property
    def state_parts(self) -> int:
        """How many tensors a state is: h, and the cell c of an LSTM."""
        return len(UNITS[UNIT_OF[self.mode]].state_parts)

    def initial(self, input: Tensor, hx: Any, batched: bool) -> Sequence[Tensor]:
        """The parts of the initial state of inputs [T, B, I], [layers * directions, B, H] each."""
        size = (len(self._all_weights), input.shape[1], self.hidden_size)
        parts = list(hx) if self.state_parts > 1 else [hx]
        count = self.state_parts
        if len(parts) != count or not all(isinstance(part, Tensor) for part in parts):
            raise expected("hx", "(h, c)" if count == 2 else "a Tensor", shown(hx))
        rank, kind = (3, "batched") if batched else (2, "unbatched")
        for part, what in zip(parts, ("hidden[0]", "hidden[1]") if count == 2 else ("hidden",), strict=True):
            if part.dim() != rank:
                raise RuntimeError(
                    f"For {kind} {rank}-D input, hx should also be {rank}-D but got {part.dim()}-D tensor"
                )
            if part.dtype != input.dtype:
                raise expected("hx", f"dtype {input.dtype}, like the input", part.dtype)
            whole = part if batched else part.unsqueeze(1)
            self.check_hidden_size(whole, size, f"Expected {what} size {{}}, got {{}}")
        return parts if batched else [part.unsqueeze(1) for part in parts]

    def refuse_missing(self, input: Tensor, parts: Sequence[Tensor], weights: LayerWeights) -> None:
        """Refuses what is not built yet, and says what to do."""
        if torch.is_grad_enabled():
            named = [pair for pairs in map(zip, self._all_weights, weights) for pair in pairs]
            given = [("input", input), *(("hx", part) for part in parts), *named]
            wanting = next((name for name, tensor in given if tensor.requires_grad), None)
            if wanting is not None:
                remedy = f"{wanting} requires one: call under torch.no_grad(), or use torch.nn.{self.name}"
                raise expected("gradients", "none (training is not built yet)", remedy)
        if self.training and self.dropout and self.num_layers > 1:
            raise expected("dropout", "eval mode (training is not built yet)", "training mode: call .eval()")
        for tensor in (input, *parts, *chain.from_iterable(weights)):
            if not tensor.is_cpu:
                where = f"{tensor.device}: use torch.nn.{self.name}"
                raise expected("device", "cpu (no other is built yet)", where)
        if input.dtype not in DTYPES:
            raise expected("dtype", "float32, float64 or bfloat16 (no other is built yet)", str(input.dtype))
        if missing := ops.missing():
            raise expected("backend", missing, "no such module")

    def run(
        self, input: Tensor, parts: Sequence[Tensor], weights: LayerWeights
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """All layers over inputs [T, B, I]: outputs [T, B, directions * H], and the last state's parts."""
        unit, count, directions = UNIT_OF[self.mode], len(parts), 2 if self.bidirectional else 1
        outputs, found = [], []
        half = rounds_weights()
        for at, layer_weights in enumerate(weights):
            back = at % directions
            h = parts[0][at].contiguous() if count else None
            c = parts[1][at].contiguous() if count == 2 else None
            read = readable(input.flip(0) if back else input)
            output, *last = torch.ops.rnnmem.layer(
                unit, read, h, c, *layer_weights, *NO_BIASES[len(layer_weights) :], half
            )
            outputs.append(output.flip(0) if back else output)
            found.append(last[: self.state_parts])
            if at % directions == directions - 1:
                input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
                outputs = []
        return input, found[0] if len(found) == 1 else [torch.cat(part) for part in zip(*found, strict=True)]

    def weights(self, names: Sequence[str]) -> list[Tensor]:
        """A layer's input and recurrent weights and biases, as they are now."""
        # Looked up as attributes, they would take as long as a small layer's step.
        own: dict[str, Any] = self._parameters
        found = [own[name] if name in own else getattr(self, name) for name in names]
        return [each if each.is_contiguous() else each.contiguous() for each in found]


def rounds_weights() -> bool:
    """Whether torch.set_float32_matmul_precision lets float32 weights be rounded to bfloat16."""
    return torch.get_float32_matmul_precision() == "medium"


# What torch.compiler.assume_constant_result does, but that one imports the whole compiler. A compiled graph
# keeps the precision that it was compiled at.
rounds_weights._dynamo_marked_constant = True  # type: ignore[attr-defined]


def readable(input: Tensor) -> Tensor:
    """Inputs whose last dimension is laid out in one line."""
    return input if input.shape[-1] == 1 or input.stride(-1) == 1 else input.contiguous()


class RNN(Recurrent):
    """torch.nn.RNN: the same arguments, parameters and results; see `Recurrent.forward`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, each reading the outputs of the one below.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        batch_first: whether inputs and outputs are [B, T, ...].
        dropout: between layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError, TypeError: arguments that torch.nn.RNN would refuse.

    Example:
        >>> import torch, rnnmem
        >>> with torch.no_grad():
        ...     output, state = rnnmem.nn.RNN(3, 8)(torch.randn(5, 2, 3))
        >>> output.shape, state.shape
        (torch.Size([5, 2, 8]), torch.Size([1, 2, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity


class GRU(Recurrent):
    """torch.nn.GRU: the same arguments, parameters and results; see `Recurrent.forward`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, each reading the outputs of the one below.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are [B, T, ...].
        dropout: between layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError, TypeError: arguments that torch.nn.GRU would refuse.

    Example:
        >>> import torch, rnnmem
        >>> with torch.no_grad():
        ...     output, state = rnnmem.nn.GRU(3, 8, batch_first=True)(torch.randn(2, 5, 3))
        >>> output.shape, state.shape
        (torch.Size([2, 5, 8]), torch.Size([1, 2, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )


class LSTM(Recurrent):
    """torch.nn.LSTM: the same arguments, parameters and results; see `Recurrent.forward`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, each reading the outputs of the one below.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are [B, T, ...].
        dropout: between layers, in training.
        bidirectional: whether each layer also runs from the last step to the first.
        proj_size: 0; a projected output is not built yet.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError, TypeError: arguments that torch.nn.LSTM would refuse.
        RnnMemError: a `proj_size`.

    Example:
        >>> import torch, rnnmem
        >>> with torch.no_grad():
        ...     output, (h, c) = rnnmem.nn.LSTM(3, 8, num_layers=2)(torch.randn(5, 2, 3))
        >>> output.shape, c.shape
        (torch.Size([5, 2, 8]), torch.Size([2, 2, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if proj_size:
            raise expected("proj_size", "0 (a projected output is not built yet)", proj_size)
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )
