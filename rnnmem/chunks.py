"""Streams, cut into chunks of time that carry the last steps of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.network import Network
from rnnmem.semantics import SemanticSpace
from rnnmem.user_object import ObjectNetwork

ENDED = -2
FRESH = -1
CHUNK_FLOPS = 2e10
CHUNK_FLOATS = 2**21
CHUNK_ROWS = 8192
BATCH_STREAMS = 2048
LEAST_STREAMS, LEAST_STEPS = 16, 16
TAIL = 32  # steps


@dataclass(frozen=True)
class Streams:
    """Validated data, time first.

    Attributes:
        inputs: [T, B, I], or int64 tokens [T, B].
        aligned: semantics beside the inputs [T, B, D], or None.
        lengths: steps of each stream that are real [B], or None for all.
        reset: bool [T, B], where a document starts, or None.
    """

    inputs: Tensor
    aligned: Tensor | None
    lengths: Tensor | None
    reset: Tensor | None

    @property
    def steps(self) -> int:
        return self.inputs.shape[0]

    @property
    def batch(self) -> int:
        return self.inputs.shape[1]

    @property
    def ends(self) -> Tensor:
        """How many steps of each stream are real [B], on the CPU."""
        return torch.full((self.batch,), self.steps) if self.lengths is None else self.lengths.cpu()

    def time(self, start: int, end: int) -> Streams:
        """The steps from `start` to `end`."""
        return replace(
            self,
            inputs=self.inputs[start:end],
            aligned=None if self.aligned is None else self.aligned[start:end],
            lengths=None if self.lengths is None else (self.lengths - start).clamp(0, end - start),
            reset=None if self.reset is None else self.reset[start:end],
        )

    def streams(self, start: int, end: int) -> Streams:
        """The streams from `start` to `end`."""
        return Streams(
            self.inputs[:, start:end],
            None if self.aligned is None else self.aligned[:, start:end],
            None if self.lengths is None else self.lengths[start:end],
            None if self.reset is None else self.reset[:, start:end],
        )


@dataclass(frozen=True)
class Carry:
    """What goes from one chunk to the next, besides the network's state.

    Attributes:
        step: absolute index of the next step.
        age: age of each stream's last step [B]; -1 before the first, -2 after the end of a stream.
        vectors: semantic vectors of the last `history` steps [M, B, d].
        tokens: their tokens [M, B], or None.
    """

    step: int
    age: Tensor
    vectors: Tensor
    tokens: Tensor | None

    def streams(self, start: int, end: int) -> Carry:
        tokens = None if self.tokens is None else self.tokens[:, start:end]
        return Carry(self.step, self.age[start:end], self.vectors[:, start:end], tokens)


@dataclass(frozen=True)
class Chunk:
    """Some steps of some streams, with the history that lags reach back into.

    Attributes:
        inputs: [T, B, I] or tokens [T, B].
        vectors: semantic vectors [M + T, B, d], history first.
        tokens: [M + T, B], or None.
        age: steps since the stream's start or last reset [T, B], -1 where there is no step.
        reset: bool [T, B], or None.
        step: absolute index of the first step.
        stream: index of the first stream.
    """

    inputs: Tensor
    vectors: Tensor
    tokens: Tensor | None
    age: Tensor
    reset: Tensor | None
    step: int
    stream: int

    @property
    def steps(self) -> int:
        return self.age.shape[0]

    @property
    def history(self) -> int:
        return self.vectors.shape[0] - self.age.shape[0]

    def last_streams(self, count: int) -> Chunk:
        """The chunk's last streams, at most `count`."""
        return Chunk(
            self.inputs[:, -count:],
            self.vectors[:, -count:].clone(),
            None if self.tokens is None else self.tokens[:, -count:],
            self.age[:, -count:],
            None if self.reset is None else self.reset[:, -count:],
            self.step,
            self.stream + max(0, self.age.shape[1] - count),
        )

    def places(self, count: int) -> list[int]:
        """Where the vectors of the first row's last `count` tokens are, among all of them in one line."""
        return [(self.history - lag) * self.age.shape[1] for lag in range(count)]

    def lagged(self, lag: int) -> Tensor:
        """Semantic vectors [T, B, d] of `lag` steps back."""
        start = self.history - lag
        return self.vectors[start : start + self.steps]


def fresh_carry(space: SemanticSpace, streams: Streams, history: int) -> Carry:
    """The carry of streams that have not started."""
    batch, inputs = streams.batch, streams.inputs
    dtype = space.dtype(inputs, streams.aligned)
    return Carry(
        step=0,
        age=torch.full((batch,), FRESH, dtype=torch.int64, device=inputs.device),
        vectors=torch.zeros(history, batch, space.dimension, dtype=dtype, device=inputs.device),
        tokens=inputs.new_zeros(history, batch) if space.tokens else None,
    )


def join_carries(carries: list[Carry]) -> Carry:
    """The carries of groups of streams as one."""
    if len(carries) == 1:
        return carries[0]
    tokens = [c.tokens for c in carries if c.tokens is not None]
    return Carry(
        carries[0].step,
        torch.cat([c.age for c in carries]),
        torch.cat([c.vectors for c in carries], dim=1),
        torch.cat(tokens, dim=1) if tokens else None,
    )


def batches(streams: Streams, history: int, flops: int) -> Iterator[tuple[int, int]]:
    """Ranges of streams that run together.

    Args:
        streams: all of them.
        history: steps that a chunk carries along; with fewer streams it is longer than those.
        flops: operations a row costs; the least that a chunk may be, 16 steps, stays within its time.
    """
    most = min(CHUNK_ROWS // max(1, history), int(CHUNK_FLOPS / (LEAST_STEPS * max(1, flops))))
    size = min(BATCH_STREAMS, max(LEAST_STREAMS, most))
    for start in range(0, streams.batch, size):
        yield start, min(streams.batch, start + size)


def chunk_steps(batch: int, floats: int, flops: int) -> int:
    """How many steps a chunk has: bounded in rows, in memory and in time.

    Args:
        batch: streams that run together.
        floats: numbers a row leaves behind.
        flops: operations a row costs; bounded so that Ctrl-C is answered within a second.
    """
    rows = min(CHUNK_ROWS, CHUNK_FLOATS // max(1, floats), int(CHUNK_FLOPS / max(1, flops)))
    return max(1, rows // max(1, batch), min(LEAST_STEPS, CHUNK_ROWS // max(1, batch)))


def cut(
    space: SemanticSpace, streams: Streams, carry: Carry, steps: int, stream: int = 0
) -> Iterator[tuple[Chunk, Carry]]:
    """Yields chunks of at most `steps` steps, each with the carry that follows it."""
    for start in range(0, streams.steps, steps):
        part = streams.time(start, min(streams.steps, start + steps))
        vectors = torch.cat((carry.vectors, space.vectors(part.inputs, part.aligned)))
        tokens = None if carry.tokens is None else torch.cat((carry.tokens, part.inputs))
        age, last = ages(carry.age, part)
        chunk = Chunk(part.inputs, vectors, tokens, age, part.reset, carry.step, stream)
        history = chunk.history
        carry = Carry(
            carry.step + chunk.steps,
            last,
            vectors[len(vectors) - history :].clone(),
            None if tokens is None else tokens[len(tokens) - history :].clone(),
        )
        yield chunk, carry


def ages(last: Tensor, part: Streams) -> tuple[Tensor, Tensor]:
    """Ages [T, B] of a part's steps after streams of age `last` [B], and the age each stream ends with."""
    times = torch.arange(part.steps, device=last.device).unsqueeze(1)
    age = torch.where(last == ENDED, ENDED, last + 1 + times)
    if part.reset is not None:
        started = torch.where(part.reset, times, -1).cummax(dim=0).values
        age = torch.where(started >= 0, times - started, age)
    if part.lengths is not None:
        age = torch.where(times < part.lengths, age, ENDED)
    return age.clamp(min=-1), age[-1] if part.steps else last


def padded(streams: Streams) -> list[str]:
    """Says that most streams end in one input again and again, as padding does that nobody told of."""
    tail = streams.inputs[-TAIL:]
    if streams.lengths is not None or streams.steps <= TAIL:
        return []
    same = (tail == tail[-1]).flatten(2).all(dim=2) if tail.dim() == 3 else tail == tail[-1]
    ends = same.all(dim=0)
    if 2 * int(ends.sum()) < streams.batch:
        return []
    return [
        f"{int(ends.sum())} of {streams.batch} streams end in one input, {TAIL} times or more: if that is "
        "padding, say with lengths= where they end"
    ]


def read_streams(
    network: Network | ObjectNetwork,
    inputs: Tensor,
    aligned: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
) -> Streams:
    """Checks the data's ranks, sizes, dtypes and devices and puts time first.

    Raises:
        RnnMemError: anything that does not fit, with the argument's name.
    """
    check_inputs(network, inputs)
    if network.batch_first:
        inputs = inputs.transpose(0, 1)
        aligned = aligned.transpose(0, 1) if isinstance(aligned, Tensor) and aligned.dim() == 3 else aligned
        reset = reset.transpose(0, 1) if isinstance(reset, Tensor) and reset.dim() == 2 else reset
    steps, batch = inputs.shape[:2]
    if steps == 0 or batch == 0:
        raise expected("inputs", "at least one step and one stream", f"{steps} step(s), {batch} stream(s)")
    if aligned is not None and tuple(aligned.shape[:2]) != (steps, batch):
        raise expected("semantics", f"{steps} steps of {batch} streams like inputs", tuple(aligned.shape))
    return Streams(inputs, aligned, read_lengths(lengths, inputs), read_reset(reset, inputs))


def check_inputs(network: Network | ObjectNetwork, inputs: Tensor) -> None:
    if not isinstance(inputs, Tensor):
        hint = ": torch.from_numpy(x) makes one" if type(inputs).__name__ == "ndarray" else ""
        raise expected("inputs", "a Tensor", type(inputs).__name__ + hint)
    if inputs.layout != torch.strided or inputs.is_nested:
        what = "a nested one" if inputs.is_nested else inputs.layout
        raise expected("inputs", "a dense Tensor", what)
    layout = "(B, T, I)" if network.batch_first else "(T, B, I)"
    if inputs.is_floating_point():
        if inputs.dim() != 3:
            hint = "; if they are tokens, call .long()" if inputs.dim() == 2 else ""
            raise expected("inputs", f"shape {layout}", f"{tuple(inputs.shape)}{hint}")
        if inputs.dtype != network.dtype:
            what = f"{inputs.dtype}: call inputs.to({network.dtype})"
            raise expected("inputs", f"{network.dtype} like the model", what)
        if network.input_size is not None and inputs.shape[2] != network.input_size:
            raise expected("inputs", f"{layout} with I = {network.input_size}", tuple(inputs.shape))
    elif inputs.dtype == torch.int64:
        if inputs.dim() != 2:
            wanted = layout.replace(", I", "")
            raise expected("inputs", f"tokens of shape {wanted}", tuple(inputs.shape))
    else:
        whole = not (inputs.is_floating_point() or inputs.is_complex() or inputs.dtype == torch.bool)
        hint = ": call .long() on tokens" if whole else ""
        raise expected("inputs", f"{network.dtype} or int64 tokens", f"{inputs.dtype}{hint}")
    if inputs.device != network.device:
        raise expected("inputs", f"device {network.device} like the model", inputs.device)


def read_lengths(lengths: Tensor | None, inputs: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    steps, batch = inputs.shape[:2]
    if not isinstance(lengths, Tensor):
        raise expected("lengths", f"an int64 Tensor ({batch},)", type(lengths).__name__)
    if lengths.dtype not in (torch.int64, torch.int32) or tuple(lengths.shape) != (batch,):
        what = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise expected("lengths", f"an int64 Tensor ({batch},)", what)
    if lengths.is_meta:
        raise expected("lengths", "a Tensor with values", "one on the meta device")
    if int(lengths.min()) < 0 or int(lengths.max()) > steps:
        what = f"{int(lengths.min())} ... {int(lengths.max())}"
        raise expected("lengths", f"numbers of steps in 0 ... {steps}", what)
    return lengths.to(inputs.device, torch.int64)


def read_reset(reset: Tensor | None, inputs: Tensor) -> Tensor | None:
    if reset is None:
        return None
    shape = tuple(inputs.shape[:2])
    if not isinstance(reset, Tensor):
        raise expected("reset", f"a bool Tensor {shape}", type(reset).__name__)
    if reset.dtype != torch.bool or tuple(reset.shape) != shape:
        raise expected("reset", f"a bool Tensor {shape}", f"{reset.dtype} of shape {tuple(reset.shape)}")
    if reset.is_meta:
        raise expected("reset", "a Tensor with values", "one on the meta device")
    return reset.to(inputs.device) if bool(reset.any()) else None


def check_data(streams: Streams, space: SemanticSpace) -> None:
    """Looks through the data once, a slice at a time: tokens in range, numbers finite.

    Padding beyond `lengths` is looked at too: it runs through the network.
    """
    slice_steps = max(1, CHUNK_FLOATS // max(1, streams.inputs[:1].numel()))
    for start in range(0, streams.steps, slice_steps):
        part = streams.time(start, start + slice_steps)
        if space.vocabulary is not None:
            wrong = (part.inputs < 0) | (part.inputs >= space.vocabulary)
            if bool(wrong.any()):
                step, stream = (int(i) for i in wrong.nonzero()[0])
                what = f"{int(part.inputs[step, stream])} in stream {stream} at step {start + step}"
                raise expected("inputs", f"tokens in 0 ... {space.vocabulary - 1}", what)
        else:
            check_part_finite("inputs", part.inputs, start)
        if part.aligned is not None:
            check_part_finite("semantics", part.aligned, start)


def check_part_finite(name: str, values: Tensor, start: int) -> None:
    wrong = ~values.isfinite().all(dim=-1)
    if bool(wrong.any()):
        step, stream = (int(i) for i in wrong.nonzero()[0])
        raise expected(name, "finite numbers", f"NaN or Inf in stream {stream} at step {start + step}")
