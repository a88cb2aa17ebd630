"""Fits recall maps: one pass over the tokens, one over the network, then small linear algebra."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import (
    FRESH,
    Carry,
    Chunk,
    Streams,
    ages,
    batches,
    chunk_steps,
    cut,
    fresh_carry,
    join_carries,
)
from rnnmem.errors import expected
from rnnmem.fit_cost import FitCost
from rnnmem.hull import NullMoments, directions
from rnnmem.innovations import InnovationMoments, Innovations, allowed_order
from rnnmem.moment_sums import SumMoments
from rnnmem.moments import Lagged, Moments, Rows, solve_maps
from rnnmem.recall import CurveFit, RecallMaps
from rnnmem.resident import ResidentMemory
from rnnmem.ridge import RidgeSystem
from rnnmem.runner import Runner, stream_join
from rnnmem.sample import FitSample, Segment
from rnnmem.semantics import SemanticSpace

FEWEST = 3
DOUBTFUL = 20
BANDS = 5
BLOCK = 16


@dataclass(frozen=True)
class FitOptions:
    """How recall maps are fitted; see `rnnmem.assess`."""

    lags: Tensor
    split: str
    washout: int
    ridge: float
    innovation_order: int
    seed: int


@dataclass
class Fitted:
    """The maps, where the streams stand after the fit part, and what the features were like in it."""

    maps: RecallMaps
    state: Any
    carry: Carry
    features: RidgeSystem


def walk(
    space: SemanticSpace, data: Streams, history: int, floats: int, flops: int, before: Carry | None = None
) -> Iterator[tuple[Chunk, Carry, bool]]:
    """Chunks of all streams, from their start or on from `before`.

    Yields:
        A chunk, the carry after it, and whether it is the first of its streams.
    """
    for start, end in batches(data, history, flops):
        part = data.streams(start, end)
        carry = fresh_carry(space, part, history) if before is None else before.streams(start, end)
        first = carry.step
        for chunk, after in cut(space, part, carry, chunk_steps(part.batch, floats, flops), start):
            yield chunk, after, chunk.step == first


def count_rows(data: Streams, least: list[int]) -> list[int]:
    """How many rows are at least so old, for each of some increasing ages."""
    counts = torch.zeros(len(least) + 1, dtype=torch.int64, device=data.inputs.device)
    bounds = torch.tensor(least, device=data.inputs.device)
    last = torch.full((data.batch,), FRESH, dtype=torch.int64, device=data.inputs.device)
    steps = chunk_steps(data.batch, 16, 1)
    for start in range(0, data.steps, steps):
        age, last = ages(last, data.time(start, min(data.steps, start + steps)))
        passed = torch.bucketize(age.flatten(), bounds, right=True)
        counts += torch.bincount(passed, minlength=len(counts))
    return [int(n) for n in counts.flip(0).cumsum(0).flip(0)[1:]]


def fit_maps(
    runner: Runner,
    space: SemanticSpace,
    data: Streams,
    features: int | None,
    flops: int,
    options: FitOptions,
    settings: dict[str, Any],
    progress: Any = None,
) -> Fitted:
    """Fits recall maps to the whole of `data`.

    Args:
        runner: the network in motion.
        space: where semantic vectors come from.
        data: the fit part.
        features: F, or None to find out from the first chunk.
        flops: of a step, for the size of chunks.
        options: how to fit.
        settings: kept in the maps for the report.
        progress: called with the rows done, or None.
    """
    lags = options.lags
    rows = Rows(lags, options.split, options.washout)
    by_stream = options.split == "streams"
    order, least = min(options.innovation_order, int(lags[-1])), int(rows.min_age[0])
    counts = count_rows(data, [max(m, least) for m in range(order + 1)])
    if counts[0] == 0:
        raise too_few(data, rows, by_stream, options.washout)
    notes = list(space.warnings)
    allowed = allowed_order(order, space.dimension, counts)
    if allowed < order:
        notes.append(
            f"innovation_order lowered from {order} to {allowed}: {order} tokens of {space.dimension} "
            f"dimensions want {10 * order * space.dimension} fit rows, there are {counts[order]}"
        )
    kinds = allowed + 1
    innovations, frequency = survey_tokens(space, data, rows, allowed, options, by_stream, runner.sum_moments)
    history = int(lags[-1])

    resident = ResidentMemory()
    moments: Moments | None = None
    sample: FitSample | None = None
    null = NullMoments(data, space, int(rows.min_age[0]), by_stream)
    states, carries = [], []
    state: Any = None
    floats = max(features or 0, kinds * space.dimension, space.dimension * min(len(lags), 16))
    flops += 2 * (features or 0) * (space.dimension * len(lags) + (features or 0))
    for chunk, carry, starts in walk(space, data, history, floats, flops):
        if starts:
            if state is not None:
                states.append(state)
            state = runner.init_state(chunk.age.shape[1])
            carries.append(carry)
        values, state = runner.store(chunk, state)
        carries[-1] = carry
        if moments is None or sample is None:
            size = values.shape[2]
            band = rows.band * (2 if allowed else 1)
            moments = Moments(rows, band, size, space.dimension, values.device, runner.sum_moments)
            # Of each row its newer tokens and all kinds of target are laid out beside the features.
            beside = (2 * allowed + 1) * space.dimension
            sample = FitSample(size, least, data.steps if by_stream else None, beside)
        moments.add(values.flatten(0, 1), chunk.age, lagged_targets(chunk, innovations, lags))
        null.add(values, chunk)
        sample.add(values, chunk, starts)
        if progress is not None:
            progress(chunk.age.numel())
    states.append(state)
    assert moments is not None
    assert sample is not None
    segments = sample.segments()
    del values, chunk, sample
    resident.settle()
    maps = finish(moments, null, segments, innovations, frequency, options, settings, notes, space)
    system = moments.systems(options.ridge)[0]
    return Fitted(maps, stream_join(runner, states), join_carries(carries), system)


def too_few(data: Streams, rows: Rows, by_stream: bool, washout: int) -> Exception:
    if by_stream:
        longest = int(data.ends.max())
        wanted = f"streams of more than {int(rows.min_age[0])} steps (the first lag) to fit on"
        return expected("inputs", wanted, f"at most {longest}")
    wanted = f"more than max(washout, max lag) = {int(rows.min_age[0])} steps in the fit part"
    remedy = "less washout" if int(rows.min_age[0]) == washout else "smaller lags"
    got = f"{data.steps} steps of {data.batch} streams: use more steps or {remedy}"
    if data.batch > data.steps:
        got += ", split='streams' for many short sequences, or transpose if the batch comes first"
    return expected("inputs", wanted, got)


def lagged_targets(chunk: Chunk, innovations: Innovations, lags: Tensor) -> Lagged:
    """Each map's targets: the tokens by lag, then their innovations where they differ."""
    pairs = [(0, lag) for lag in lags.tolist()]
    if innovations.order:
        pairs += [(innovations.order_of(lag), lag) for lag in lags.tolist()]
    return Lagged(innovations.targets(chunk.vectors), pairs, chunk.steps)


def survey_tokens(
    space: SemanticSpace,
    data: Streams,
    rows: Rows,
    order: int,
    options: FitOptions,
    by_stream: bool,
    sum_moments: SumMoments,
) -> tuple[Innovations, Tensor | None]:
    """The pass over the tokens: their predictors, and how often each is seen on the fit rows [V]."""
    least = int(rows.min_age[0])
    moments = InnovationMoments(order, space.dimension, least, by_stream, data.inputs.device, sum_moments)
    frequency = None
    if space.vocabulary is not None:
        frequency = torch.zeros(space.vocabulary, dtype=torch.int64, device=data.inputs.device)
    floats = (order + 1) * space.dimension
    for chunk, _, _ in walk(space, data, order, floats, 2 * floats * floats):
        moments.add(chunk)
        if frequency is not None:
            seen = chunk.inputs[chunk.age >= least]
            frequency += torch.bincount(seen, minlength=len(frequency))
    return moments.fit(options.ridge), frequency


def finish(
    moments: Moments,
    null: NullMoments,
    segments: list[Segment],
    innovations: Innovations,
    frequency: Tensor | None,
    options: FitOptions,
    settings: dict[str, Any],
    notes: list[str],
    space: SemanticSpace,
) -> RecallMaps:
    """Solves for the maps and works out what fitting them cost."""
    lags, rows = options.lags, moments.rows
    count = len(lags)
    systems = moments.systems(options.ridge)
    weight, bias = solve_maps(moments, systems)
    means, counts = moments.target_mean(), moments.counts()[:count]
    size = torch.tensor([systems[band].effective_size for band in rows.band], dtype=torch.float64)
    cost = FitCost(segments, systems, rows, innovations, lags, size.tolist(), counts.tolist())
    raw = cost.curve_fit(weight[:count], bias[:count], means[:count], own=False)
    own = cost.curve_fit(weight[count:], bias[count:], means[count:], own=True) if innovations.order else raw
    null_weight, null_bias = null.fit(systems[0], space.dimension)
    axes = directions(space.dimension, options.seed).to(weight.device)
    check_rows(lags, raw, own, size, notes)
    band, entropy = token_bands(frequency) if frequency is not None else (None, None)
    spectra = torch.stack([spectrum(p.innovation) for p in innovations.predictors])
    return RecallMaps(
        lags=lags,
        raw=raw,
        own=own,
        rows=counts,
        effective_size=size,
        rank=systems[0].rank,
        innovations=innovations,
        innovation_spectra=spectra,
        null_weight=null_weight,
        null_bias=null_bias,
        directions=axes,
        ranges=expressed_ranges(segments, axes),
        token_band=band,
        entropy=entropy,
        block_width=max(BLOCK, 4 * int(lags[-1]), math.ceil(10 * cost.longest_time)),
        settings={
            **settings,
            "innovation_order": innovations.order,
            "features": weight.shape[2],
            "effective_rank": participation_ratio(systems[0].covariance),
            "semantics": space.source,
        },
        warnings=tuple(notes),
    )


def participation_ratio(covariance: Tensor) -> float:
    """How many directions of equal variance would be as spread out: (tr C)^2 / tr C^2; 0 of none."""
    power = float(covariance.square().sum())
    return float(covariance.trace()) ** 2 / power if power else 0.0


def check_rows(lags: Tensor, raw: CurveFit, own: CurveFit, size: Tensor, notes: list[str]) -> None:
    """Warns of lags with few effective rows and refuses lag 0 with too few."""
    if int(lags[0]) == 0 and not float(raw.effective_rows[0]) >= FEWEST * float(size[0]):
        what = f"{float(raw.effective_rows[0]):.0f} of them, for {float(size[0]):.0f} effective units"
        raise expected("inputs", "more effective rows to fit on (at least 3 for each effective unit)", what)
    for name, fit in (("retention", raw), ("own retention", own)):
        share = fit.effective_rows / size.clamp(min=1e-300)
        few = lags[share < FEWEST].tolist()
        if few:
            notes.append(f"lags {few}: fewer than {FEWEST} effective fit rows a unit, so no {name} (NaN)")
        doubtful = share[(share >= FEWEST) & (share < DOUBTFUL)]
        if len(doubtful):
            notes.append(
                f"{name}: only {float(doubtful.min()):.1f} effective fit rows for each effective unit "
                f"(fewer than {DOUBTFUL}): the correction for the fit is large; use a longer sequence"
            )
        if raw is own:
            break


def spectrum(covariance: Tensor) -> Tensor:
    """Eigenvalues, summing to 1."""
    values = torch.linalg.eigvalsh(covariance).clamp(min=0)
    return values / values.sum().clamp(min=1e-300)


def token_bands(frequency: Tensor) -> tuple[Tensor, float]:
    """Five bands of tokens of equal mass, the most frequent first [V], and the entropy in bits."""
    order = torch.argsort(frequency, descending=True, stable=True)
    sorted_counts = frequency[order]
    total = sorted_counts.sum().clamp(min=1)
    band = torch.empty_like(order)
    band[order] = (BANDS * (sorted_counts.cumsum(0) - sorted_counts) // total).clamp(max=BANDS - 1)
    share = sorted_counts.double() / total
    seen = share[share > 0]
    return band, float(-(seen * seen.log2()).sum())


def expressed_ranges(segments: list[Segment], axes: Tensor) -> Tensor:
    """Where histograms along each direction begin and end [R, 2]: the expressed points and a tenth more."""
    points = torch.cat([s.vectors[s.history :][s.age >= 0] for s in segments]).double() @ axes.T
    low, high = points.min(dim=0).values, points.max(dim=0).values
    margin = 0.1 * (high - low).clamp(min=1e-12)
    return torch.stack((low - margin, high + margin), dim=1)
