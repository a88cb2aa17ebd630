"""How much context a model's own prediction profits from: its loss by how many tokens it was given.

The same targets are predicted from the last n tokens alone, for every n, so that differences are paired. The
network starts from its initial state; from a state after an unrelated past; or, as a control, from one after
the same older tokens in random order.

A start s serves the target s + n - 1 at every length n, so targets are taken side by side: each start is run
once, for as long as a target needs it.

Source: Khandelwal et al. 2018, "Sharp nearby, fuzzy far away" (the effective context length).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.context_blocks import REGION, block_error, blocks_of, spread_evenly
from rnnmem.errors import expected, shown
from rnnmem.indicators.curve import FEWEST_BLOCKS, student
from rnnmem.lags import is_number
from rnnmem.pieces import Pieces, Reading, Visited
from rnnmem.task import NONE, Task, read_logits

MOST_TARGETS = 2048
MOST_RUNS = 2048  # side by side
AT_ONCE = 64  # regions of every stream that are counted together
EPS = 0.01
HEAD_FLOATS = 2**22
UNRELATED = 256
PASTS = 32  # shuffled ones, in as many steps as the longest context
QUARTER, FEW_BLOCKS = 4, 8  # of the blocks, if it holds so many, is run from other pasts as well


@dataclass(frozen=True)
class Used:
    """Loss by how many tokens the model was given; everything float64 [n] on the CPU unless said.

    Attributes:
        lengths: tokens given, the one read last among them, int64 [n].
        loss: mean loss in bits a target, from the initial state.
        loss_se: its standard error; NaN with fewer than 16 blocks.
        excess: loss beyond that at the greatest length, on the same targets.
        excess_se: its standard error, of paired differences.
        loss_after_unrelated: from a state after an unrelated past; None where there is none. This and the
            next are `loss` and a paired difference on a quarter of the blocks, on all if they are few.
        loss_shuffled: from a state after the older tokens in random order (up to a 32nd of them earlier than
            right before the given ones); None where there are none.
        by_token_class: columns band, length, loss, targets; None where targets are no next tokens.
        targets: how many targets.
        blocks: of the jackknife.
    """

    lengths: Tensor
    loss: Tensor
    loss_se: Tensor
    excess: Tensor
    excess_se: Tensor
    loss_after_unrelated: Tensor | None
    loss_shuffled: Tensor | None
    by_token_class: dict[str, list[float]] | None
    targets: int
    blocks: int

    def span(self, eps: float = EPS) -> int | None:
        """The effective context length: the fewest tokens that more tokens do not improve on by over eps.

        Args:
            eps: bits, > 0.

        Returns:
            The smallest length from which on the upper 95 % bound of the excess stays within eps; the
            greatest one says "at least". None with fewer than 16 blocks.

        Raises:
            RnnMemError: `eps` out of range or of a wrong type.
        """
        if not is_number(eps) or not 0 < eps < math.inf:
            raise expected("eps", "a finite number > 0, in bits", shown(eps))
        if self.blocks < FEWEST_BLOCKS or not bool(self.excess.isfinite().all()):
            return None
        bound = self.excess + student(self.blocks, 0.95) * self.excess_se
        bound[-1] = 0.0  # nothing is paired with itself
        over = (~(bound <= eps)).nonzero()
        return int(self.lengths[int(over[-1]) + 1]) if len(over) else int(self.lengths[0])


@dataclass(frozen=True)
class Runs:
    """What has to be run, the longest first: a start serves every target that is so many steps later.

    Attributes:
        step: at which each begins [R].
        stream: of which stream [R].
        steps: how many [R], decreasing.
        serves: which of them predicts target i at the k-th length [n, N].
    """

    step: Tensor
    stream: Tensor
    steps: Tensor
    serves: Tensor


class ContextUse:
    """Measures the loss by length of context.

    Args:
        pieces: the whole network in motion over pieces of its data, its output measured.
        task: what is predicted.
        lengths: of context, increasing, int64 [n].
        washout: steps before an unrelated past counts.
    """

    def __init__(self, pieces: Pieces, task: Task, lengths: Tensor, washout: int) -> None:
        self.pieces, self.task, self.lengths, self.washout = pieces, task, lengths, washout
        self.longest = int(lengths[-1])

    def measure(self) -> Used | str:
        """The loss by length, or why there is none."""
        near, far = self.longest - 1, 2 * self.longest - 1
        within, beyond = self.counts(near), self.counts(far)
        if not int(within.sum()):
            return f"no stream has a target with {self.longest} tokens before it"
        # Older tokens to shuffle, unless looking for them costs too many of the targets.
        older = 2 * int(beyond.sum()) >= min(int(within.sum()), MOST_TARGETS)
        step, stream, block = self.chosen(beyond, far) if older else self.chosen(within, near)
        targets = self.task.at(step, stream)
        reading = self.reading(step, stream, older)
        start = self.losses(reading, self.runs(step, stream), targets, self.initial)
        # Other pasts are for comparison: a quarter of the blocks will do, differences on the same targets.
        some = block % QUARTER == 0 if int(block.max()) + 1 >= QUARTER * FEW_BLOCKS else block >= 0
        runs, pasts = self.runs(step[some], stream[some]), self.visited()
        loss = start.mean(dim=1)

        def beside(begin: Callable[[Tensor, Tensor], Any]) -> Tensor:
            return loss + (self.losses(reading, runs, targets[some], begin) - start[:, some]).mean(dim=1)

        unrelated = None if pasts is None else beside(self.unrelated(pasts))
        return self.summary(
            start, unrelated, beside(self.shuffled(reading)) if older else None, targets, block
        )

    def reading(self, step: Tensor, stream: Tensor, older: bool) -> Reading:
        """What these targets [N] need to be read, with their shuffled pasts or without."""
        before = 2 * self.longest - 1 + self.close - 1 if older else self.longest - 1
        return Reading(self.pieces, step, stream, before)

    @property
    def close(self) -> int:
        """Steps of a stream whose starts share a shuffled past."""
        return max(1, self.longest // PASTS)

    def visited(self) -> Visited | None:
        """States that the network was in elsewhere."""
        return self.pieces.visited(max(self.washout, self.longest), 0, UNRELATED)

    def counts(self, before: int) -> Tensor:
        """How many targets with so many steps before them each region holds, stream by stream [B * regions].

        A region lies between two multiples of `REGION` steps of one stream.
        """
        found = [torch.zeros(0, self.task.streams, dtype=torch.int64)]
        for begin in range(0, self.task.steps, AT_ONCE * REGION):
            real = self.task.between(begin, begin + AT_ONCE * REGION) != NONE
            real[: max(0, before - begin)] = False
            padded = torch.nn.functional.pad(real, (0, 0, 0, -len(real) % REGION))
            found.append(padded.unflatten(0, (-1, REGION)).sum(dim=1))
        return torch.cat(found).T.flatten()

    def chosen(self, counts: Tensor, before: int) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, streams and blocks [N] of the targets of some regions, these spread evenly over the data.

        Targets side by side share their runs, so a region is taken whole.
        """
        which = counts.nonzero().flatten()
        begin = float(torch.rand((), generator=self.pieces.generator))
        drawn, held = [], 0
        for index in spread_evenly(len(which), begin):
            if held >= MOST_TARGETS:
                break
            drawn.append(int(which[index]))
            held += int(counts[which[index]])
        total, streams = self.task.steps, self.task.streams
        region = torch.tensor(sorted(drawn)).unsqueeze(1)
        stream = region // (len(counts) // streams)
        step = region % (len(counts) // streams) * REGION + torch.arange(REGION)
        real = (step >= before) & (step < total)
        real &= self.task.at(step, stream.expand_as(step)) != NONE
        # A stream more is a region more, so that the regions of two streams never touch.
        region, stream = (region + stream).expand_as(step)[real], stream.expand_as(step)[real]
        return step[real], stream, blocks_of(region, step[real])

    def runs(self, step: Tensor, stream: Tensor) -> Runs:
        """The starts that these targets [N] need."""
        total = self.pieces.data.steps
        starts = step - self.lengths.unsqueeze(1) + 1 + stream * total
        unique, serves = starts.unique(return_inverse=True)
        steps = torch.zeros_like(unique)
        lengths = self.lengths.unsqueeze(1).expand_as(serves)
        steps.scatter_reduce_(0, serves.flatten(), lengths.flatten(), "amax")
        order = steps.argsort(descending=True, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        return Runs((unique % total)[order], (unique // total)[order], steps[order], place[serves])

    def initial(self, step: Tensor, stream: Tensor) -> Any:
        """The network's initial state, for each start."""
        return self.pieces.runner.init_state(len(step))

    def unrelated(self, pasts: Visited) -> Callable[[Tensor, Tensor], Any]:
        """What gives each start one of these states, drawn at random."""

        def draw(step: Tensor, stream: Tensor) -> Any:
            order = torch.randint(len(pasts.step), (len(step),), generator=self.pieces.generator)
            return self.pieces.pick(pasts.state, order)

        return draw

    def shuffled(self, reading: Reading) -> Callable[[Tensor, Tensor], Any]:
        """What gives each start the state after as many tokens before it as the longest context, shuffled.

        Starts between two multiples of a 32nd of that share a past, which ends at the first of these.
        """
        close, total = self.close, self.pieces.data.steps

        def run(step: Tensor, stream: Tensor) -> Any:
            first = (step - step % close).clamp(min=self.longest)
            past, which = (stream * total + first).unique(return_inverse=True)
            drawn = torch.rand(self.longest, len(past), generator=self.pieces.generator)
            times, stream = past % total - self.longest + drawn.argsort(dim=0), past // total
            state, size = self.pieces.runner.init_state(len(past)), self.pieces.steps_of(len(past))
            for at in range(0, self.longest, size):
                _, state = reading.store(times[at : at + size], stream, at, state)
            return self.pieces.pick(state, which)

        return run

    def losses(
        self, reading: Reading, runs: Runs, targets: Tensor, begin: Callable[[Tensor, Tensor], Any]
    ) -> Tensor:
        """Loss in bits [n, N] of every target at every length, from the states that `begin` gives starts."""
        found = torch.full(runs.serves.shape, math.nan, dtype=torch.float64)
        for first in range(0, len(runs.step), MOST_RUNS):
            part = slice(first, first + MOST_RUNS)
            step, stream, steps = runs.step[part], runs.stream[part], runs.steps[part]
            state, alive, read = begin(step, stream), len(step), 0
            while read < int(steps[0]):
                # The shorter runs, which come last, leave when they are through.
                wanted = int((steps > read).sum())
                state = self.pieces.pick(state, torch.arange(wanted)) if wanted < alive else state
                alive, size = wanted, min(self.pieces.steps_of(wanted), int(steps[wanted - 1]) - read)
                times = step[:alive] + read + torch.arange(size).unsqueeze(1)
                values, state = reading.store(times, stream[:alive], read, state)
                for k, n in enumerate(self.lengths.tolist()):
                    if read < n <= read + size:
                        served = runs.serves[k] - first
                        here = ((served >= 0) & (served < alive)).nonzero().flatten()
                        outputs = values[n - read - 1][served[here].to(values.device)]
                        found[k, here] = self.bits(outputs, targets[here])
                read += size
        return found

    def bits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss in bits [N] of outputs [N, H]."""
        parts, done, size = [], 0, 1  # how many logits there are is seen from the first row
        while done < len(targets):
            rows = targets[done : done + size]
            logits = read_logits(self.task.head, outputs[done : done + size], rows)
            loss = torch.nn.functional.cross_entropy(logits, rows.to(logits.device), reduction="none")
            parts.append(loss.double().cpu() / math.log(2))
            done, size = done + len(rows), max(1, HEAD_FLOATS // logits.shape[1])
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)

    def summary(
        self,
        start: Tensor,
        unrelated: Tensor | None,
        shuffled: Tensor | None,
        targets: Tensor,
        block: Tensor,
    ) -> Used:
        """Means, paired differences and their errors from losses [n, N]; what other pasts cost [n]."""
        excess = start - start[-1:]
        return Used(
            lengths=self.lengths,
            loss=start.mean(dim=1),
            loss_se=block_error(start, block),
            excess=excess.mean(dim=1),
            excess_se=block_error(excess, block),
            loss_after_unrelated=unrelated,
            loss_shuffled=shuffled,
            by_token_class=self.by_token_class(start, targets),
            targets=len(targets),
            blocks=int(block.max()) + 1,
        )

    def by_token_class(self, losses: Tensor, targets: Tensor) -> dict[str, list[float]] | None:
        """Mean loss by class of the token to be predicted, from losses [n, N]."""
        if self.task.band is None:
            return None
        band = self.task.band[targets]
        columns: dict[str, list[float]] = {"band": [], "length": [], "loss": [], "targets": []}
        for which in band.unique().tolist():
            for n, row in zip(self.lengths.tolist(), losses, strict=True):
                held = row[band == which]
                for name, value in zip(columns, (which, n, float(held.mean()), len(held)), strict=True):
                    columns[name].append(value)
        return columns
