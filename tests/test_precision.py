"""Weights in bfloat16, and layers in it: the same network as with rounded weights, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from test_cpu_scan import LEVELS, SHAPES, Case, threads
from torch import Tensor, nn

import rnnmem
from rnnmem import ops

NAMES = ("RNN", "GRU", "LSTM")
# Of outputs against float64 over 2,000 steps of contractive networks: what rounding the weights moves, and
# what outputs of 8 bits do, whose own rounding is 2**-9.
MEDIUM, BFLOAT16 = 1e-2, 2**-8
SIZES = [(9, 1, 1), (9, 33, 1), (9, 70, 17), (96, 96, 3), (91, 71, 1), (33, 130, 1)]  # I, H, B


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def make(name: str, inputs: int, hidden: int, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    layer: nn.Module = getattr(rnnmem.nn, name)(inputs, hidden, **options)
    for key, weight in layer.named_parameters():
        if key.startswith("weight_hh"):
            weight.data.mul_(0.8)
    return layer.eval()


def with_rounded_weights(layer: nn.Module) -> nn.Module:
    rounded = copy.deepcopy(layer)
    for name, weight in rounded.named_parameters():
        if name.startswith("weight"):
            weight.data = weight.data.bfloat16().float()
    return rounded


def exact(layer: nn.Module, x: Tensor) -> Tensor:
    """torch's outputs in float64, of the same weights."""
    name = type(layer).__name__
    wide = getattr(nn, name)(x.shape[2], layer.hidden_size, num_layers=layer.num_layers).double()
    wide.load_state_dict(layer.state_dict())
    outputs: Tensor = wide(x.double())[0]
    return outputs


def flat(result: tuple[Tensor, Any]) -> list[Tensor]:
    output, state = result
    return [output, *(state if isinstance(state, tuple) else (state,))]


def assert_equal(found: Any, wanted: Any) -> None:
    for a, b in zip(flat(found), flat(wanted), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["rnn_tanh", "rnn_relu", "gru", "lstm", "echo_tanh", "echo_identity"])
def test_a_scan_of_half_weights_is_that_of_rounded_ones(
    name: str, shape: tuple[int, int, int, int], isa: str
) -> None:
    one = Case(name, torch.float32, shape, full=True)
    half = ops.CpuScan(one.unit, one.weights, isa=isa, half=True)
    whole = ops.CpuScan(one.unit, one.weights.rounded(), isa=isa)
    given = (one.inputs, one.state, one.reset, True)
    for count in (1, 2):
        with threads(count):
            assert all(map(torch.equal, half.store(*given), whole.store(*given)))
            found, last = half.project(*given, one.projection)
            wanted, wanted_last = whole.project(*given, one.projection)
        assert torch.equal(last, wanted_last)
        assert all(torch.equal(getattr(found, key), value) for key, value in vars(wanted).items())


@pytest.mark.parametrize("rows", [5, 3_000_000], ids=["gate table", "rows"])
def test_tokens_and_the_way_back_of_half_weights(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "GATE_TABLE_BYTES", 64 << 20 if rows == 5 else 0)
    one = Case("lstm", torch.float32, (33, 5, 3, 20), full=True)
    table, tokens = one.inputs[:5, 0].contiguous(), torch.randint(0, 5, (20, 3))
    half = ops.CpuScan(one.unit, one.weights, table, half=True)
    whole = ops.CpuScan(one.unit, one.weights.rounded(), table)
    states = half.store(tokens, one.state, None, True)[0]
    assert torch.equal(states, whole.store(tokens, one.state, None, True)[0])
    back = (tokens, one.state, states, torch.randn_like(one.state), None, True)
    found, wanted = half.pull(*back), whole.pull(*back)
    assert all(torch.equal(getattr(found, key), value) for key, value in vars(wanted).items())


@pytest.mark.parametrize(("inputs", "hidden", "streams"), SIZES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_medium_is_the_layer_with_rounded_weights(name: str, inputs: int, hidden: int, streams: int) -> None:
    layer = make(name, inputs, hidden)
    x = torch.randn(2000, streams, inputs)
    for count in (1, 2):
        with threads(count), matmul_precision("medium"):
            found = layer(x)
        assert_equal(found, with_rounded_weights(layer)(x))
    torch.testing.assert_close(found[0].double(), exact(layer, x), rtol=0, atol=MEDIUM)


@torch.no_grad()
def test_a_compiled_layer_has_the_precision_that_it_was_compiled_at() -> None:
    layer, x = make("LSTM", 6, 40), torch.randn(50, 3, 6)
    with matmul_precision("medium"):
        wanted, compiled = layer(x), torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert_equal(compiled(x), wanted)


@torch.no_grad()
def test_other_precisions_and_other_dtypes_are_computed_in_full() -> None:
    layer, x = make("GRU", 6, 40), torch.randn(50, 3, 6)
    wanted = layer(x)
    with matmul_precision("high"):
        assert_equal(layer(x), wanted)
    with matmul_precision("medium"):
        assert not torch.equal(layer(x)[0], wanted[0])
        few = layer(x[:1])
    assert_equal(few, layer(x[:1]))
    layer, x = layer.double(), x.double()
    wanted = layer(x)
    with matmul_precision("medium"):
        assert_equal(layer(x), wanted)


@pytest.mark.parametrize(("inputs", "hidden", "streams"), SIZES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_bfloat16_layers_against_float64(name: str, inputs: int, hidden: int, streams: int) -> None:
    layer = make(name, inputs, hidden).bfloat16()
    x = torch.randn(2000, streams, inputs).bfloat16()
    found = layer(x)
    assert found[0].dtype == torch.bfloat16
    wanted = exact(layer, x)
    torch.testing.assert_close(found[0].double(), wanted, rtol=0, atol=BFLOAT16)
    theirs = getattr(nn, name)(inputs, hidden).bfloat16()
    theirs.load_state_dict(layer.state_dict())
    assert (found[0].double() - wanted).abs().max() <= (theirs(x)[0].double() - wanted).abs().max()
    with threads(2):
        assert_equal(layer(x), found)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_bfloat16_layers_are_torchs(name: str, options: dict[str, Any]) -> None:
    ours = make(name, 7, 21, **options).bfloat16()
    theirs = getattr(nn, name)(7, 21, **options).bfloat16()
    theirs.load_state_dict(ours.state_dict())
    for steps in (1, 30):
        x = torch.randn(steps, 3, 7).bfloat16()
        state = theirs(x)[1]
        for given in (
            (x,),
            (x, state),
            (x[:, 0],),
            (x.flip(1).transpose(1, 2).contiguous().transpose(1, 2),),
        ):
            for found, wanted in zip(flat(ours(*given)), flat(theirs(*given)), strict=True):
                assert found.dtype == torch.bfloat16
                torch.testing.assert_close(found, wanted, rtol=0, atol=4 * BFLOAT16)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_bfloat16_rows_that_start_between_pairs(name: str) -> None:
    layer = make(name, 6, 20).bfloat16()
    wide = torch.randn(40, 2, 9).bfloat16()
    for first in (0, 1, 2, 3):
        x = wide[..., first : first + 6]
        assert_equal(layer(x), layer(x.clone()))


def test_operators_take_bfloat16() -> None:
    layer = make("LSTM", 6, 20)
    weights = [weight.detach() for weight in layer.parameters()]
    x, h = torch.randn(9, 3, 6), torch.randn(3, 20)
    for dtype, half in ((torch.bfloat16, False), (torch.float32, True)):
        given = [each.to(dtype) for each in (x, h, h, *weights)]
        torch.library.opcheck(torch.ops.rnnmem.layer.default, ("lstm", *given, half))
    pairs = ops.pairs(torch.randn(40, 7)).unsqueeze(0)
    for isa in LEVELS:
        torch.library.opcheck(torch.ops.rnnmem.pack.default, (pairs, 4, isa))


SHORT = {"lags": 6, "washout": 20, "measures": ("kept", "forgotten", "learnable")}


def test_a_measurement_at_medium_is_that_of_rounded_weights() -> None:
    torch.manual_seed(0)
    layer, x = nn.GRU(4, 20), torch.randn(1500, 4, 4)
    found = rnnmem.assess(layer, x, precision="medium", **SHORT)
    wanted = rnnmem.assess(with_rounded_weights(layer), x, **SHORT)
    assert (found.precision, wanted.precision) == ("medium", "highest")
    assert torch.equal(found.retention, wanted.retention)
    assert torch.equal(found.own_retention, wanted.own_retention)
    assert torch.equal(found.learnable.median, wanted.learnable.median)
    assert torch.equal(found.forgotten.median, wanted.forgotten.median)
    assert found.warnings == wanted.warnings
    maps = rnnmem.fit_recall(layer, x[:750], precision="medium", lags=6, washout=20)
    meter = rnnmem.MemoryMeter(layer, maps, precision="medium")
    meter.warm(x[:750])
    meter.update(x[750:])
    report = meter.compute()
    assert report.precision == "medium"
    assert torch.equal(report.retention, found.retention)
    assert not any("other weights" in line for line in report.warnings)


def test_high_says_which_precision_ran() -> None:
    torch.manual_seed(0)
    layer, x = nn.GRU(4, 20), torch.randn(1500, 4, 4)
    found = rnnmem.assess(layer, x, precision="high", **SHORT)
    wanted = rnnmem.assess(layer, x, **SHORT)
    torch.testing.assert_close(found.retention, wanted.retention, rtol=0, atol=1e-4)
    assert found.precision == "highest"
    assert [line for line in found.warnings if line not in wanted.warnings] == [
        "precision 'high' ran as 'highest', in full: no kernel of this build splits into bfloat16"
    ]


def test_medium_is_for_float32() -> None:
    layer, x = nn.GRU(4, 20).double(), torch.randn(1500, 4, 4).double()
    with pytest.raises(rnnmem.RnnMemError, match="precision: expected 'highest' for a model"):
        rnnmem.assess(layer, x, precision="medium", backend="cpu", **SHORT)
