"""The drop-in layers against torch.nn's: parameters, results and refusals."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import rnnmem

NAMES = ("RNN", "GRU", "LSTM")
X = torch.zeros(4, 2, 3)
DTYPES = [pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64")]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "two layers": {"num_layers": 2},
    "both ways": {"bidirectional": True, "num_layers": 2},
    "dropout in eval": {"num_layers": 3, "dropout": 0.5},
}


def pair(name: str, *args: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """torch's layer and ours, each made after the same seed."""
    made = []
    for source in (nn, rnnmem.nn):
        torch.manual_seed(0)
        made.append(getattr(source, name)(*args, **options).eval())
    return made[0], made[1]


def tensors(result: tuple[Tensor, Any]) -> list[Tensor]:
    output, state = result
    return [output, *(state if isinstance(state, tuple) else (state,))]


def assert_same(theirs: Any, ours: Any, rtol: float, atol: float) -> None:
    for wanted, found in zip(tensors(theirs), tensors(ours), strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found.double(), wanted.double(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_results_are_torchs(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    theirs, ours = pair(name, 5, 19, dtype=dtype, **options)
    exact = theirs.double() if dtype == torch.float64 else copy.deepcopy(theirs).double()
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    x = torch.randn(7, 3, 5, dtype=dtype)
    state = theirs(x)[1]
    wide: Any = tuple(part.double() for part in state) if name == "LSTM" else state.double()
    assert_same(exact(x.double()), ours(x), **close)
    assert_same(exact(x.double(), wide), ours(x, state), **close)
    assert_same(exact(x[0].double()), ours(x[0]), **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (3, 8), (40, 16), (17, 33)])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_one_step_after_another_is_one_call(name: str, inputs: int, hidden: int, dtype: torch.dtype) -> None:
    """Few steps are made on the weights as they are, many on packed ones."""
    for options in ({}, {"bias": False}, {"num_layers": 2, "batch_first": True}):
        theirs, ours = pair(name, inputs, hidden, dtype=torch.float64, **options)
        ours.to(dtype)
        x, state, atol = (
            torch.randn(2, 9, inputs, dtype=dtype),
            None,
            1e-5 if dtype == torch.float32 else 1e-12,
        )
        x = x if options.get("batch_first") else x.transpose(0, 1)
        outputs, time = [], 1 if options.get("batch_first") else 0
        for step in x.split(1, dim=time):
            output, state = ours(step, state)
            outputs.append(output)
        result = torch.cat(outputs, dim=time), state
        assert_same(theirs(x.double()), result, 1e-5 if dtype == torch.float32 else 1e-12, atol)
        assert_same(ours(x), result, 1e-5 if dtype == torch.float32 else 1e-12, atol)


@torch.no_grad()
def test_relu_is_torchs() -> None:
    theirs, ours = pair("RNN", 5, 19, nonlinearity="relu", dtype=torch.float64)
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    assert_same(theirs(x), ours(x), 1e-12, 1e-12)


@pytest.mark.parametrize(
    ("inputs", "hidden", "streams"),
    [(9, 1, 1), (9, 33, 1), (9, 70, 17), (9, 96, 3), (90, 70, 1), (33, 130, 1)],
)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_two_thousand_steps_in_float32_against_torch_in_float64(
    name: str, inputs: int, hidden: int, streams: int
) -> None:
    theirs, ours = pair(name, inputs, hidden)
    for layer in (theirs, ours):
        layer.weight_hh_l0.mul_(0.8)
    x = torch.randn(2000, streams, inputs)
    assert_same(theirs.double()(x.double()), ours(x), 1e-5, 1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_torchs(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, 5, 19, **options)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))
    assert repr(theirs) == repr(ours)
    getattr(nn, name)(5, 19, **options).load_state_dict(ours.state_dict())
    getattr(rnnmem.nn, name)(5, 19, **options).load_state_dict(theirs.state_dict())
    assert isinstance(ours, nn.RNNBase)
    assert not isinstance(ours, getattr(nn, name))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_change_of_the_weights_is_never_missed(name: str) -> None:
    theirs, ours = pair(name, 4, 6)
    x = torch.randn(5, 2, 4)
    ours(x)
    for layer in (theirs, ours):
        layer.weight_hh_l0.data.mul_(0.5)  # behind the version counter's back
        layer.bias_ih_l0.add_(1)
        layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0.flip(0).clone(), requires_grad=False)
    assert_same(theirs(x), ours(x), 1e-5, 1e-6)


@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_weights_that_are_not_finite_show_at_the_first_step(name: str, steps: int) -> None:
    _, ours = pair(name, 3, 8)
    ours.weight_hh_l0[:, 1] = float("nan")
    assert bool(ours(torch.randn(steps, 2, 3))[0].isnan().all())


def test_a_weight_that_another_network_made_raises() -> None:
    _, ours = pair("GRU", 3, 4)
    made = ours.requires_grad_(False).weight_hh_l0.clone().requires_grad_()
    del ours.weight_hh_l0
    ours.weight_hh_l0 = made
    with pytest.raises(rnnmem.RnnMemError, match="got weight_hh_l0 requires one"):
        ours(X)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_copies_and_layouts(name: str) -> None:
    theirs, ours = pair(name, 4, 6)
    x = torch.randn(3, 4, 5).permute(2, 0, 1)  # [5, 3, 4], not contiguous
    for layer in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        layer.flatten_parameters()
        assert_same(theirs(x), layer(x), 1e-5, 1e-6)
    columns = torch.randn(4, 3, 5).permute(2, 1, 0)  # its last dimension is not in one line
    assert_same(theirs(columns), ours(columns), 1e-5, 1e-6)
    assert_same(theirs(x[:, :0]), ours(x[:, :0]), 0, 0)
    with torch.inference_mode():
        assert_same(theirs(x), ours(x), 1e-5, 1e-6)


@torch.no_grad()
def test_the_same_bits_for_any_number_of_threads() -> None:
    _, ours = pair("GRU", 20, 40, num_layers=2)
    x, threads = torch.randn(50, 37, 20), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ours(x)[0]
        torch.set_num_threads(3)
        assert torch.equal(ours(x)[0], one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["rnn_tanh", "gru", "lstm"])
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    unit = rnnmem.units.UNITS[name]
    hidden, rows = 10, 10 * unit.gates
    state: list[Tensor | None] = [torch.randn(5, hidden, dtype=dtype) for _ in unit.state_parts]
    state = [*state, None][:2]
    weights = [torch.randn(shape, dtype=dtype) for shape in ((rows, 3), (rows, hidden), (rows,), (rows,))]
    for steps in (0, 6):
        x = torch.randn(steps, 5, 3, dtype=dtype)
        torch.library.opcheck(torch.ops.rnnmem.layer.default, (name, x, *state, *weights))
        torch.library.opcheck(torch.ops.rnnmem.layer.default, (name, x, None, None, *weights[:2], None, None))
    few = [None if part is None else part[:2] for part in state]
    one = torch.randn(1, 2, 3, dtype=dtype)
    torch.library.opcheck(torch.ops.rnnmem.layer.default, (name, one, *few, *weights))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_compiles_into_one_graph_and_exports(name: str) -> None:
    _, ours = pair(name, 3, 4, num_layers=2, bidirectional=True)
    ours.requires_grad_(False)
    x = torch.randn(5, 2, 3)
    wanted = ours(x)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    assert_same(wanted, compiled(x), 0, 0)
    assert_same(wanted, torch.export.export(ours, (x,)).module()(x), 0, 0)


BAD_LAYERS: dict[str, tuple[int, Tensor | None]] = {
    "unit: unknown": (0, None),
    "inputs: expected": (1, torch.zeros(6, 2, 4)),
    "h: expected": (2, torch.zeros(1, 2, 10)),
    "c: expected none": (3, torch.zeros(2, 10)),
    "weights: expected rank 2": (4, torch.zeros(30)),
    "hh: expected shape": (5, torch.zeros(31, 10)),
    "ih: expected": (4, torch.zeros(60, 3)),
    "bias_ih: expected": (6, torch.zeros(60)),
    "bias_hh: expected": (7, torch.zeros(30, dtype=torch.float64)),
}


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("message", BAD_LAYERS)
def test_bad_layers_raise(message: str, steps: int) -> None:
    given: list[Any] = ["gru", torch.zeros(steps, 2, 3), torch.zeros(2, 10), None, torch.zeros(30, 3)]
    given += [torch.zeros(30, 10), torch.zeros(30), torch.zeros(30)]
    place, wrong = BAD_LAYERS[message]
    given[place] = "mgu" if wrong is None else wrong
    with pytest.raises(RuntimeError, match=message):
        torch.ops.rnnmem.layer(*given)


@pytest.mark.parametrize("name", NAMES)
def test_measured_like_torchs(name: str) -> None:
    theirs, ours = pair(name, 2, 8)
    x = torch.randn(900, 2, 2)
    reports = [rnnmem.assess(layer, x, lags=4) for layer in (theirs, ours)]
    assert torch.equal(reports[0].retention, reports[1].retention)


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "packed": (
        {},
        (pack_sequence([X[:, 0], X[:3, 0]]),),
        "input: expected a Tensor .packed sequences are not",
    ),
    "one number": ({}, (torch.zeros(3),), "Expected input to be 2D or 3D, got 1D"),
    "features": (
        {},
        (torch.zeros(4, 2, 5),),
        "input.size.-1. must be equal to input_size. Expected 3, got 5",
    ),
    "no steps": ({}, (X[:0],), "Expected sequence length to be larger than 0"),
    "half": ({"dtype": torch.float16}, (X.half(),), "dtype: expected float32, float64 or bfloat16"),
    "other dtype": ({}, (X.double(),), "input dtype .torch.float64. does not match weight dtype"),
    "meta": ({"device": "meta"}, (X.to("meta"),), "device: expected cpu"),
    "input elsewhere": ({}, (X.to("meta"),), "device: expected cpu"),
    "state elsewhere": ({}, (X, torch.zeros(1, 2, 4, device="meta")), "device: expected cpu"),
    "state's size": ({}, (X, torch.zeros(1, 3, 4)), r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"),
    "state's rank": ({}, (X, torch.zeros(2, 4)), "For batched 3-D input, hx should also be 3-D"),
    "state's dtype": ({}, (X, torch.zeros(1, 2, 4).double()), "hx: expected dtype torch.float32"),
    "state of an LSTM": ({}, (X, (torch.zeros(1, 2, 4),) * 2), "hx: expected a Tensor"),
    "dropout": ({"num_layers": 2, "dropout": 0.5}, (X,), "dropout: expected eval mode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_raises(case: str) -> None:
    options, given, message = REFUSED[case]
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match=message):
        rnnmem.nn.GRU(3, 4, **options)(*given)


def test_gradients_raise_with_the_remedy() -> None:
    layer = rnnmem.nn.LSTM(3, 4)
    with pytest.raises(rnnmem.RnnMemError, match=r"weight_ih_l0 requires one: call under torch.no_grad\(\)"):
        layer(X)
    with torch.no_grad():
        layer(X)
    layer.requires_grad_(False)(X)
    with pytest.raises(rnnmem.RnnMemError, match=r"gradients: expected none .* got input requires one"):
        layer(X.clone().requires_grad_())
    with pytest.raises(rnnmem.RnnMemError, match=r"hx: expected \(h, c\)"):
        layer(X, torch.zeros(1, 2, 4))
    with pytest.raises(rnnmem.RnnMemError, match="proj_size: expected 0"):
        rnnmem.nn.LSTM(3, 4, proj_size=2)
