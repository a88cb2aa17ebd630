"""The job: the distance between what a state recalls and what was expressed, by lag, as three programs.

`fused` is ours. `best` and `naive` are what one writes today with torch.nn: run the module, keep the
trajectory, then all recall maps as one GEMM over chunks, or one map after the other. All three return the
mean squared distance by lag [K].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rnnmem.network import read_network
from rnnmem.ops import CpuScan
from rnnmem.reference import ReferenceScan
from rnnmem.scan import Projection, Scan

CHUNK = 512  # steps; the peers are fastest with it too (tried: 64 to 4,096)
LAGS = [*range(9), 10, 12, 15, 18, 22, 27, 33, 41, 51, 63, 78, 97, 121, 128, 160]
NEVER = 2**62
CHECKED = 300  # steps compared with float64 before anything is timed
AGREE = 1e-6
UNITS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


@dataclass(frozen=True)
class Job:
    """A module, inputs [T, B, I], vectors with their history [M + T, B, d], recall maps [K, d, H], K lags."""

    module: nn.RNNBase
    inputs: Tensor
    vectors: Tensor
    weight: Tensor
    bias: Tensor
    lags: Sequence[int]

    @property
    def history(self) -> int:
        return len(self.vectors) - len(self.inputs)

    def double(self) -> Job:
        """The same in float64."""
        module = type(self.module)(self.module.input_size, self.module.hidden_size).double()
        module.load_state_dict(self.module.state_dict())
        return Job(
            module,
            self.inputs.double(),
            self.vectors.double(),
            self.weight.double(),
            self.bias.double(),
            self.lags,
        )

    def short(self, steps: int) -> Job:
        """The first steps of it."""
        return replace(self, inputs=self.inputs[:steps], vectors=self.vectors[: self.history + steps])


def make_job(
    unit: str,
    hidden: int = 256,
    batch: int = 16,
    steps: int = 20_000,
    d: int = 32,
    lags: Sequence[int] = LAGS,
) -> Job:
    """A seeded job; the defaults are those that the targets are stated for."""
    torch.manual_seed(0)
    return Job(
        UNITS[unit](hidden, hidden).requires_grad_(False),
        torch.randn(steps, batch, hidden),
        torch.randn(lags[-1] + steps, batch, d),
        torch.randn(len(lags), d, hidden) / hidden**0.5,
        torch.randn(len(lags), d),
        lags,
    )


def fused(
    job: Job, scan_type: type[CpuScan] | type[ReferenceScan] = CpuScan, steps: int | None = None
) -> Tensor:
    """One pass: recurrent step, projection, distance; nothing of the trajectory is kept.

    Args:
        job: what to do.
        scan_type: by which backend.
        steps: how many, all by default; beyond the last one the inputs are read again from the first, and
            the state goes on.
    """
    layer = read_network(job.module).layers[0]
    scan: Scan = scan_type(layer.unit, layer.weights)
    available, batch = job.inputs.shape[:2]
    steps = available if steps is None else steps
    parts = len(layer.unit.state_parts)
    state = job.inputs.new_zeros(parts, batch, job.module.hidden_size)
    total = torch.zeros(len(job.lags), dtype=torch.float64)
    done = 0
    none = job.inputs.new_empty(0, job.bias.shape[1])
    while done < steps:
        start = done % available
        inputs = job.inputs[start : start + min(CHUNK, steps - done)]
        length = len(inputs)
        targets = job.vectors[start : start + job.history + length].unsqueeze(0)
        projection = Projection(
            weight=job.weight,
            bias=job.bias,
            targets=targets,
            buffer=torch.zeros(len(job.lags), dtype=torch.int64),
            lag=torch.tensor(job.lags),
            age=torch.zeros(length, batch, dtype=torch.int64),
            min_age=torch.zeros(len(job.lags), dtype=torch.int64),
            step=1,
            moment_every=NEVER,
            directions=none,
            coordinate_maps=0,
            coordinate_every=NEVER,
        )
        projected, state = scan.project(inputs, state, None, False, projection)
        total += projected.distance.sum(dim=(0, 1), dtype=torch.float64)
        done += length
    return total / (steps * batch)


def best(job: Job) -> Tensor:
    """The trajectory kept, then all maps as one GEMM over chunks."""
    trajectory = job.module(job.inputs)[0]
    maps, d, hidden = job.weight.shape
    weight, bias = job.weight.view(maps * d, hidden), job.bias.view(-1)
    total = torch.zeros(maps, dtype=torch.float64)
    for start in range(0, len(trajectory), CHUNK):
        states = trajectory[start : start + CHUNK]
        recalled = nn.functional.linear(states, weight, bias).unflatten(-1, (maps, d))
        for index, lag in enumerate(job.lags):
            first = job.history + start - lag
            recalled[:, :, index].sub_(job.vectors[first : first + len(states)])
        total += recalled.square_().sum(dim=(0, 1, 3), dtype=torch.float64)
    return total / job.inputs[..., 0].numel()


def naive(job: Job) -> Tensor:
    """The trajectory kept, then one map after the other."""
    trajectory = job.module(job.inputs)[0]
    total = []
    for index, lag in enumerate(job.lags):
        recalled = nn.functional.linear(trajectory, job.weight[index], job.bias[index])
        first = job.history - lag
        target = job.vectors[first : first + len(trajectory)]
        total.append((recalled - target).square().sum(-1).mean(dtype=torch.float64))
    return torch.stack(total)


def flops(job: Job) -> int:
    """Floating-point operations of the matrix products of one pass: input, recurrent, projection."""
    module = job.module
    gates = module.weight_hh_l0.shape[0]
    a_row = 2 * gates * (module.input_size + module.hidden_size) + 2 * job.weight.numel()
    return a_row * job.inputs[..., 0].numel()


def check(
    job: Job, programs: Sequence[Callable[[Job], Tensor]] = (fused, best, naive), steps: int = CHECKED
) -> None:
    """Programs against the float64 reference, over the first steps."""
    short = job.short(steps)
    exact = fused(short.double(), ReferenceScan)
    for program in programs:
        torch.testing.assert_close(program(short), exact, rtol=AGREE, atol=0)
