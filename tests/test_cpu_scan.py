"""The cpu backend against the reference in float64, at every instruction set that this machine runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnmem import ops
from rnnmem.reference import ReferenceScan
from rnnmem.scan import Projected, Projection
from rnnmem.units import UNITS, Weights

LEVELS = ops.isa_levels()
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}  # of the largest number there is, or of 1
DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in TOLERANCES]
SHAPES = [  # H, I, B, T: each of 1 7 63 100 257, 1 5 64, 1 3 8 9 17 and 0 1 5 70 is in several
    (1, 1, 1, 1),
    (1, 5, 9, 70),
    (7, 64, 3, 5),
    (7, 1, 17, 70),
    (63, 5, 8, 70),
    (63, 64, 17, 0),
    (100, 64, 1, 5),
    (100, 1, 9, 1),
    (257, 5, 17, 5),
    (257, 64, 3, 70),
]
PROJECTIONS = [  # L, d, R, moment_every, coordinate_every, coordinate_maps
    (0, 3, 2, 1, 1, 0),
    (40, 1, 1, 1, 2, 40),
    (9, 33, 3, 2, 1, 4),
    (24, 32, 8, 1, 5, 24),
    (2, 256, 40, 3, 1, 1),
    (3, 300, 8, 1, 1, 0),
]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_weights(name: str, hidden: int, inputs: int) -> Weights:
    rows, scale = UNITS[name].gates * hidden, hidden**-0.5
    leak = 0.7 if name.startswith("echo") else 1.0
    ih, hh = random(1, rows, inputs) * 0.5 * inputs**-0.5, random(2, rows, hidden) * 0.6 * scale
    return Weights(ih, hh, 0.3 * random(3, rows), 0.3 * random(4, rows), leak)


def make_projection(
    features: int, steps: int, batch: int, shape: tuple[int, ...] = (7, 5, 3, 2, 3, 4), history: int = 6
) -> Projection:
    maps, d, directions, moment_every, coordinate_every, coordinate_maps = shape
    g = torch.Generator().manual_seed(5)
    return Projection(
        weight=random(6, maps, d, features) * features**-0.5,
        bias=random(7, maps, d),
        targets=random(8, 2, history + steps, batch, d),
        buffer=torch.randint(0, 2, (maps,), generator=g),
        lag=torch.randint(0, history + 1, (maps,), generator=g),
        age=torch.randint(-1, 6, (steps, batch), generator=g),
        min_age=torch.randint(0, 4, (maps,), generator=g),
        step=4,
        moment_every=moment_every,
        directions=random(9, directions, d),
        coordinate_maps=coordinate_maps,
        coordinate_every=coordinate_every,
    )


def cast(value: Any, dtype: torch.dtype) -> Any:
    """A tensor, Weights or Projection with its floating-point tensors rounded to dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (Weights, Projection)):
        return replace(value, **{k: cast(v, dtype) for k, v in vars(value).items()})
    return value


class Case:
    """One layer and one chunk, with the reference's answer in float64 to the numbers that dtype can hold."""

    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        shape: tuple[int, int, int, int],
        full: bool,
        projection: tuple[int, ...] = (7, 5, 3, 2, 3, 4),
    ) -> None:
        hidden, inputs, batch, steps = shape
        self.unit, self.dtype, self.full = UNITS[name], dtype, full
        parts = len(self.unit.state_parts)
        self.weights = cast(make_weights(name, hidden, inputs), dtype)
        self.inputs = random(10, steps, batch, inputs).to(dtype)
        self.state = 0.5 * random(11, parts, batch, hidden).to(dtype)
        self.reset = torch.rand(steps, batch, generator=torch.Generator().manual_seed(12)) < 0.1
        features = hidden * (parts if full else 1)
        self.projection = cast(make_projection(features, steps, batch, projection), dtype)

    def scan(self, isa: str | None = None) -> ops.CpuScan:
        return ops.CpuScan(self.unit, self.weights, isa=isa)

    def store(self, isa: str | None = None) -> tuple[Tensor, Tensor]:
        return self.scan(isa).store(self.inputs, self.state, self.reset, self.full)

    def project(self, isa: str | None = None) -> tuple[Projected, Tensor]:
        return self.scan(isa).project(self.inputs, self.state, self.reset, self.full, self.projection)

    def expected(self) -> tuple[Tensor, Projected, Tensor]:
        wide = torch.float64
        scan = ReferenceScan(self.unit, cast(self.weights, wide))
        arguments = (self.inputs.to(wide), self.state.to(wide), self.reset, self.full)
        features, state = scan.store(*arguments)
        projected, _ = scan.project(*arguments, cast(self.projection, wide))
        return features, projected, state

    def check(self, got: Tensor, wanted: Tensor, dtype: torch.dtype | None = None) -> None:
        assert got.dtype == (dtype or self.dtype)
        assert got.shape == wanted.shape
        assert got.is_contiguous()
        if got.numel():
            error = (got.double() - wanted).abs().max() / wanted.abs().max().clamp_min(1)
            assert float(error) <= TOLERANCES[self.dtype]

    def check_projected(self, got: Projected, wanted: Projected) -> None:
        self.check(got.distance, wanted.distance)
        self.check(got.moment, wanted.moment, torch.float64)
        self.check(got.coordinates, wanted.coordinates)


@cache
def case(
    name: str, dtype: torch.dtype, shape: tuple[int, int, int, int], full: bool
) -> tuple[Case, tuple[Tensor, Projected, Tensor]]:
    one = Case(name, dtype, shape, full)
    return one, one.expected()


@contextmanager
def poisoned() -> Iterator[None]:
    """New tensors hold NaN, so that an output that is not written shows."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.zeros(1).new_empty(1000).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("name", UNITS)
def test_agrees_with_the_reference(
    name: str, isa: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    for full in (False, True):
        one, (features, projected, state) = case(name, dtype, shape, full)
        with poisoned():
            got_features, got_state = one.store(isa)
            got_projected, same_state = one.project(isa)
        one.check(got_features, features)
        one.check(got_state, state)
        one.check_projected(got_projected, projected)
        assert torch.equal(got_state, same_state)


@cache
def way_back(name: str, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> tuple[Case, Any, Any]:
    """A case, what its pull is given beside inputs and state, and the reference's answer in float64."""
    one, wide = Case(name, dtype, shape, True), torch.float64
    scan = ReferenceScan(one.unit, cast(one.weights, wide))
    inputs, state = one.inputs.to(wide), one.state.to(wide)
    states = scan.store(inputs, state, None, True)[0]
    gradient, above = random(15, *state.shape).to(dtype), random(16, *states.shape[:2], shape[0]).to(dtype)
    wanted = scan.pull(inputs, state, states, gradient.to(wide), above.to(wide), True)
    return one, (states.to(dtype), gradient, above), wanted


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("name", UNITS)
def test_pulls_back_like_the_reference(
    name: str, isa: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    one, given, wanted = way_back(name, dtype, shape)
    with poisoned():
        got = one.scan(isa).pull(one.inputs, one.state, *given, True)
        plain = one.scan(isa).pull(one.inputs, one.state, *given[:2], torch.zeros_like(given[2]), False)
        same = one.scan(isa).pull(one.inputs, one.state, *given[:2], None, False)
    one.check(got.gradient, wanted.gradient)
    one.check(got.squares, wanted.squares, torch.float64)
    one.check(got.sides, wanted.sides)
    assert torch.equal(same.gradient, plain.gradient)
    assert torch.equal(same.squares, plain.squares)
    assert same.sides.shape == (0, *wanted.sides.shape[1:])


@pytest.mark.parametrize("table", ["gates", "rows"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNITS)
def test_pulls_back_through_tokens_with_any_threads(
    name: str, dtype: torch.dtype, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if table == "rows":
        monkeypatch.setattr(ops, "GATE_TABLE_BYTES", 0)
    one, given, _ = way_back(name, dtype, (63, 5, 8, 70))
    embedding = one.inputs.flatten(0, 1)
    tokens = torch.arange(len(embedding)).view(70, 8)
    with threads(1):
        wanted = one.scan().pull(one.inputs, one.state, *given, True)
    with threads(2):
        got = ops.CpuScan(one.unit, one.weights, embedding).pull(tokens, one.state, *given, True)
    for field in ("gradient", "squares", "sides"):
        assert torch.equal(getattr(got, field), getattr(wanted, field))


@pytest.mark.parametrize("projection", PROJECTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
def test_projection_shapes(isa: str, dtype: torch.dtype, projection: tuple[int, ...]) -> None:
    one = Case("lstm", dtype, (20, 3, 11, 13), True, projection)
    with poisoned():
        got, _ = one.project(isa)
    one.check_projected(got, one.expected()[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_that_need_large_groups_of_streams(dtype: torch.dtype) -> None:
    # 20 maps of 256 dimensions take 10 MiB a group of 8 streams: 8 groups would pass 64 MiB, 4 do not.
    one = Case("gru", dtype, (7, 3, 64, 3), False, (20, 256, 1, 1, 1, 0))
    with threads(1):
        got, _ = one.project()
    one.check_projected(got, one.expected()[1])
    with threads(2):
        again, _ = one.project()
    assert torch.equal(got.moment, again.moment)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("name", UNITS)
def test_same_bits_for_any_threads_chunks_and_batch(name: str, isa: str, dtype: torch.dtype) -> None:
    one = Case(name, dtype, (33, 5, 27, 75), True)
    scan, p = one.scan(isa), one.projection
    with threads(1):
        whole, state = scan.project(one.inputs, one.state, one.reset, True, p)
        features, _ = scan.store(one.inputs, one.state, one.reset, True)
    with threads(2):
        again, _ = scan.project(one.inputs, one.state, one.reset, True, p)
        assert torch.equal(scan.store(one.inputs, one.state, one.reset, True)[0], features)
    for field in ("distance", "moment", "coordinates"):
        assert torch.equal(getattr(again, field), getattr(whole, field))

    history = p.targets.shape[1] - 75
    carried, parts, pieces = one.state, [], []
    for start, end in ((0, 1), (1, 2), (2, 33), (33, 33), (33, 75)):
        part = replace(
            p,
            targets=p.targets[:, start : end + history],
            age=p.age[start:end],
            step=p.step + start,
        )
        inputs, reset = one.inputs[start:end], one.reset[start:end]
        pieces.append(scan.store(inputs, carried, reset, True)[0])
        projected, carried = scan.project(inputs, carried, reset, True, part)
        parts.append(projected)
    assert torch.equal(carried, state)
    assert torch.equal(torch.cat(pieces), features)
    assert torch.equal(torch.cat([each.distance for each in parts]), whole.distance)
    assert torch.equal(torch.cat([each.coordinates for each in parts]), whole.coordinates)
    moment = torch.stack([each.moment for each in parts]).sum(dim=0)
    # A tile's residuals are summed in dtype, and chunks set where tiles begin.
    one.check(moment, whole.moment, torch.float64)

    for start, end in ((0, 1), (1, 4), (4, 16), (16, 27)):
        streams = slice(start, end)
        alone, _ = scan.store(
            one.inputs[:, streams], one.state[:, streams], one.reset[:, streams].contiguous(), True
        )
        assert torch.equal(alone, features[:, streams])


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_inputs(dtype: torch.dtype) -> None:
    one = Case("gru", dtype, (20, 5, 9, 12), False)
    features, state = one.store()
    batch_first = one.inputs.transpose(0, 1).contiguous().transpose(0, 1)
    every_other = torch.repeat_interleave(one.inputs, 2, dim=2)[:, :, ::2]
    same = one.inputs[:, :1].expand(-1, 9, -1)
    scan = one.scan()
    for inputs in (batch_first, every_other):
        assert not inputs.is_contiguous()
        got, last = scan.store(inputs, one.state, one.reset, False)
        assert torch.equal(got, features)
        assert torch.equal(last, state)
    assert torch.equal(
        scan.store(same, one.state, None, False)[0], scan.store(same.contiguous(), one.state, None, False)[0]
    )
    turned = one.state.transpose(0, 2).contiguous().transpose(0, 2)
    reset = one.reset.T.contiguous().T
    p = replace(one.projection, targets=one.projection.targets.transpose(1, 2).contiguous().transpose(1, 2))
    p = replace(p, weight=p.weight.transpose(1, 2).contiguous().transpose(1, 2), age=p.age.T.contiguous().T)
    got_projected, _ = scan.project(batch_first, turned, reset, False, p)
    assert torch.equal(got_projected.distance, one.project()[0].distance)


@pytest.mark.parametrize("table", ["gates", "rows"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("name", UNITS)
def test_tokens(name: str, isa: str, dtype: torch.dtype, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if table == "rows":
        monkeypatch.setattr(ops, "GATE_TABLE_BYTES", 0)
    one = Case(name, dtype, (19, 5, 9, 40), False)
    embedding = random(13, 300, 5).to(dtype)
    tokens = torch.randint(0, 300, (40, 9), generator=torch.Generator().manual_seed(14))
    scan = ops.CpuScan(one.unit, one.weights, embedding, isa=isa)
    wanted, last = one.scan(isa).store(embedding[tokens], one.state, one.reset, False)
    for given in (tokens, tokens.T.contiguous().T):
        got, state = scan.store(given, one.state, one.reset, False)
        assert torch.equal(got, wanted)
        assert torch.equal(state, last)


def test_packed_maps_are_never_stale() -> None:
    one = Case("gru", torch.float32, (20, 5, 9, 12), False)
    scan, p = one.scan(), one.projection
    arguments = (one.inputs, one.state, one.reset, False)
    before = scan.project(*arguments, p)[0].distance
    p.weight.mul_(2)
    after = scan.project(*arguments, p)[0].distance
    assert not torch.equal(before, after)
    assert torch.equal(after, one.scan().project(*arguments, replace(p, weight=p.weight.clone()))[0].distance)
    with torch.inference_mode():
        weight = p.weight.clone()
        first = scan.project(*arguments, replace(p, weight=weight))[0].distance
        weight.mul_(2)
        second = scan.project(*arguments, replace(p, weight=weight))[0].distance
    assert torch.equal(first, after)
    assert not torch.equal(second, after)


def test_nothing_is_changed_in_place() -> None:
    one = Case("lstm", torch.float32, (20, 5, 9, 12), True)
    tensors = [one.inputs, one.state, one.reset]
    tensors += [
        x for x in (*vars(one.weights).values(), *vars(one.projection).values()) if isinstance(x, Tensor)
    ]
    before = [x.clone() for x in tensors]
    one.store()
    one.project()
    assert all(torch.equal(x, y) for x, y in zip(tensors, before, strict=True))


def activations(x: Tensor, isa: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Each activation as the kernels compute it, beside x: read off a unit that does nothing else."""
    zero, n = x.new_zeros(3), len(x)
    columns = x.view(1, n, 1)
    rnn = Weights(x.new_ones(1, 1), x.new_zeros(1, 1), zero[:1], zero[:1])
    # h' = n + z (h - n) with n = tanh(0) and h = 1 is z.
    gru = Weights(x.new_tensor([[0.0], [1.0], [0.0]]), x.new_zeros(3, 1), zero, zero)
    tanh = ops.CpuScan(UNITS["rnn_tanh"], rnn, isa=isa).store(columns, x.new_zeros(1, n, 1), None, False)[0]
    sigmoid = ops.CpuScan(UNITS["gru"], gru, isa=isa).store(columns, x.new_ones(1, n, 1), None, False)[0]
    return {"tanh": (x, tanh.view(-1)), "sigmoid": (x, sigmoid.view(-1))}


@pytest.mark.parametrize("isa", LEVELS)
def test_activations_are_within_four_ulp(isa: str) -> None:
    scales = (1e-30, 1e-6, 1e-3, 0.1, 0.5, 1, 3, 10, 30)
    wide = torch.cat([random(i, 20_000) * scale for i, scale in enumerate(scales)]).clamp(-87, 200)
    for x, got in activations(wide.float(), isa).values():
        function = torch.tanh if got.min() < 0 else torch.sigmoid
        exact = function(x.double())
        ulp = torch.from_numpy(np.spacing(exact.float().abs().numpy())).double()
        assert float(((got.double() - exact).abs() / ulp).max()) <= 4
    # In float64 the exact value is numpy's in extended precision.
    extended = wide.numpy().astype(np.longdouble)
    exact64 = {"tanh": np.tanh(extended), "sigmoid": 1 / (1 + np.exp(-extended))}
    for name, (_, got) in activations(wide, isa).items():
        ulp64 = np.spacing(np.abs(exact64[name].astype(np.float64)))
        assert float(np.max(np.abs(got.numpy() - exact64[name]) / ulp64)) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
def test_activations_saturate_and_keep_nan(isa: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-float("inf"), -1e30, -1e4, 0.0, 1e4, 1e30, float("inf"), float("nan")], dtype=dtype)
    _, tanh = activations(x, isa)["tanh"]
    assert tanh[:7].tolist() == [-1, -1, -1, 0, 1, 1, 1]
    assert tanh[7].isnan()
    _, sigmoid = activations(x[[1, 2, 3, 4, 5, 7]], isa)["sigmoid"]
    assert sigmoid[:5].tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-37)
    assert sigmoid[5].isnan()


@pytest.mark.parametrize("name", ["rnn_tanh", "gru", "lstm"])
def test_no_drift_over_a_million_steps(name: str) -> None:
    steps, chunk, d, lag = 1_000_000, 50_000, 2, 3
    weights = make_weights(name, 8, d)
    unit = UNITS[name]
    totals, moments = {}, {}
    for dtype in TOLERANCES:
        scan = ops.CpuScan(unit, cast(weights, dtype))
        state = torch.zeros(len(unit.state_parts), 1, 8, dtype=dtype)
        history = torch.zeros(lag, 1, d, dtype=dtype)
        p = cast(make_projection(8, 0, 1, (4, d, 1, 1, 1, 0), lag), dtype)
        total, moment = torch.zeros(4, dtype=torch.float64), torch.zeros(4, d, d, dtype=torch.float64)
        for start in range(0, steps, chunk):
            x = random(start, chunk, 1, d).float().to(dtype)
            targets = torch.cat((history, x))
            age = torch.arange(start, start + chunk).view(-1, 1)
            now = replace(p, targets=targets.expand(2, -1, -1, -1), age=age, step=start)
            projected, state = scan.project(x, state, None, False, now)
            counted = age.double() >= now.min_age
            total += (projected.distance.double() * counted[:, None]).sum(dim=(0, 1))
            moment += projected.moment
            history = targets[chunk:]
        totals[dtype], moments[dtype] = total, moment
    assert totals[torch.float32].tolist() == pytest.approx(totals[torch.float64].tolist(), rel=1e-6)
    for dtype, rel in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        traces = moments[dtype].diagonal(dim1=1, dim2=2).sum(dim=1)
        assert traces.tolist() == pytest.approx(totals[dtype].tolist(), rel=rel)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize(("hidden", "inputs", "streams"), [(1, 1, 1), (70, 45, 1), (33, 9, 17), (129, 2, 3)])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@torch.no_grad()
def test_two_thousand_steps_in_float32_against_torch_in_float64(
    name: str, hidden: int, inputs: int, streams: int, isa: str
) -> None:
    torch.manual_seed(0)
    layer = getattr(torch.nn, name)(inputs, hidden, dtype=torch.float64)
    layer.weight_hh_l0.mul_(0.8)  # contractive: errors die out, and do not grow by themselves
    x = torch.randn(2000, streams, inputs)
    unit = UNITS["rnn_tanh" if name == "RNN" else name.lower()]
    weights = cast(
        Weights(layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0), torch.float32
    )
    scan = ops.CpuScan(unit, weights, isa=isa)
    state = torch.zeros(len(unit.state_parts), streams, hidden)
    found, _ = scan.store(x, state, None, False)
    torch.testing.assert_close(found.double(), layer(x.double())[0], rtol=0, atol=1e-5)
