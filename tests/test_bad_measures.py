"""Bad input to the functions beside the report, as tests/test_bad_input.py has it for the others."""

import pytest
import torch
from test_bad_input import INF, NAN, TABLE, TOKENS, X, also, cases, gru, refused, with_value
from torch import nn

import rnnmem
from rnnmem.context import Used
from rnnmem.learning import Learnable
from rnnmem.units import EchoState

ONE = torch.randn(400, 2, 1, generator=torch.Generator().manual_seed(0))
W, V_IN = 0.5 * torch.eye(4), torch.ones(4)
H_ROWS = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))
OF_ROWS = torch.arange(200) % 3
MODELS = {
    "none": None,
    "string": "gru",
    "linear": nn.Linear(1, 3),
    "bidirectional": nn.GRU(1, 3, bidirectional=True),
    "class": nn.GRU,
    "nan": EchoState(torch.ones(2, 1), torch.eye(2)),
}
with torch.no_grad():
    MODELS["nan"].weight_hh[0, 0] = NAN


class Whole:
    """An object whose step is of numpy, so that nothing can be differentiated."""

    dtype = torch.float32

    def init_state(self, batch):
        return torch.zeros(batch, 2)

    def step(self, x, state):
        new = torch.as_tensor(0.5 * state.numpy() + x.numpy()[:, :1])
        return new, new


LYAPUNOV = {
    "model": {**MODELS, "not-differentiable": Whole()},
    "inputs": {
        "none": None,
        "rank": X[0],
        "float64": X.double(),
        "size": X[..., :2],
        "nan": with_value(X, (3, 1, 0), NAN),
        "int32": TOKENS.int(),
        "no-step-left": X[:100],
        "tokens-without-embedding": also(TOKENS, named="embedding"),
    },
    "embedding": {
        "for-floats": TABLE,
        "size": also(TABLE[:, :2], inputs=TOKENS),
        "list": also([1], inputs=TOKENS),
    },
    "k": {"zero": 0, "negative": -1, "float": 1.0, "bool": True, "above": 6, "string": "all"},
    "washout": {"none": None, "negative": -1, "float": 1.0, "all": also(240, named="inputs")},
    "qr_every": {"none": None, "zero": 0, "float": 2.0, "bool": True},
}


@pytest.mark.parametrize(("argument", "given"), cases(LYAPUNOV))
def test_lyapunov_spectrum(argument, given):
    refused(argument, rnnmem.lyapunov_spectrum, **{"model": gru(), "inputs": X, **given})


CAPACITY = {
    "model": {**MODELS, "two-inputs": gru()},
    "max_delay": {"none": None, "zero": 0, "negative": -2, "float": 3.0, "bool": True, "huge": 2**62},
    "inputs": {
        "list": [0.1, 0.2],
        "rank": ONE[..., 0],
        "float64": ONE.double(),
        "two": torch.randn(400, 1, 2),
        "tokens": also(TOKENS, named="embedding"),
        "inf": with_value(ONE, (7, 0, 0), INF),
        "too-short": ONE[:20],
        "delay-beyond": also(ONE, max_delay=10**12),
    },
    "recipe": {"none": None, "unknown": "jaeger"},
    "washout": {"none": None, "negative": -1, "float": 10.0, "huge": 2**62},
    "ridge": {"none": None, "negative": -1e-6, "nan": NAN, "string": "small"},
    "steps": {"zero": 0, "negative": -5, "float": 1e4, "too-few": 30, "huge": 10**14},
    "seed": {"none": None, "negative": -1, "float": 0.5},
    "return_curve": {"none": None, "int": 1},
}


@pytest.mark.parametrize(("argument", "given"), cases(CAPACITY))
def test_memory_capacity(argument, given):
    given = {"model": nn.GRU(1, 4), "max_delay": 5, **given}
    refused(argument, rnnmem.memory_capacity, **given)


PROCESSING = {
    "model": {**MODELS, "two-inputs": gru()},
    "degree": {"none": None, "zero": 0, "float": 2.0, "bool": True, "too-many": also(9, max_delay=60)},
    "max_delay": {"none": None, "negative": -1, "float": 4.0, "bool": False},
}


@pytest.mark.parametrize(("argument", "given"), cases(PROCESSING))
def test_information_processing_capacity(argument, given):
    refused(argument, rnnmem.information_processing_capacity, **{"model": nn.GRU(1, 3), **given})


FISHER = {
    "W": {
        "none": None,
        "list": [[1.0]],
        "rank": W[0],
        "not-square": W[:, :3],
        "int": W.long(),
        "nan": with_value(W, (0, 1), NAN),
        "meta": W.to("meta"),
        "sparse": W.to_sparse(),
        "unstable": 2.5 * W,
    },
    "v": {"none": None, "rank": W, "size": V_IN[:3], "inf": with_value(V_IN, 2, INF), "half": V_IN.half()},
    "max_delay": {"none": None, "negative": -1, "float": 3.0, "bool": True},
}


@pytest.mark.parametrize(("argument", "given"), cases(FISHER))
def test_fisher_memory(argument, given):
    refused(argument, rnnmem.fisher_memory, **{"W": W, "v": V_IN, "max_delay": 6, **given})


STATES = {
    "none": None,
    "array": H_ROWS.numpy(),
    "rank": H_ROWS[0],
    "int": H_ROWS.long(),
    "nan": with_value(H_ROWS, (5, 1), NAN),
    "empty": H_ROWS[:0],
    "meta": H_ROWS.to("meta"),
}


@pytest.mark.parametrize(("argument", "given"), cases({"states": STATES}))
def test_effective_rank(argument, given):
    refused(argument, rnnmem.effective_rank, **given)


@pytest.mark.parametrize(("argument", "given"), cases({"states": STATES}))
def test_unit_entropy(argument, given):
    refused(argument, rnnmem.unit_entropy, **given)


INFORMATION = {
    "states": STATES,
    "tokens": {
        "none": None,
        "list": OF_ROWS.tolist(),
        "floats": OF_ROWS.float(),
        "size": OF_ROWS[:-1],
        "rank": OF_ROWS.view(20, 10),
        "meta": OF_ROWS.to("meta"),
    },
}


@pytest.mark.parametrize(("argument", "given"), cases(INFORMATION))
def test_unit_information(argument, given):
    refused(argument, rnnmem.unit_information, **{"states": H_ROWS, "tokens": OF_ROWS, **given})


@pytest.mark.parametrize(
    "wrong", [None, "maps", torch.zeros(3, 2, 4), {}], ids=["none", "string", "tensor", "dict"]
)
def test_recall_angles(wrong):
    refused("maps", rnnmem.recall_angles, wrong)


@pytest.mark.parametrize("eps", [None, 0, 1, -0.1, NAN, "small", True], ids=str)
def test_reach(eps):
    curve = torch.tensor([1.0, 0.5], dtype=torch.float64)
    refused("eps", Learnable(torch.arange(2), curve, curve, curve, curve, 1, "state").reach, eps)


@pytest.mark.parametrize("eps", [None, 0, -0.1, NAN, INF, "small", True], ids=str)
def test_used_span(eps):
    curve = torch.zeros(2, dtype=torch.float64)
    parts = (curve, curve, curve, curve, None, None, None, 64, 32)
    refused("eps", Used(torch.tensor([1, 2]), *parts).span, eps)
