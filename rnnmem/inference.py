"""The inference control: own retention without memory of the token.

At lag tau the same unit starts from its initial state and reads only the tau newest tokens. It has never seen
e_{t-tau}, so all that a recall map of its own scores on that token is inference from the newer ones, of the
kind that an affine prediction cannot take out.

One run over the longest sampled lag serves all of them: the state after tau tokens is the sample of lag tau.

Source: this project (docs/definitions.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import Chunk, Streams
from rnnmem.fit import FEWEST
from rnnmem.indicators.curve import measure_curve
from rnnmem.innovations import Innovations
from rnnmem.runner import Runner
from rnnmem.semantics import SemanticSpace
from rnnmem.window_fit import WindowFit, WindowMap

SAMPLED = 8
NOTHING = -1
FEWEST_ROWS = 20_000
ROWS_A_FEATURE = 20
MOST_SHORT = 4  # times the rows wanted: windows that end before the longest lag
MOST_ENDED = 32  # times the rows wanted: places of windows, those beyond a stream's end among them
WINDOWS = 1024
PIECE = 16
BLOCKS = 32


def sampled_lags(lags: Tensor, own_horizon: int | None) -> list[int]:
    """Indices of the lags to sample: all up to 8, else 8 in even ratios up to the last that matters.

    Beyond the last significant own retention there is nothing to control, so the samples end one lag after
    it; they go on towards the end of the grid only as far as 8 lags need it.

    Args:
        lags: the grid [K].
        own_horizon: last lag of significant own retention, NOTHING where there is none, None where that is
            not known.
    """
    count = len(lags)
    if count <= SAMPLED:
        return list(range(count))
    first = 1 if int(lags[0]) == 0 else 0
    beyond = (lags > own_horizon).nonzero().flatten() if own_horizon is not None else lags[:0]
    last = max(int(beyond[0]) if len(beyond) else count - 1, first + SAMPLED - 1)
    grid = lags.double()
    start, end = float(grid[first]), float(grid[last])
    chosen: list[int] = []
    for step in range(SAMPLED):
        wanted = start * (end / start) ** (step / (SAMPLED - 1))
        free = [i for i in range(first, last + 1) if i not in chosen]
        chosen.append(min(free, key=lambda i: abs(float(grid[i]) - wanted)))
    return sorted(chosen)


def wanted_rows(features: int) -> int:
    """Rows to sample of each part, where there are so many."""
    return max(FEWEST_ROWS, ROWS_A_FEATURE * features)


@dataclass(frozen=True)
class Part:
    """Rows of one part of the data: those of steps `first` ... `end` - 1 of the streams given."""

    streams: range
    first: int
    end: int


@dataclass(frozen=True)
class Windows:
    """Where the windows start: step and stream [n, m]; dimension 0 goes with time, or with the streams."""

    start: Tensor
    stream: Tensor


class InferenceControl:
    """Runs the control; see the module.

    Args:
        runner: the network in motion.
        space: where semantic vectors come from.
        data: all streams, both parts.
        innovations: the predictors of own retention.
        lags: the sampled lags, increasing.
        ridge: of the recall maps.
        by_stream: whether parts are sets of streams.
    """

    def __init__(
        self,
        runner: Runner,
        space: SemanticSpace,
        data: Streams,
        innovations: Innovations,
        lags: list[int],
        ridge: float,
        by_stream: bool,
    ) -> None:
        self.runner, self.space, self.data = runner, space, data
        self.innovations, self.lags, self.ridge = innovations, lags, ridge
        self.by_stream = by_stream
        self.progress: Any = None

    def windows(self, part: Part, rows: int) -> Windows:
        """Starts that leave at least `rows` rows at the longest lag, evenly spread, or all there are."""
        return self.windows_of_streams(part, rows) if self.by_stream else self.windows_in_time(part, rows)

    def windows_of_streams(self, part: Part, rows: int) -> Windows:
        """Stream after stream [n, 1]: every start of evenly spread streams, or every so many of long ones."""
        streams, longest = torch.tensor(part.streams), max(self.lags[-1], 1)
        lengths = self.data.ends[streams]
        possible = int((lengths - longest).clamp(min=0).sum())
        if possible > rows:
            count = -(-len(streams) * rows // possible)
            keep = torch.linspace(0, len(streams) - 1, count, dtype=torch.float64).round().long()
            streams, lengths = streams[keep], lengths[keep]
            possible = int((lengths - longest).clamp(min=0).sum())
        stride = max(1, possible // rows)
        starts = torch.arange(1, max(1, int(lengths.max())), stride)
        inside = starts < lengths[:, None]
        room = (lengths[:, None] - starts)[inside]
        stream = streams[:, None].expand(-1, len(starts))[inside]
        start = starts.expand(len(streams), -1)[inside]
        # Where few reach the longest lag, all that do are run, and not many more of the others.
        short = (room < longest).nonzero().flatten()
        if len(short) > MOST_SHORT * rows:
            kept = room >= longest
            kept[short[torch.linspace(0, len(short) - 1, MOST_SHORT * rows).round().long()]] = True
            start, stream = start[kept], stream[kept]
        return Windows(start.unsqueeze(1), stream.unsqueeze(1))

    def windows_in_time(self, part: Part, rows: int) -> Windows:
        """Evenly spread times, each of all streams [n, B]; more of them where many streams have ended."""
        streams, longest = torch.tensor(part.streams), max(self.lags[-1], 1)
        ends = self.data.ends[streams].clamp(max=part.end)
        end = int(ends.max())
        low, high = max(1, part.first - longest + 1), end - 1
        if end - longest > max(1, part.first):
            low, high = max(1, part.first), end - longest
        possible = max(1, int((ends - (end - high) - low + 1).clamp(min=0).sum()))
        share = possible / max(1, len(streams) * (high - low + 1))
        wanted = min(math.ceil(rows / share), MOST_ENDED * rows)
        count = max(0, min(-(-wanted // len(streams)), high - low + 1))
        starts = torch.linspace(low, high, count, dtype=torch.float64).round().long()
        return Windows(starts[:, None].expand(-1, len(streams)), streams.expand(count, -1))

    def valid(self, part: Part, windows: Windows, lag: int) -> Tensor:
        """Which windows end in a row of the part at this lag [n, m]."""
        row = windows.start + lag - 1
        inside = row < self.data.ends[windows.stream]
        return inside if self.by_stream else inside & (row >= part.first) & (row < part.end)

    def counted(self, part: Part, windows: Windows) -> Tensor:
        """Which windows end in a row of the part at any lag [n, m]."""
        return torch.stack([self.valid(part, windows, lag) for lag in self.lags]).any(dim=0)

    def states(self, part: Part, windows: Windows, features: int) -> list[Tensor]:
        """The state after each sampled number of tokens, for windows [n, m]: [n, m, F] by lag.

        Zero for windows that end in no row of the part: these are not run.
        """
        real = self.counted(part, windows)
        zero = torch.zeros(*real.shape, features, dtype=self.space.dtype(self.data.inputs, self.data.aligned))
        if not bool(real.any()):
            return [zero] * len(self.lags)
        start, stream = windows.start[real], windows.stream[real]
        state = self.runner.init_state(len(start))
        at, found = 0, []
        for lag in self.lags:
            values: Tensor | None = None
            while at < lag:
                length = min(PIECE, lag - at)
                steps = (start + at + torch.arange(length)[:, None]).clamp(max=self.data.steps - 1)
                inputs = self.data.inputs[steps, stream]
                age = torch.full(steps.shape, -1, dtype=torch.int64)
                chunk = Chunk(inputs, inputs, None, age, None, 0, 0)
                values, state = self.runner.store(chunk, state)
                values, at = values[-1], at + length
            found.append(values)
        if bool(real.all()):
            return [zero if f is None else f.unflatten(0, real.shape) for f in found]
        return [zero if f is None else zero.to(f).index_put((real,), f) for f in found]

    def tokens(self, windows: Windows) -> Tensor:
        """Semantic vectors of the token before each window and of the p that follow it [p + 1, n, m, d]."""
        steps = windows.start - 1 + torch.arange(self.innovations.order + 1).view(-1, 1, 1)
        steps = steps.clamp(max=self.data.steps - 1)
        aligned = None if self.data.aligned is None else self.data.aligned[steps, windows.stream]
        return self.space.vectors(self.data.inputs[steps, windows.stream], aligned)

    def innovation(self, tokens: Tensor) -> list[Tensor]:
        """The innovation of the token just before each window [n, m, d], by lag."""
        kinds = self.innovations.beyond(tokens[1:].unbind(), tokens[0])
        return [kinds[self.innovations.order_of(lag)] for lag in self.lags]

    def batches(self, windows: Windows) -> list[Windows]:
        """Groups of windows that run together, whole rows of the grid."""
        size = max(1, WINDOWS // max(1, windows.start.shape[1]))
        starts, streams = windows.start.split(size), windows.stream.split(size)
        return [Windows(*pair) for pair in zip(starts, streams, strict=True)]

    def run(self, fit: Part, measured: Part, features: int) -> tuple[Tensor, Tensor]:
        """Own retention [n] of the control and its standard error [n], at the sampled lags."""
        rows = wanted_rows(features)
        maps = self.fit(fit, rows, features)
        sums = [torch.zeros(BLOCKS, 3, dtype=torch.float64) for _ in self.lags]
        windows = self.windows(measured, rows)
        # In the order of time (of streams) and, where starts are few, of the streams within.
        counts = self.counted(measured, windows).flatten()
        blocks = (counts.cumsum(0) - 1).clamp(min=0) * BLOCKS // max(1, int(counts.sum()))
        done = 0
        for batch in self.batches(windows):
            block = blocks[done : done + batch.start.numel()]
            done += batch.start.numel()
            targets = self.innovation(self.tokens(batch))
            for index, values in enumerate(self.states(measured, batch, features)):
                fitted = maps[index]
                mask = self.valid(measured, batch, self.lags[index])
                left = values.double() @ fitted.weight.T + fitted.bias - targets[index].double()
                distance = left.square().sum(-1).masked_fill(~mask, 0)
                variance = (targets[index].double() - fitted.mean).square().sum(-1).masked_fill(~mask, 0)
                columns = torch.stack((distance, variance, mask.double()), dim=-1).flatten(0, 1)
                belongs = block == torch.arange(BLOCKS).unsqueeze(1)
                sums[index] += belongs.double() @ columns.cpu()
            self.report(batch)
        return self.score(maps, sums)

    def fit(self, part: Part, rows: int, features: int) -> list[WindowMap]:
        """A recall map for each sampled lag."""
        predictors = [self.innovations.predictors[self.innovations.order_of(lag)] for lag in self.lags]
        fits = [WindowFit(self.ridge, features, each, self.runner.sum_moments) for each in predictors]
        for batch in self.batches(self.windows(part, rows)):
            tokens = self.tokens(batch)
            targets = self.innovation(tokens)
            for index, values in enumerate(self.states(part, batch, features)):
                newer = (
                    torch.cat((*tokens[1 : fits[index].order + 1],), dim=-1) if fits[index].order else None
                )
                mask = self.valid(part, batch, self.lags[index])
                fits[index].add(values, targets[index], newer, mask)
            self.report(batch)
        return [fit.solve() for fit in fits]

    def report(self, batch: Windows) -> None:
        if self.progress is not None:
            self.progress(batch.start.numel() * self.lags[-1])

    def cost(self, parts: list[Part], features: int) -> int:
        """Steps of all windows, for a progress bar."""
        rows = wanted_rows(features)
        return sum(self.windows(part, rows).start.numel() for part in parts) * self.lags[-1]

    def score(self, maps: list[WindowMap], sums: list[Tensor]) -> tuple[Tensor, Tensor]:
        values, errors = [], []
        for fitted, table in zip(maps, sums, strict=True):
            used = table[table[:, 2] > 0]
            factor = 1 - fitted.size / fitted.rows if fitted.rows >= FEWEST * fitted.size else float("nan")
            curve = measure_curve(
                torch.zeros(1, dtype=torch.int64),
                used[:, :1],
                used[:, 1:2],
                used[:, 2:],
                torch.tensor([factor], dtype=torch.float64),
                torch.tensor([fitted.variance], dtype=torch.float64),
                torch.tensor([[0.0], [fitted.gain], [fitted.loss]], dtype=torch.float64),
            )
            values.append(curve.retention)
            errors.append(curve.se)
        return torch.cat(values), torch.cat(errors)
