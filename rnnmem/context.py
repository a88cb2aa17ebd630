"""How much context a model's own prediction profits from: its loss by how many tokens it was given.

The same targets are predicted from the last n tokens alone, for every n, so that differences are paired. The
network starts from its initial state; from a state after an unrelated past; or, as a control, from one after
the same older tokens in random order.

Targets lie in regions, side by side. A start s serves the target s + n - 1 at length n, so one run over a
region's starts serves every length.

Source: Khandelwal et al. 2018, "Sharp nearby, fuzzy far away" (the effective context length).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import expected, shown
from rnnmem.fit import token_bands
from rnnmem.indicators.curve import FEWEST_BLOCKS, jackknife_variance, student
from rnnmem.lags import is_number
from rnnmem.pieces import Pieces, piece
from rnnmem.session import Session

MOST_TARGETS = 2048
REGION = 64  # targets side by side
BLOCK = 32  # targets that a block of the jackknife holds at least
NONE = -100  # no target, as in torch.nn.functional.cross_entropy
EPS = 0.01
HEAD_FLOATS = 2**22
UNRELATED = 256
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Used:
    """Loss by how many tokens the model was given; everything float64 [n] on the CPU unless said.

    Attributes:
        lengths: tokens given, the one read last among them, int64 [n].
        loss: mean loss in bits a target, from the initial state.
        loss_se: its standard error; NaN with fewer than 16 blocks.
        excess: loss beyond that at the greatest length, on the same targets.
        excess_se: its standard error, of paired differences.
        loss_after_unrelated: from a state after an unrelated past; None where there is none.
        loss_shuffled: from a state after the same older tokens, in random order; None where there are none.
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
        if self.blocks < FEWEST_BLOCKS:
            return None
        bound = self.excess + student(self.blocks, 0.95) * self.excess_se
        bound[-1] = 0.0  # nothing is paired with itself
        over = (~(bound <= eps)).nonzero()
        return int(self.lengths[int(over[-1]) + 1]) if len(over) else int(self.lengths[0])


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        head: outputs [N, H] -> logits [N, V].
        targets: of every step and stream [T, B], on the CPU; NONE where there is none.
        band: class of each token [V], on the CPU; None where targets are no next tokens.
    """

    head: Any
    targets: Tensor
    band: Tensor | None


@dataclass(frozen=True)
class Regions:
    """Where the targets are: steps `first[r]` ... `first[r] + size - 1` of stream `stream[r]`."""

    first: Tensor
    stream: Tensor
    size: int


def next_tokens(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """The token after each of tokens [T, B]; NONE after the last one of a stream."""
    after = torch.full_like(tokens, NONE)
    after[:-1] = tokens[1:]
    if lengths is not None:
        times = torch.arange(1, len(tokens) + 1, device=tokens.device).unsqueeze(1)
        after = after.masked_fill(times >= lengths, NONE)
    return after


def read_task(session: Session, head: Any, targets: Any) -> Task:
    """What the network predicts: `targets`, laid out like the inputs, or the next token.

    Raises:
        RnnMemError: targets of a wrong type, shape or range, none at all, or inputs that are no tokens.
    """
    data, network = session.data, session.network
    if targets is None:
        if not session.space.tokens:
            raise expected("targets", "int64 (T, B), since the inputs are no tokens to predict", "None")
        tokens = data.inputs.cpu()
        band = token_bands(torch.bincount(tokens.flatten()))[0]
        return Task(head, next_tokens(tokens, data.lengths), band)
    shape = tuple(data.inputs.shape[:2])
    shown_shape = shape[::-1] if network.batch_first else shape
    if not isinstance(targets, Tensor):
        raise expected("targets", f"an int64 Tensor {shown_shape}", type(targets).__name__)
    if targets.dtype != torch.int64 or tuple(targets.shape) != shown_shape or targets.is_meta:
        what = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise expected("targets", f"an int64 Tensor {shown_shape}", what)
    own = (targets.transpose(0, 1) if network.batch_first else targets).cpu().clone()
    if data.lengths is not None:
        own[torch.arange(len(own)).unsqueeze(1) >= data.lengths.cpu()] = NONE
    wrong = own[(own < 0) & (own != NONE)]
    if len(wrong):
        raise expected("targets", f"classes >= 0, or {NONE} for none", int(wrong[0]))
    if not bool((own != NONE).any()):
        raise expected("targets", "at least one target", f"{NONE} everywhere")
    return Task(head, own, None)


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
        regions, older = self.regions(2 * self.longest - 1), True
        if regions is None:
            regions, older = self.regions(self.longest - 1), False
        if regions is None:
            return f"no stream has a target with {self.longest} tokens before it"
        start = self.losses(regions, self.initial(regions))
        unrelated, shuffled = self.unrelated(regions), self.shuffled(regions) if older else None
        return self.summary(
            regions,
            start,
            None if unrelated is None else self.losses(regions, unrelated),
            None if shuffled is None else self.losses(regions, shuffled),
        )

    def regions(self, before: int) -> Regions | None:
        """Regions of targets that have so many steps before them, spread evenly over the data."""
        valid = self.task.targets != NONE
        valid[:before] = False
        if not bool(valid.any()):
            return None
        room = (self.pieces.lengths - before).clamp(min=0)
        size = min(REGION, int(room.max()))
        slots = [
            (before + slot * size, stream)
            for stream, steps in enumerate(room.tolist())
            for slot in range(steps // size)
        ]
        start = float(torch.rand((), generator=self.pieces.generator))
        chosen, targets = [], 0
        for first, stream in (slots[index] for index in spread_evenly(len(slots), start)):
            if targets >= MOST_TARGETS:
                break
            if held := int(valid[first : first + size, stream].sum()):
                chosen.append((first, stream))
                targets += held
        first, stream = torch.tensor(chosen).T
        return Regions(first, stream, size)

    def starts(self, regions: Regions) -> tuple[Tensor, Tensor]:
        """Step and stream of every start [R, S], S = longest + size - 1, the earliest first."""
        offsets = torch.arange(self.longest + regions.size - 1)
        step = regions.first.unsqueeze(1) - self.longest + 1 + offsets
        return step, regions.stream.unsqueeze(1).expand_as(step)

    def inputs(self, step: Tensor, stream: Tensor, steps: int) -> Tensor:
        """What is read from each start on [steps, N, ...]; past the data's end its last step again."""
        times = (step.flatten() + torch.arange(steps).unsqueeze(1)).clamp(max=self.pieces.data.steps - 1)
        data = self.pieces.data.inputs
        return data[times.to(data.device), stream.flatten().to(data.device)]

    def initial(self, regions: Regions) -> Any:
        return self.pieces.runner.init_state(self.starts(regions)[0].numel())

    def unrelated(self, regions: Regions) -> Any:
        """A state that the network visited elsewhere for each start, or None."""
        found = self.pieces.visited(max(self.washout, self.longest), 0, UNRELATED)
        if found is None:
            return None
        count = self.starts(regions)[0].numel()
        order = torch.randint(len(found.step), (count,), generator=self.pieces.generator)
        return self.pieces.pick(found.state, order)

    def shuffled(self, regions: Regions) -> Any:
        """The state after the tokens just before each start, as many as the longest context, shuffled."""
        step, stream = self.starts(regions)
        count = step.numel()
        drawn = torch.rand(self.longest, count, generator=self.pieces.generator)
        times = step.flatten() - self.longest + drawn.argsort(dim=0)
        data = self.pieces.data.inputs
        read = data[times.to(data.device), stream.flatten().to(data.device)]
        state = self.pieces.runner.init_state(count)
        for start, part in self.chunks(read, count):
            state = self.pieces.runner.store(piece(part, start), state)[1]
        return state

    def chunks(self, read: Tensor, count: int) -> Iterator[tuple[int, Tensor]]:
        """A few steps at a time."""
        size = max(1, self.longest // 8)
        for start in range(0, len(read), size):
            yield start, read[start : start + size]

    def losses(self, regions: Regions, state: Any) -> Tensor:
        """Loss in bits of every target at every length [n, R, size], NaN where there is no target."""
        step, stream = self.starts(regions)
        count, starts = step.shape
        wanted = {int(n): k for k, n in enumerate(self.lengths)}
        found = torch.full((len(self.lengths), count, regions.size), math.nan, dtype=torch.float64)
        targets, kept = self.targets(regions), starts
        for begin, part in self.chunks(self.inputs(step, stream, self.longest), count):
            # A later start has fewer steps to the region's end: those that are through leave.
            left = starts - begin
            columns = torch.arange(count).unsqueeze(1) * kept + torch.arange(left)
            state = self.pieces.pick(state, columns.flatten()) if left < kept else state
            part = part.unflatten(1, (count, starts))[:, :, :left].flatten(1, 2)
            values, state = self.pieces.runner.store(piece(part, begin), state)
            kept = left
            for n in range(begin + 1, begin + len(part) + 1):
                if n in wanted:
                    first = self.longest - n
                    outputs = values[n - begin - 1].unflatten(0, (count, left))
                    outputs = outputs[:, first : first + regions.size]
                    found[wanted[n]] = self.bits(outputs.flatten(0, 1), targets.flatten()).view(targets.shape)
        return found

    def targets(self, regions: Regions) -> Tensor:
        """[R, size]."""
        steps = regions.first.unsqueeze(1) + torch.arange(regions.size)
        return self.task.targets[steps, regions.stream.unsqueeze(1)]

    def bits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss in bits [N] of outputs [N, H], NaN where there is no target."""
        found = torch.full(targets.shape, math.nan, dtype=torch.float64)
        real = (targets != NONE).nonzero().flatten()
        size = HEAD_FLOATS
        done = 0
        while done < len(real):
            rows = real[done : done + max(1, size)] if done else real[:1]
            logits = read_logits(self.task.head, outputs[rows.to(outputs.device)], targets[rows])
            loss = torch.nn.functional.cross_entropy(
                logits, targets[rows].to(logits.device), reduction="none"
            )
            found[rows] = loss.double().cpu() / math.log(2)
            done, size = done + len(rows), max(1, HEAD_FLOATS // logits.shape[1])
        return found

    def summary(
        self, regions: Regions, start: Tensor, unrelated: Tensor | None, shuffled: Tensor | None
    ) -> Used:
        """Means, paired differences and their errors from losses [n, R, size]."""
        targets = self.targets(regions)
        real = targets != NONE
        excess = start - start[-1:]
        mean = [None if x is None else x[:, real].mean(dim=1) for x in (unrelated, shuffled)]
        ids = blocks_of(regions, real)
        blocks, loss_se = block_error(start, real, ids)
        return Used(
            lengths=self.lengths,
            loss=start[:, real].mean(dim=1),
            loss_se=loss_se,
            excess=excess[:, real].mean(dim=1),
            excess_se=block_error(excess, real, ids)[1],
            loss_after_unrelated=mean[0],
            loss_shuffled=mean[1],
            by_token_class=self.by_token_class(start, targets),
            targets=int(real.sum()),
            blocks=blocks,
        )

    def by_token_class(self, losses: Tensor, targets: Tensor) -> dict[str, list[float]] | None:
        """Mean loss by class of the token to be predicted."""
        if self.task.band is None:
            return None
        real = targets != NONE
        band = self.task.band[targets[real]]
        columns: dict[str, list[float]] = {"band": [], "length": [], "loss": [], "targets": []}
        for which in band.unique().tolist():
            for n, row in zip(self.lengths.tolist(), losses[:, real], strict=True):
                held = row[band == which]
                for name, value in zip(columns, (which, n, float(held.mean()), len(held)), strict=True):
                    columns[name].append(value)
        return columns


def spread_evenly(count: int, start: float) -> Iterator[int]:
    """0 ... count - 1 in an order of which every beginning is spread evenly: steps by the golden section."""
    seen = set()
    # The largest gap that n such steps leave in the unit circle is under 3 / n: none is missed.
    for each in range(3 * count):
        index = int((start + each * GOLDEN) % 1 * count)
        if index not in seen:
            seen.add(index)
            yield index


def blocks_of(regions: Regions, real: Tensor) -> Tensor:
    """Which block of the jackknife each target is in [R, size], of those that hold any.

    Regions that touch are one run, cut into blocks as wide as leaves 16 of them, and never under 32 targets:
    what targets have in common with their neighbours outlasts a narrow block.
    """
    order = (regions.stream * (int(regions.first.max()) + 1) + regions.first).argsort()
    first, stream = regions.first[order], regions.stream[order]
    alone = torch.ones(len(order), dtype=torch.bool)
    alone[1:] = (stream.diff() != 0) | (first.diff() != regions.size)
    run, place = torch.empty_like(order), torch.empty_like(order)
    run[order] = alone.cumsum(dim=0) - 1
    place[order] = first - first[alone][run[order]]
    within = place.unsqueeze(1) + torch.arange(regions.size)
    longest = int(within.max()) + 1
    width = BLOCK << (longest // BLOCK).bit_length()
    while True:
        number = run.unsqueeze(1) * longest + within // width
        held, ids = number[real].unique(return_inverse=True)
        if width == BLOCK or len(held) >= FEWEST_BLOCKS:
            return torch.full(real.shape, -1).masked_scatter(real, ids)
        width //= 2


def block_error(losses: Tensor, real: Tensor, block: Tensor) -> tuple[int, Tensor]:
    """Blocks, and the standard error [n] of mean losses [n, R, size] over them; NaN below 16 blocks."""
    ids, rows = block[real], torch.bincount(block[real]).double()
    sums = torch.zeros(len(losses), len(rows), dtype=torch.float64).index_add(1, ids, losses[:, real])
    left_out = ((sums.sum(1, keepdim=True) - sums) / (rows.sum() - rows)).T
    return len(rows), jackknife_variance(left_out).sqrt()


def read_logits(head: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """What the head makes of outputs [N, H]: logits [N, V].

    Raises:
        RnnMemError: it raised, or returned something else, or has no logit for a target.
    """
    wanted = f"outputs (N, {outputs.shape[1]}) to logits (N, V)"
    try:
        logits = head(outputs)
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise expected("head", wanted, f"{type(error).__name__}: {what}") from error
    if not isinstance(logits, Tensor):
        raise expected("head", wanted, type(logits).__name__)
    if not logits.is_floating_point():
        raise expected("head", wanted, logits.dtype)
    if logits.dim() != 2 or len(logits) != len(outputs):
        raise expected("head", wanted, f"shape {tuple(logits.shape)}")
    if int(targets.max()) >= logits.shape[1]:
        what = f"a logit for each target, up to {int(targets.max())}"
        raise expected("head", what, f"{logits.shape[1]} of them")
    if not bool(logits.isfinite().any(dim=1).all()) or bool(logits.isnan().any()):
        raise expected("head", "finite logits", "NaN, or Inf alone")
    return logits
