"""The sums that measuring leaves: by block of time, by group of streams, by position, by class of token.

Everything in it is a sum over rows in float64 (or a count), so chunks add, meters merge, and memory does not
grow with the length of a stream.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import Chunk
from rnnmem.hull import BINS
from rnnmem.recall import RecallMaps
from rnnmem.scan import Projected

MOST_BLOCKS = 64
MOST_POSITIONS = 16
CLASSES = 5


class TimeBins:
    """Sums by bins of absolute time, at most so many; when there are more, neighbours join pairwise.

    Args:
        width: steps of a bin to begin with.
        most: how many bins with rows in them there may be.
        columns: numbers summed.
    """

    def __init__(self, width: int, most: int, columns: int) -> None:
        self.width, self.most = width, most
        self.index = torch.empty(0, dtype=torch.int64)
        self.sums = torch.empty(0, columns, dtype=torch.float64)

    def add(self, step: int, values: Tensor, counted: Tensor) -> None:
        """Adds values [T, C] of the steps from `step` on, those of steps `counted` [T]."""
        steps = torch.arange(step, step + len(values))[counted]
        width = self.width
        while len(torch.unique(steps // width)) > self.most:
            width *= 2
        while self.width < width:
            self.widen()
        self.join(steps // self.width, values[counted])

    def join(self, index: Tensor, sums: Tensor) -> None:
        """Adds sums [n, C] of bins `index` [n] of this width."""
        self.coalesce(torch.cat((self.index, index)), torch.cat((self.sums, sums)))
        while len(self.index) > self.most:
            self.widen()

    def widen(self) -> None:
        self.width *= 2
        self.coalesce(self.index // 2, self.sums)

    def coalesce(self, index: Tensor, sums: Tensor) -> None:
        self.index, where = torch.unique(index, return_inverse=True)
        belongs = where == torch.arange(len(self.index)).unsqueeze(1)
        self.sums = belongs.double() @ sums

    def merge(self, other: TimeBins) -> None:
        """Adds another's bins, both at the coarser width."""
        index, sums, width = other.index, other.sums, other.width
        while self.width < width:
            self.widen()
        while width < self.width:
            index, width = index // 2, width * 2
        self.join(index, sums)


class Tally:
    """What a meter has summed so far; columns are distances [L], variances [L] and rows [K], L = K or 2K.

    Groups of streams come in the order in which streams and merged meters did; when there are more than 64,
    neighbours join pairwise, `joins` times by now. The meter's own streams begin at group `first` (before any
    join), `group_width` streams in each.

    Args:
        maps: the frozen maps.
    """

    def __init__(self, maps: RecallMaps) -> None:
        lags, d = len(maps.lags), maps.dimension
        self.lags, self.curves = lags, 2 if maps.has_own else 1
        self.maps_counted = lags * self.curves
        columns = 2 * self.maps_counted + lags
        self.blocks = TimeBins(maps.block_width, MOST_BLOCKS, columns)
        self.positions = TimeBins(1, MOST_POSITIONS, columns)
        self.groups = torch.zeros(0, columns, dtype=torch.float64)
        self.streams, self.first, self.group_width, self.joins = 0, 0, 1, 0
        self.classes = torch.zeros(3, lags, CLASSES, dtype=torch.float64)
        self.residual_moment = torch.zeros(self.maps_counted, d, d, dtype=torch.float64)
        self.target_moment = torch.zeros(self.maps_counted, d, d, dtype=torch.float64)
        self.moment_rows = torch.zeros(lags, dtype=torch.float64)
        axes = len(maps.directions)
        self.recalled = torch.zeros(lags + 1, axes, BINS, dtype=torch.int64)
        self.expressed = torch.zeros(lags, axes, BINS, dtype=torch.int64)

    def add_streams(self, count: int) -> None:
        """Makes groups for the meter's own streams, once."""
        if self.streams:
            return
        self.streams, self.first = count, len(self.groups) << self.joins
        while -(-count // self.group_width) > MOST_BLOCKS:
            self.group_width *= 2
        own = -(-count // self.group_width)
        groups = (self.first + own - 1 >> self.joins) + 1
        self.groups = torch.cat(
            (self.groups, self.groups.new_zeros(groups - len(self.groups), self.groups.shape[1]))
        )
        self.join_groups()

    def join_groups(self) -> None:
        """Joins neighbouring groups while there are more than 64."""
        while len(self.groups) > MOST_BLOCKS:
            half = self.groups.new_zeros(-(-len(self.groups) // 2), self.groups.shape[1])
            self.groups = half.index_add_(0, torch.arange(len(self.groups)) // 2, self.groups)
            self.joins += 1

    def add(
        self, chunk: Chunk, projected: Projected, kinds: Tensor, maps: RecallMaps, plan: Plan, every: int
    ) -> None:
        """Adds a chunk.

        Args:
            chunk: the chunk, of streams `chunk.stream` and on.
            projected: what the project sink left of it.
            kinds: all kinds of target [N, M + T, B, d].
            maps: the maps projected with.
            plan: which kind and lag each map has.
            every: second moments are of absolute steps divisible by this.
        """
        lags, steps = self.lags, chunk.steps
        mask = chunk.age.unsqueeze(-1) >= plan.min_age[:lags].to(chunk.age.device)
        if not bool(mask.any()):
            return
        both = mask.repeat(1, 1, self.curves)
        distance = plan.without_null(projected.distance).double().masked_fill(~both, 0)
        variance = target_distance(kinds, steps, plan, maps).double().masked_fill(~both, 0)
        rows = mask.double()
        per_row = torch.cat((distance, variance, rows), dim=-1).cpu()
        self.add_rows(per_row, chunk)
        if maps.token_band is not None and chunk.tokens is not None:
            self.add_classes(chunk, per_row, maps)
        self.residual_moment += plan.moments_without_null(projected.moment).cpu()
        self.add_target_moment(kinds, chunk, mask, maps, plan, every)

    def add_rows(self, per_row: Tensor, chunk: Chunk) -> None:
        """Adds columns [T, B, C] by block, position and group of streams."""
        by_step = per_row.sum(dim=1)
        counted = by_step[:, 2 * self.maps_counted :].amax(dim=1) > 0
        self.blocks.add(chunk.step, by_step, counted)
        self.positions.add(chunk.step, by_step, counted)
        streams = torch.arange(chunk.stream, chunk.stream + per_row.shape[1])
        groups = self.first + streams // self.group_width >> self.joins
        self.groups.index_add_(0, groups, per_row.sum(dim=0))

    def add_classes(self, chunk: Chunk, per_row: Tensor, maps: RecallMaps) -> None:
        """Adds raw distances, variances and rows by band of the target's token."""
        assert maps.token_band is not None
        assert chunk.tokens is not None
        bands = maps.token_band.cpu()[chunk.tokens.cpu()]
        start = [chunk.history - lag for lag in maps.lags.tolist()]
        by_lag = torch.stack([bands[s : s + chunk.steps] for s in start], dim=-1)
        cell = (by_lag + CLASSES * torch.arange(self.lags)).flatten()
        columns = (0, self.maps_counted, 2 * self.maps_counted)
        for index, first in enumerate(columns):
            weights = per_row[..., first : first + self.lags].flatten()
            summed = torch.bincount(cell, weights, minlength=self.lags * CLASSES)
            self.classes[index] += summed.view(self.lags, CLASSES)

    def add_target_moment(
        self, kinds: Tensor, chunk: Chunk, mask: Tensor, maps: RecallMaps, plan: Plan, every: int
    ) -> None:
        """Adds the targets' second moments about their fit means."""
        times = torch.arange(chunk.step, chunk.step + chunk.steps, device=mask.device)
        taken = mask & (times % every == 0).view(-1, 1, 1)
        counts = taken.sum(dim=(0, 1)).cpu()
        if not bool(counts.any()):
            return
        self.moment_rows += counts
        means = plan.means(maps).to(kinds.device)
        if bool(taken.all()):
            self.target_moment += shifted_moments(kinds, chunk.history, chunk.steps, plan.pairs, means).cpu()
            return
        for index, (kind, lag) in enumerate(plan.pairs):
            start = chunk.history - lag
            rows = kinds[kind, start : start + chunk.steps][taken[..., index % self.lags]].double()
            rows -= means[index]
            self.target_moment[index] += (rows.T @ rows).cpu()

    def add_coordinates(
        self, chunk: Chunk, projected: Projected, maps: RecallMaps, plan: Plan, every: int
    ) -> None:
        """Adds recalled and expressed points, read along the directions, to their histograms."""
        times = torch.arange(chunk.step, chunk.step + chunk.steps)
        taken = (times % every == 0).nonzero().flatten().to(chunk.age.device)
        if not len(taken):
            return
        age = chunk.age[taken]
        axes = maps.directions.to(chunk.vectors)
        expressed = chunk.vectors @ axes.T
        for index in range(self.lags + 1):
            lag = int(maps.lags[index]) if index < self.lags else int(maps.lags[0])
            rows = age >= int(plan.min_age[min(index, self.lags - 1)])
            self.recalled[index] += histogram(projected.coordinates[:, :, index][rows], maps.ranges)
            if index < self.lags:
                shown = expressed[chunk.history - lag + taken]
                self.expressed[index] += histogram(shown[rows], maps.ranges)

    def merge(self, other: Tally) -> None:
        """Adds the sums of disjoint streams; groups of streams are concatenated, then joined pairwise."""
        self.blocks.merge(other.blocks)
        self.positions.merge(other.positions)
        self.groups = torch.cat((self.groups, other.groups))
        self.join_groups()
        for name in SUMS:
            getattr(self, name).add_(getattr(other, name))

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: getattr(self, name).clone() for name in (*SUMS, "groups")}
        state.update({name: getattr(self, name) for name in COUNTS})
        for name in ("blocks", "positions"):
            bins: TimeBins = getattr(self, name)
            state[name] = {"width": bins.width, "index": bins.index.clone(), "sums": bins.sums.clone()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in (*SUMS, "groups"):
            setattr(self, name, state[name].clone())
        for name in COUNTS:
            setattr(self, name, int(state[name]))
        for name in ("blocks", "positions"):
            bins: TimeBins = getattr(self, name)
            bins.width = int(state[name]["width"])
            bins.index, bins.sums = state[name]["index"].clone(), state[name]["sums"].clone()


COUNTS = ("streams", "first", "group_width", "joins")
SUMS = ("classes", "residual_moment", "target_moment", "moment_rows", "recalled", "expressed")


class Plan:
    """Which target each projected map is held against: raw maps, the null map, own maps.

    Attributes:
        pairs: (kind, lag) of each counted map, raw then own.
        min_age: the age from which a row counts, by projected map (null included).
    """

    def __init__(self, maps: RecallMaps, min_age: Tensor) -> None:
        lags = maps.lags.tolist()
        self.lags = len(lags)
        raw = [(0, lag) for lag in lags]
        own = [(maps.innovations.order_of(lag), lag) for lag in lags] if maps.has_own else []
        self.pairs = raw + own
        null = [(0, lags[0])]
        projected = raw + null + own
        self.buffer = torch.tensor([kind for kind, _ in projected])
        self.lag = torch.tensor([lag for _, lag in projected])
        self.min_age = torch.cat((min_age, min_age[:1], min_age if own else min_age[:0]))

    def without_null(self, values: Tensor) -> Tensor:
        """Columns [..., L + 1] without the null map's."""
        return torch.cat((values[..., : self.lags], values[..., self.lags + 1 :]), dim=-1)

    def moments_without_null(self, values: Tensor) -> Tensor:
        """[L + 1, d, d] without the null map's."""
        return torch.cat((values[: self.lags], values[self.lags + 1 :]))

    def means(self, maps: RecallMaps) -> Tensor:
        """Fit means of the counted maps' targets [L, d]."""
        raw = maps.raw.target_mean
        return torch.cat((raw, maps.own.target_mean)) if maps.has_own else raw


def shifted_moments(
    kinds: Tensor, history: int, steps: int, pairs: list[tuple[int, int]], means: Tensor
) -> Tensor:
    """Second moments [L, d, d] about `means` [L, d] of each map's targets, all rows of a chunk, float64.

    Two lags of one kind share all rows but those at the ends, so each is worked out from the one before: what
    comes in at one end, and goes out at the other.
    """
    centre = means.mean(dim=0)
    out = kinds.new_empty(len(pairs), kinds.shape[-1], kinds.shape[-1], dtype=torch.float64)
    total, square, before, last = centre, centre, history, None
    for index, (kind, lag) in sorted(enumerate(pairs), key=lambda item: item[1]):
        start = history - lag
        if kind != last or before - start >= steps:
            total, square = moments_of(kinds[kind, start : start + steps], centre)
        else:
            new, new_square = moments_of(kinds[kind, start:before], centre)
            old, old_square = moments_of(kinds[kind, start + steps : before + steps], centre)
            total, square = total + new - old, square + new_square - old_square
        before, last = start, kind
        offset = means[index] - centre
        crossed = total.outer(offset)
        out[index] = square - crossed - crossed.T + steps * kinds.shape[2] * offset.outer(offset)
    return out


def moments_of(points: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Sum [d] and second moments [d, d] of points [n, B, d] about a centre, float64."""
    rows = points.flatten(0, 1).double() - centre
    return rows.sum(dim=0), rows.T @ rows


def target_distance(kinds: Tensor, steps: int, plan: Plan, maps: RecallMaps) -> Tensor:
    """Squared distances [T, B, L] of targets to their fit means.

    Lags of one kind share the targets, shifted, and have nearly one mean; each kind is worked through once:
    |e - m|^2 = |e - c|^2 - 2 (e - c).(m - c) + |m - c|^2 with c the mean over the kind's lags.
    """
    means = plan.means(maps).to(kinds)
    history = kinds.shape[1] - steps
    out = kinds.new_empty(steps, kinds.shape[2], len(plan.pairs))
    for kind in sorted({kind for kind, _ in plan.pairs}):
        members = [index for index, pair in enumerate(plan.pairs) if pair[0] == kind]
        centre = means[members].mean(dim=0)
        offset = means[members] - centre
        points = kinds[kind] - centre
        square, along = points.square().sum(dim=-1), points @ offset.T
        for column, index in enumerate(members):
            start = history - plan.pairs[index][1]
            part = slice(start, start + steps)
            out[..., index] = square[part] - 2 * along[part, :, column] + offset[column].square().sum()
    return out


def histogram(points: Tensor, ranges: Tensor) -> Tensor:
    """Counts [R, BINS] of points [N, R] between each direction's ends; the rest goes to the end bins."""
    low, high = ranges[:, 0].to(points), ranges[:, 1].to(points)
    axes = len(ranges)
    cell = ((points - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    cell = cell + BINS * torch.arange(axes, device=points.device)
    return torch.bincount(cell.flatten(), minlength=axes * BINS).view(axes, BINS).cpu()
