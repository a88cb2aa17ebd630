"""Bad input: every argument of every public function, once for each class of error that applies to it.

Each case raises RnnMemError with one line that names the argument, what was expected and what came; none
returns a number, raises another type, warns or prints. The tables go argument by argument: what is wrong
with the value, and the value. `also(value, ...)` gives the other arguments that a case needs, and the name
that the message gives where that is another one.
"""

import json
import math
import warnings
from collections import namedtuple
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import rnnmem
from rnnmem import MemoryMeter, MemoryReport, RecallMaps, RnnMemError
from rnnmem.cli import main
from rnnmem.units import EchoState

T, B, I, H, V = 240, 4, 3, 5, 7  # noqa: E741
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(T, B, I, generator=DRAW)
TOKENS = torch.randint(V, (T, B), generator=DRAW)
TABLE = torch.randn(V, I, generator=DRAW)
NAN, INF = math.nan, math.inf
SMALL = {"lags": 3, "washout": 10, "innovation_order": 2}

WITH_TOKENS = {"inputs": TOKENS, "embedding": TABLE}
WITH_HEAD = {**WITH_TOKENS, "head": nn.Linear(H, V)}

Also = namedtuple("Also", "value named others")


def also(value, named=None, **others):
    return Also(value, named, others)


def cases(table, prefix=""):
    """The rows of a table as pytest parameters (argument named, keyword arguments)."""
    rows = []
    for argument, values in table.items():
        for what, value in values.items():
            value, named, others = value if isinstance(value, Also) else (value, None, {})
            rows.append(
                pytest.param(
                    named or argument, {**others, argument: value}, id=f"{prefix}{argument}-{what}".strip("-")
                )
            )
    return rows


def refused(argument, call, *args, **kwargs):
    """Calls and returns the one line of the error, which has to name the argument."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RnnMemError) as caught:
            call(*args, **kwargs)
    line = str(caught.value)
    assert line.startswith(f"{argument}: expected "), line
    assert ", got " in line, line
    assert "\n" not in line, line
    assert len(line) < 500, line
    return line


def with_value(tensor, index, value):
    changed = tensor.clone()
    changed[index] = value
    return changed


def gru(*args, **kwargs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.GRU(*(args or (I, H)), **kwargs)


def lstm(**kwargs):
    return nn.LSTM(I, H, **kwargs)


def replaced(model, **weights):
    """The model with weights replaced after it was made; None deletes one."""
    for name, value in weights.items():
        if value is None:
            delattr(model, name)
        elif isinstance(value, torch.Tensor):
            setattr(model, name, nn.Parameter(value, requires_grad=value.is_floating_point()))
        else:
            setattr(model, name, value)
    return model


def filled(value, model=None):
    model = model or gru()
    with torch.no_grad():
        model.weight_hh_l0[2, 1] = value
    return model


class WordModel(nn.Module):
    """What people hand over whole."""

    def __init__(self):
        super().__init__()
        self.encoder, self.lstm, self.decoder = nn.Embedding(V, I), lstm(), nn.Linear(H, V)


class Delay:
    """A user's object that is all right: the state is the last input."""

    def init_state(self, batch):
        return torch.zeros(batch, I)

    def step(self, x_t, state):
        return 0.5 * state + x_t, 0.5 * state + x_t


def delay(**methods):
    """The object with methods replaced; each takes what the method takes but self."""
    return type("Delay", (Delay,), {k: staticmethod(v) for k, v in methods.items()})()


class Late(Delay):
    """An object whose step returns nonsense from step 30 on."""

    def __init__(self, nonsense):
        self.nonsense = nonsense

    def init_state(self, batch):
        self.steps = 0
        return super().init_state(batch)

    def step(self, x_t, state):
        self.steps += 1
        return super().step(x_t, state) if self.steps <= 30 else self.nonsense(x_t, state)


def raising(error):
    def step(*_):
        raise error

    return step


# What `assess`, `fit_recall`, `compare` and MemoryMeter take alike: a network, its data, and what it means.
MODELS = {
    "none": None,
    "a-string": "gru.pt",
    "a-class": nn.GRU,
    "a-function": lambda x: x,
    "a-state-dict": gru().state_dict(),
    "no-recurrent-layer": nn.Linear(I, H),
    "bidirectional": gru(I, H, bidirectional=True),
    "proj-size": lstm(proj_size=2),
    "half": gru().half(),
    "two-dtypes": replaced(gru(I, H, num_layers=2), weight_hh_l1=torch.zeros(3 * H, H).double()),
    "bias-of-another-dtype": replaced(gru(), bias_hh_l0=torch.zeros(3 * H).double()),
    "meta": gru(I, H, device="meta"),
    "one-weight-on-meta": replaced(gru(), bias_hh_l0=torch.zeros(3 * H, device="meta")),
    "nan-weight": filled(NAN),
    "inf-weight": filled(INF),
    "nan-bias": replaced(gru(), bias_hh_l0=torch.full((3 * H,), NAN)),
    "weight-hh-shape": replaced(gru(), weight_hh_l0=torch.zeros(3 * H, H + 1)),
    "weight-hh-rank": replaced(gru(), weight_hh_l0=torch.zeros(3 * H)),
    "weight-ih-shape": replaced(gru(), weight_ih_l0=torch.zeros(3 * H, I + 1)),
    "upper-weight-ih-shape": replaced(gru(I, H, num_layers=2), weight_ih_l1=torch.zeros(3 * H, H + 2)),
    "bias-shape": replaced(gru(), bias_ih_l0=torch.zeros(H)),
    "weight-missing": replaced(gru(), weight_hh_l0=None),
    "cell-weight-shape": replaced(nn.LSTMCell(I, H), weight_hh=torch.zeros(H, H)),
    "unknown-nonlinearity": replaced(nn.RNN(I, H), nonlinearity="gelu"),
    "unknown-cell-nonlinearity": replaced(nn.RNNCell(I, H), nonlinearity="gelu"),
    "echo-weight-shape": replaced(EchoState(torch.ones(H, I), torch.eye(H)), weight_hh=torch.eye(H + 1)),
    "echo-leak": replaced(EchoState(torch.ones(H, I), torch.eye(H)), leak=2.0),
    "echo-activation": replaced(EchoState(torch.ones(H, I), torch.eye(H)), activation="relu"),
    "init-state-raises": delay(init_state=raising(KeyError("state"))),
    "init-state-none": delay(init_state=lambda batch: None),
    "init-state-empty": delay(init_state=lambda batch: ()),
    "init-state-int": delay(init_state=lambda batch: torch.zeros(batch, I, dtype=torch.int64)),
    "init-state-half": delay(init_state=lambda batch: torch.zeros(batch, I).half()),
    "init-state-nan": delay(init_state=lambda batch: torch.full((batch, I), NAN)),
    "init-state-meta": delay(init_state=lambda batch: torch.zeros(batch, I, device="meta")),
    "init-state-one-stream": delay(init_state=lambda batch: torch.zeros(1, I)),
    "init-state-no-streams": delay(init_state=lambda batch: torch.zeros(())),
    "init-state-of-one-only": delay(init_state=lambda batch: [torch.zeros(1, I)][batch - 1]),
    "step-raises": delay(step=raising(KeyError("x"))),
    "step-none": delay(step=lambda x, s: None),
    "step-one-tensor": delay(step=lambda x, s: x),
    "step-three": delay(step=lambda x, s: (x, s, s)),
    "step-output-string": delay(step=lambda x, s: ("h", s)),
    "step-output-rank": delay(step=lambda x, s: (x[0], s)),
    "step-output-streams": delay(step=lambda x, s: (x[:1], s)),
    "step-output-empty": delay(step=lambda x, s: (x[:, :0], s)),
    "step-output-dtype": delay(step=lambda x, s: (x.double(), s)),
    "step-output-int": delay(step=lambda x, s: (x.long(), s)),
    "step-output-meta": delay(step=lambda x, s: (x.to("meta"), s)),
    "step-output-grows": Late(lambda x, s: (torch.cat((x, x), 1), s)),
    "step-state-string": delay(step=lambda x, s: (x, "state")),
    "step-state-streams": delay(step=lambda x, s: (x, s[:1])),
    "step-later-none": Late(lambda x, s: None),
    "step-nan": Late(lambda x, s: (with_value(x, (2, 0), NAN), s)),
    "state-grows": also(Late(lambda x, s: (x, torch.cat((s, s), 1))), state="full"),
    "features-raise": also(delay(features=raising(AttributeError("c"))), state="full"),
    "features-list": also(delay(features=lambda state: [state]), state="full"),
    "features-rank": also(delay(features=lambda state: state.sum()), state="full"),
    "object-inputs-size": also(delay(step=lambda x, s: (x @ torch.ones(9, 2), s))),
}
DATA = {
    "inputs": {
        "none": None,
        "list": [[[1.0]]],
        "numpy": X.numpy(),
        "packed": nn.utils.rnn.pack_sequence([X[:, 0]]),
        "rank": X[:, 0],
        "rank-four": X[None],
        "size": X[:, :, :2],
        "no-steps": X[:0],
        "no-streams": X[:, :0],
        "float64": X.double(),
        "half": X.half(),
        "int32": TOKENS.int(),
        "bool": X > 0,
        "complex": X + 0j,
        "sparse": X.to_sparse(),
        "meta": X.to("meta"),
        "nan": with_value(X, (20, 2, 1), NAN),
        "inf": with_value(X, (20, 2, 1), -INF),
        "too-few-steps": X[:5],
        "tokens-rank": also(TOKENS[:, 0], embedding=TABLE),
        "token-too-large": also(with_value(TOKENS, (20, 2), V), embedding=TABLE),
        "token-negative": also(with_value(TOKENS, (20, 2), -1), embedding=TABLE),
    },
    "embedding": {
        "missing": also(None, inputs=TOKENS),
        "for-floats": TABLE,
        "list": also([[1.0]], inputs=TOKENS),
        "another-module": also(nn.Linear(I, V), inputs=TOKENS),
        "rank": also(TABLE[0], inputs=TOKENS),
        "empty": also(TABLE[:0], inputs=TOKENS),
        "size": also(TABLE[:, :2], inputs=TOKENS),
        "float64": also(TABLE.double(), inputs=TOKENS),
        "int": also(TABLE.long(), inputs=TOKENS),
        "meta": also(TABLE.to("meta"), inputs=TOKENS),
        "nan": also(with_value(TABLE, (1, 2), NAN), inputs=TOKENS),
        "inf-module": also(nn.Embedding.from_pretrained(with_value(TABLE, (1, 2), INF)), inputs=TOKENS),
    },
    "semantics": {
        "list": [[1.0]],
        "module": nn.Embedding(V, I),
        "rank": X[0, 0],
        "rank-four": X[None],
        "table-for-floats": TABLE,
        "rows": also(TABLE[1:], inputs=TOKENS, embedding=TABLE),
        "steps": X[1:],
        "streams": X[:, 1:],
        "no-dimension": X[:, :, :0],
        "float64": X.double(),
        "int": X.long(),
        "meta": X.to("meta"),
        "nan-beside": with_value(X, (20, 2, 1), NAN),
        "inf-table": also(with_value(TABLE, (1, 2), INF), inputs=TOKENS, embedding=TABLE),
    },
    "lengths": {
        "list": [T] * B,
        "numpy": np.full(B, T),
        "float": torch.full((B,), float(T)),
        "bool": torch.ones(B, dtype=torch.bool),
        "size": torch.full((B + 1,), T),
        "rank": torch.full((B, 1), T),
        "negative": torch.tensor([T, T, -1, T]),
        "too-long": torch.tensor([T, T, T + 1, T]),
        "meta": torch.full((B,), T, device="meta"),
        "all-zero": torch.zeros(B, dtype=torch.int64),
    },
}
RESETS = {
    "reset": {
        "list": [[True]],
        "int": torch.zeros(T, B, dtype=torch.int64),
        "size": torch.zeros(T - 1, B, dtype=torch.bool),
        "rank": torch.zeros(T, dtype=torch.bool),
        "meta": torch.zeros(T, B, dtype=torch.bool, device="meta"),
    },
}
FIT_OPTIONS = {
    "lags": {
        "none": None,
        "string": "16",
        "float": 3.0,
        "bool": True,
        "numpy-bool": np.True_,
        "negative": -1,
        "huge": 10**30,
        "empty": [],
        "decreasing": [3, 2, 1],
        "repeated": [0, 1, 1],
        "negative-in-it": [-1, 0],
        "float-in-it": [0, 1.5],
        "bool-in-it": [True, 2],
        "float-tensor": torch.tensor([0.0, 1.0]),
        "bool-tensor": torch.tensor([False, True]),
        "matrix": torch.tensor([[0, 1]]),
        "float-array": np.array([0.0, 1.0]),
        "array-matrix": np.array([[0, 1]]),
        "meta": torch.tensor([0, 1], device="meta"),
        "more-than-steps": also(T, named="inputs"),
        "far-more-than-streams": also(10**12, split="streams"),
    },
    "layer": {
        "none": None,
        "string": "last",
        "float": 0.0,
        "bool": False,
        "array": np.array([0, 1]),
        "above": 1,
        "below": -2,
        "of-an-object": also(1, model=Delay()),
    },
    "state": {"none": None, "unknown": "cell", "bool": True, "list": ["output"]},
    "split": {"none": None, "unknown": "random", "int": 1},
    "washout": {
        "none": None,
        "string": "100",
        "float": 10.0,
        "bool": True,
        "array": np.array([1, 2]),
        "negative": -1,
        "more-than-steps": also(T, named="inputs"),
        "huge": 10**30,
    },
    "ridge": {
        "none": None,
        "string": "small",
        "bool": True,
        "tensor": torch.tensor(1e-6),
        "complex": 1j,
        "negative": -1e-6,
        "nan": NAN,
        "inf": INF,
        "huge": 10**400,
    },
    "innovation_order": {"none": None, "string": "8", "float": 8.0, "bool": True, "negative": -1},
    "backend": {
        "none": None,
        "unknown": "gpu",
        "int": 1,
        "not-built": "cuda",
        "not-here": "triton",
        "not-for-an-object": also("cpu", model=Delay()),
    },
    "precision": {
        "none": None,
        "unknown": "float32",
        "reference": also("medium", backend="reference"),
        "reference-high": also("high", backend="reference"),
        "object": also("high", model=Delay()),
    },
    "seed": {"none": None, "string": "0", "float": 0.0, "bool": True, "negative": -1, "huge": 2**63},
}


def raising(outputs):
    raise IndexError("no such row")


ASSESS_OPTIONS = {
    "fit": {
        "none": None,
        "string": "half",
        "bool": True,
        "zero": 0,
        "one": 1.0,
        "negative": -0.5,
        "nan": NAN,
        "tensor": torch.tensor(0.5),
        "no-step": 0.001,
        "no-stream": also(0.1, split="streams"),
    },
    "readout": {"none": None, "unknown": "cubic", "case": "Linear", "array": np.array(["linear"] * 2)},
    "measures": {
        "none": None,
        "string": "kept",
        "empty": (),
        "unknown": ("kept", "lost"),
        "int": (1,),
        "list-in-it": ("kept", ["used"]),
    },
    "head": {
        "none-for-used": also(None, measures=("kept", "used")),
        "weight-of-rank-1": torch.zeros(V),
        "weight-of-ints": also(torch.zeros(V, H).long(), **WITH_TOKENS),
        "weight-of-another-size": also(torch.ones(V, H + 1), **WITH_TOKENS),
        "probabilities": also(lambda outputs: torch.full((len(outputs), V), 1 / V), **WITH_TOKENS),
        "wrong-size": also(nn.Linear(H + 1, V), **WITH_TOKENS),
        "no-tensor": also(lambda outputs: outputs.tolist(), **WITH_TOKENS),
        "ints": also(lambda outputs: outputs.long(), **WITH_TOKENS),
        "rank": also(lambda outputs: outputs.sum(dim=1), **WITH_TOKENS),
        "rows": also(lambda outputs: torch.zeros(1, V), **WITH_TOKENS),
        "few-logits": also(nn.Linear(H, 2), **WITH_TOKENS),
        "nan": also(lambda outputs: torch.full((len(outputs), V), float("nan")), **WITH_TOKENS),
        "raises": also(raising, **WITH_TOKENS),
    },
    "targets": {
        "without-head": TOKENS,
        "none-for-floats": also(None, head=nn.Linear(H, V)),
        "list": also(TOKENS.tolist(), **WITH_HEAD),
        "floats": also(TOKENS.float(), **WITH_HEAD),
        "shape": also(TOKENS[:-1], **WITH_HEAD),
        "negative": also(TOKENS - 3, **WITH_HEAD),
        "none-at-all": also(torch.full_like(TOKENS, -100), **WITH_HEAD),
        "meta": also(TOKENS.to("meta"), **WITH_HEAD),
    },
    "trained_window": {
        "without-head": 35,
        "zero": also(0, **WITH_HEAD),
        "negative": also(-1, **WITH_HEAD),
        "float": also(35.0, **WITH_HEAD),
        "bool": also(True, **WITH_HEAD),
    },
    "progress": {"none": None, "int": 1, "string": "yes"},
}


def assess(model=None, inputs=X, **options):
    return rnnmem.assess(model, inputs, **SMALL | options)


def fit_recall(model=None, inputs=X, **options):
    return rnnmem.fit_recall(model, inputs, **SMALL | options)


def compare(model=None, inputs=X, **options):
    return rnnmem.compare({"GRU": model}, inputs, states=["output"], **SMALL | options)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_models(model, backend):
    model, _, options = model if isinstance(model, Also) else (model, None, {})
    refused("model", assess, model, backend=backend, **options)


@pytest.mark.parametrize(("argument", "given"), cases(DATA | FIT_OPTIONS | ASSESS_OPTIONS))
def test_assess(argument, given):
    refused(argument, assess, **{"model": gru(), **given})


@pytest.mark.parametrize(("argument", "given"), cases(DATA | RESETS | FIT_OPTIONS))
def test_fit_recall(argument, given):
    refused("sample" if argument == "inputs" else argument, fit_recall, **{"model": gru(), **given})


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("start", "first", "last"), [(0, 127, 127), (60, 121, 187)], ids=["fit", "measured"])
def test_a_state_that_diverges_is_named_by_stream_and_step(backend, start, first, last):
    model = nn.RNN(1, 2, nonlinearity="relu", bias=False)
    with torch.no_grad():
        model.weight_ih_l0.fill_(1)
        model.weight_hh_l0.copy_(2 * torch.eye(2))  # doubles what it holds: float32 ends at 2^128
    inputs = torch.zeros(2 * T, 3, 1) if start == 0 else torch.zeros(T, 3, 1)
    inputs[start:, 1] = 1
    line = refused("model", assess, model, inputs, backend=backend, innovation_order=0)
    assert "in the state of stream 1 at step " in line
    # Held against the maps, a state is too large already where its squared distance is.
    assert first <= int(line.rpartition(" ")[2]) <= last


@cache
def maps(kind="floats"):
    """Maps fitted to the network and data above, and others that do not belong to them."""
    if kind == "tokens":
        return fit_recall(gru(), TOKENS, embedding=TABLE)
    if kind == "beside":
        return fit_recall(gru(), X, semantics=X[:, :, :2])
    if kind == "wide":
        return fit_recall(gru(I, H + 1), X)
    if kind == "second layer":
        return fit_recall(gru(I, H, num_layers=2), X, layer=1)
    if kind == "full":
        return fit_recall(lstm(), X, state="full")
    if kind == "other lags":
        return fit_recall(gru(), X, lags=[0, 2])
    if kind == "other sample":
        return fit_recall(gru(), X[20:])
    if kind == "object":
        return fit_recall(Delay(), X)
    if kind == "no own":
        return fit_recall(gru(), X, innovation_order=0)
    return fit_recall(gru(), X)


def meter(kind="floats", **options):
    if kind == "tokens":
        options = {"embedding": TABLE, **options}
    return MemoryMeter(Delay() if kind == "object" else gru(), maps(kind), **options)


METER = {
    "model": {
        "none": None,
        "whole-module": WordModel(),
        "bidirectional": gru(I, H, bidirectional=True),
        "half": gru().half(),
        "nan-weight": filled(NAN),
        "no-recurrent-layer": nn.Linear(I, H),
    },
    "maps": {
        "none": None,
        "path": "maps.safetensors",
        "tensor": X,
        "another-size": lambda: maps("wide"),
        "another-layer": lambda: maps("second layer"),
        "another-state": lambda: maps("full"),
    },
    "embedding": {
        "list": [[1.0]],
        "another-module": nn.Linear(I, V),
        "rank": TABLE[0],
        "size": TABLE[:, :2],
        "rows": TABLE[1:],
        "float64": TABLE.double(),
        "meta": TABLE.to("meta"),
        "nan": with_value(TABLE, (1, 2), NAN),
    },
    "semantics": {
        "list": [[1.0]],
        "rank": TABLE[0],
        "beside": X,
        "float64": TABLE.double(),
        "meta": TABLE.to("meta"),
        "nan": with_value(TABLE, (1, 2), NAN),
    },
    "backend": FIT_OPTIONS["backend"] | {"not-for-an-object": also("cpu", model=Delay())},
    "precision": FIT_OPTIONS["precision"],
}


@pytest.mark.parametrize(("argument", "given"), cases(METER))
def test_meter(argument, given):
    kind = "tokens" if argument == "embedding" else "object" if "model" in given else "floats"
    arguments = {"model": gru(), "maps": maps(kind), **given}
    if callable(arguments["maps"]):
        arguments["maps"] = arguments["maps"]()
    refused(argument, MemoryMeter, **arguments)


def chunk_cases():
    """What is wrong with data is wrong with a chunk too, but for there being little of it."""
    table = {
        argument: dict(values) for argument, values in (DATA | RESETS).items() if argument != "embedding"
    }
    for argument, what in (("inputs", "too-few-steps"), ("lengths", "all-zero")):
        del table[argument][what]
    table["semantics"] |= {"dimensions": X[:, :, :2], "table-at-update": also(TABLE, inputs=TOKENS)}
    table["inputs"] |= {"tokens-not-floats": also(TOKENS, named="embedding")}
    table["embedding"] = {"floats-not-tokens": also(TABLE, inputs=X)}
    return cases(table)


@pytest.mark.parametrize("method", ["update", "warm"])
@pytest.mark.parametrize(("argument", "given"), chunk_cases())
def test_chunks(argument, given, method):
    given = {"inputs": X, **given}
    has_table = given.pop("embedding", None) is not None or (
        given["inputs"] is TOKENS and argument == "semantics"
    )
    one = meter("tokens" if has_table else "floats")
    refused(argument, getattr(one, method), **given)


def test_chunks_have_the_streams_of_those_before():
    one = meter()
    one.update(X[:100])
    before = one.state_dict()
    line = refused("inputs", one.update, X[100:, :3])
    assert "4 streams like the chunks before (reset() begins anew), got 3" in line
    refused("inputs", one.warm, torch.cat((X, X), 1))
    refused("inputs", one.update, with_value(X, (20, 2, 1), NAN))
    assert same(one.state_dict(), before)  # a chunk that is refused leaves no trace
    one.update(X[100:])
    whole = meter()
    whole.update(X)
    assert torch.allclose(one.compute().retention, whole.compute().retention, rtol=1e-6)


def test_weights_replaced_between_chunks():
    one = meter()
    one.update(X)
    one.model.weight_hh_l0 = nn.Parameter(torch.zeros(3 * H, H + 1))
    refused("model", one.update, X)
    one.model = gru(I, H + 1)
    refused("model", one.update, X)
    one = meter("object")
    one.model = delay(step=lambda x, s: (torch.cat((x, x), 1), s))
    refused("model", one.update, X)


def same(a, b):
    """Whether two state_dicts hold the same."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def changed(state, *keys, value=None):
    """A copy of nested dicts and lists with one entry replaced; without a value it is taken out."""
    state = dict(state) if isinstance(state, dict) else list(state)
    if len(keys) > 1:
        state[keys[0]] = changed(state[keys[0]], *keys[1:], value=value)
    elif value is None:
        del state[keys[0]]
    else:
        state[keys[0]] = value(state[keys[0]])
    return state


STATES = {
    "none": lambda state: None,
    "list": lambda state: list(state),
    "empty": lambda state: {},
    "part": lambda state: changed(state, "carry"),
    "too-much": lambda state: {**state, "more": 1},
    "lags": lambda state: changed(state, "lags", value=lambda lags: lags + 1),
    "lags-list": lambda state: changed(state, "lags", value=lambda lags: lags.tolist()),
    "tally-list": lambda state: changed(state, "tally", value=list),
    "tally-part": lambda state: changed(state, "tally", "groups"),
    "tally-shape": lambda state: changed(state, "tally", "classes", value=lambda sums: sums[:, :1]),
    "tally-dtype": lambda state: changed(state, "tally", "classes", value=lambda sums: sums.float()),
    "tally-nan": lambda state: changed(state, "tally", "groups", value=lambda sums: sums * NAN),
    "tally-blocks": lambda state: changed(state, "tally", "blocks", "sums", value=lambda sums: sums[:-1]),
    "tally-width": lambda state: changed(state, "tally", "blocks", "width", value=lambda width: 0),
    "tally-streams": lambda state: changed(state, "tally", "streams", value=lambda n: "many"),
    "tally-of-other-maps": lambda state: meter_state("no own"),
    "carry-part": lambda state: changed(state, "carry", "age"),
    "carry-step": lambda state: changed(state, "carry", "step", value=lambda step: -1),
    "carry-step-beyond": lambda state: changed(state, "carry", "step", value=lambda step: 2**63 - 2),
    "carry-streams": lambda state: changed(state, "carry", "age", value=lambda age: age[:-1]),
    "carry-history": lambda state: changed(state, "carry", "vectors", value=lambda kept: kept[1:]),
    "carry-dimension": lambda state: changed(state, "carry", "vectors", value=lambda kept: kept[..., :2]),
    "carry-tokens": lambda state: changed(state, "carry", "tokens", value=lambda tokens: TOKENS[:1]),
    "state-none": lambda state: changed(state, "state", value=lambda leaves: None),
    "state-short": lambda state: changed(state, "state", value=lambda leaves: []),
    "state-long": lambda state: changed(state, "state", value=lambda leaves: leaves * 2),
    "state-shape": lambda state: changed(state, "state", 0, value=lambda leaf: leaf[..., :2]),
    "state-dtype": lambda state: changed(state, "state", 0, value=lambda leaf: leaf.double()),
    "state-nan": lambda state: changed(state, "state", 0, value=lambda leaf: leaf * NAN),
    "state-meta": lambda state: changed(state, "state", 0, value=lambda leaf: leaf.to("meta")),
    "backend": lambda state: changed(state, "backend", value=lambda backend: "gpu"),
    "backend-number": lambda state: changed(state, "backend", value=lambda backend: 3),
    "tally-negative-bin": lambda state: changed(
        state, "tally", "blocks", "index", value=lambda index: index - 5
    ),
    "tally-bin-twice": lambda state: changed(
        state, "tally", "positions", "index", value=lambda index: 0 * index
    ),
}


def meter_state(kind="floats"):
    one = meter(kind)
    one.update(X)
    return one.state_dict()


@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_load_state_dict(make):
    one = meter()
    one.update(X[:50])
    before = one.state_dict()
    refused("state", one.load_state_dict, make(meter_state()))
    assert same(one.state_dict(), before)  # a state that is refused leaves no trace


@pytest.mark.parametrize(
    "other",
    [None, X, "self", "other lags", "other sample", "wide", "no own"],
    ids=["none", "tensor", "itself", "lags", "sample", "size", "order"],
)
def test_merge(other):
    one = meter()
    one.update(X)
    if other == "self":
        other = one
    elif isinstance(other, str):
        other = MemoryMeter(gru(I, H + 1) if other == "wide" else gru(), maps(other))
        other.update(X)
    refused("other", one.merge, other)


def test_compute_without_rows():
    refused("meter", meter().compute)
    one = meter()
    one.warm(X)
    refused("inputs", one.compute)


RECALL = {
    "h": {
        "none": None,
        "list": [[0.0] * H],
        "int": torch.zeros(2, H, dtype=torch.int64),
        "complex": torch.zeros(2, H) + 0j,
        "scalar": torch.tensor(0.0),
        "size": torch.zeros(2, H + 1),
        "meta": torch.zeros(2, H, device="meta"),
        "nan": with_value(torch.zeros(2, H), (1, 0), NAN),
        "inf": with_value(torch.zeros(2, H), (1, 0), INF),
    },
    "own": {"none": None, "int": 1, "string": "yes"},
}


@pytest.mark.parametrize(("argument", "given"), cases(RECALL))
def test_recall(argument, given):
    refused(argument, maps().recall, **{"h": torch.zeros(2, H), **given})


PATHS = {"none": None, "int": 3, "list": ["a"], "no-folder": "no/such/folder/a", "folder": "."}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_maps_save(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("path", maps().save, path)
    assert not list(tmp_path.iterdir())


def rewritten(path, tensors=lambda tensors: tensors, scalars=lambda found: found, metadata=()):
    """Rewrites a file of maps with something changed."""
    maps().save(path)
    with rnnmem.recall.safe_open(path, framework="pt") as file:
        found = file.metadata()
    if scalars:
        found["scalars"] = json.dumps(scalars(json.loads(found["scalars"])))
    save_file(tensors(load_file(path)), path, found | dict(metadata))


def truncated(path):
    maps().save(path)
    path.write_bytes(path.read_bytes()[:-100])


MAP_FILES = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("recall maps\n" * 100),
    "truncated": truncated,
    "other-tensors": lambda path: save_file({"weight": X}, path),
    "another-format": lambda path: rewritten(path, metadata={"format": "rnnmem recall maps 99"}),
    "broken-scalars": lambda path: rewritten(path, scalars=None, metadata={"scalars": "{"}),
    "scalars-list": lambda path: rewritten(path, scalars=lambda found: []),
    "scalar-missing": lambda path: rewritten(path, scalars=lambda found: changed(found, "rank")),
    "scalar-too-many": lambda path: rewritten(path, scalars=lambda found: {**found, "more": 1}),
    "setting-missing": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "settings", "washout")
    ),
    "setting-unknown": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "settings", "state", value=lambda _: "cell")
    ),
    "tensor-missing": lambda path: rewritten(path, lambda found: changed(found, "own.weight")),
    "predictor-missing": lambda path: rewritten(path, lambda found: changed(found, "predictor.1.bias")),
    "shape": lambda path: rewritten(
        path, lambda found: changed(found, "raw.weight", value=lambda weight: weight[:, :, :-1].clone())
    ),
    "bias-shape": lambda path: rewritten(
        path, lambda found: changed(found, "own.bias", value=lambda bias: bias[:-1].clone())
    ),
    "nan": lambda path: rewritten(
        path, lambda found: changed(found, "raw.weight", value=lambda weight: weight * NAN)
    ),
    "lags": lambda path: rewritten(
        path, lambda found: changed(found, "lags", value=lambda lags: lags.flip(0))
    ),
    "dtype": lambda path: rewritten(
        path, lambda found: changed(found, "raw.weight", value=lambda weight: weight.half())
    ),
    "nan-ranges": lambda path: rewritten(
        path, lambda found: changed(found, "ranges", value=lambda ends: ends * NAN)
    ),
    "nan-effective-rows": lambda path: rewritten(
        path, lambda found: changed(found, "raw.effective_rows", value=lambda rows: rows * NAN)
    ),
    "semantics-missing": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "settings", "semantics")
    ),
    "order-string": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "settings", "innovation_order", value=str)
    ),
    "block-width-zero": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "block_width", value=lambda _: 0)
    ),
    "entropy-string": lambda path: rewritten(
        path, scalars=lambda found: changed(found, "entropy", value=lambda _: "a")
    ),
}


@pytest.mark.parametrize("write", MAP_FILES.values(), ids=MAP_FILES)
def test_maps_load(write, tmp_path):
    write(tmp_path / "maps.safetensors")
    refused("path", RecallMaps.load, tmp_path / "maps.safetensors")


@pytest.mark.parametrize("path", [None, 3, ["a"], "a\0b"], ids=["none", "int", "list", "null-byte"])
@pytest.mark.parametrize("load", [RecallMaps.load, MemoryReport.load], ids=["maps", "report"])
def test_load_paths(load, path):
    refused("path", load, path)


@cache
def report():
    return assess(gru())


ORDERS = {
    "n": {
        "none": None,
        "string": "3",
        "float": 2.0,
        "bool": True,
        "array": np.array([1, 2]),
        "zero": 0,
        "negative": -1,
        "beyond": 5,
        "huge": 10**5000,
    },
    "own": {"none": None, "int": 1, "tensor": torch.tensor(True)},
}
SHARES = {
    "none": None,
    "string": "half",
    "bool": True,
    "tensor": torch.tensor(0.5),
    "zero": 0,
    "negative": -0.5,
    "above": 1.5,
    "nan": NAN,
}


@pytest.mark.parametrize("method", ["memory_amount", "memory_amount_se", "density", "relative_distance"])
@pytest.mark.parametrize(("argument", "given"), cases(ORDERS))
def test_report_by_order(method, argument, given):
    refused(argument, getattr(report(), method), **{"n": 2, **given})


@pytest.mark.parametrize(("argument", "given"), cases({"theta": SHARES, "own": ORDERS["own"]}))
def test_report_span(argument, given):
    refused(argument, report().span, **given)


@pytest.mark.parametrize(
    ("argument", "given"), cases({"level": {**SHARES, "percent": 95, "one": 1}, "own": ORDERS["own"]})
)
def test_report_interval(argument, given):
    refused(argument, report().interval, **given)


@pytest.mark.parametrize("basis", [None, 1, "words", ["memory"]], ids=["none", "int", "unknown", "list"])
def test_report_suitable_length(basis):
    refused("basis", report().suitable_length, basis)


@pytest.mark.parametrize("path", [*PATHS.values(), "report", "report.pdf"], ids=[*PATHS, "no-ending", "pdf"])
def test_report_save(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if path in ("no/such/folder/a", "."):
        path += "/a.csv" if path != "." else "/x.csv"
        Path("x.csv").mkdir()
    refused("path", report().save, path)
    assert [found.name for found in tmp_path.iterdir()] in ([], ["x.csv"])


def written(*keys, value=None):
    """Writes a saved report with something changed."""
    return lambda path: path.write_text(json.dumps(changed(report().to_dict(), *keys, value=value)))


REPORT_FILES = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_text(""),
    "not-utf-8": lambda path: path.write_bytes(b"\xff\xfe\xfa"),
    "page": lambda path: path.write_text("<html></html>"),
    "truncated": lambda path: path.write_text(json.dumps(report().to_dict())[:-100]),
    "nested-too-deep": lambda path: path.write_text("[" * 100_000),
}
REPORT_DICTS = {
    "none": lambda found: None,
    "list": lambda found: [found],
    "empty": lambda found: {},
    "another-format": lambda found: changed(found, "format", value=lambda _: "rnnmem memory report 99"),
    "no-format": lambda found: changed(found, "format"),
    "field-missing": lambda found: changed(found, "bits"),
    "curve-missing": lambda found: changed(found, "raw", "jackknife"),
    "curve-too-much": lambda found: changed(found, "raw", value=lambda raw: {**raw, "more": [1.0]}),
    "lags-none": lambda found: changed(found, "lags", value=lambda _: None),
    "lags-empty": lambda found: changed(found, "lags", value=lambda _: []),
    "lags-decreasing": lambda found: changed(found, "lags", value=lambda lags: lags[::-1]),
    "lags-floats": lambda found: changed(found, "lags", value=lambda lags: [lag + 0.5 for lag in lags]),
    "lags-strings": lambda found: changed(found, "lags", value=lambda lags: [str(lag) for lag in lags]),
    "curve-short": lambda found: changed(found, "raw", "retention", value=lambda curve: curve[:-1]),
    "curve-strings": lambda found: changed(found, "raw", "retention", value=lambda curve: ["x"] * len(curve)),
    "curve-number": lambda found: changed(found, "raw", "retention", value=lambda _: 0.5),
    "jackknife-short": lambda found: changed(found, "own", "jackknife", value=lambda left: [left[0][:-1]]),
    "bits-short": lambda found: changed(found, "bits", value=lambda bits: bits[:-1]),
    "controls-none": lambda found: changed(found, "controls", value=lambda _: None),
    "control-missing": lambda found: changed(found, "controls", "inference"),
    "control-short": lambda found: changed(found, "controls", "inference", value=lambda _: [0.5]),
    "model-none": lambda found: changed(found, "model", value=lambda _: None),
    "model-dtype-missing": lambda found: changed(found, "model", "dtype"),
    "settings-list": lambda found: changed(found, "settings", value=list),
    "setting-missing": lambda found: changed(found, "settings", "features"),
    "rows-number": lambda found: changed(found, "rows", value=lambda _: 3),
    "warnings-string": lambda found: changed(found, "warnings", value=lambda _: "none"),
    "utilisation-string": lambda found: changed(found, "utilisation", value=lambda _: "half"),
    "ceiling-list": lambda found: changed(found, "own_capacity_ceiling", value=lambda _: [1]),
    "parameters-string": lambda found: changed(found, "model", "parameters", value=lambda _: "many"),
    "backend-number": lambda found: changed(found, "backend", value=lambda _: 3),
    "rows-empty": lambda found: changed(found, "rows", value=lambda _: {}),
    "position-column-missing": lambda found: changed(found, "by_position", "rows"),
    "position-column-short": lambda found: changed(
        found, "by_position", "rows", value=lambda rows: rows[:-1]
    ),
}


@pytest.mark.parametrize("write", REPORT_FILES.values(), ids=REPORT_FILES)
def test_report_load(write, tmp_path):
    write(tmp_path / "report.json")
    refused("path", MemoryReport.load, tmp_path / "report.json")


@pytest.mark.parametrize("make", REPORT_DICTS.values(), ids=REPORT_DICTS)
def test_report_from_dict(make):
    refused("data", MemoryReport.from_dict, make(report().to_dict()))


def test_a_broken_report_in_a_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(changed(report().to_dict(), "bits")))
    assert str(path) in refused("path", MemoryReport.load, path)


ECHO = {
    "weight_ih": {
        "none": None,
        "list": [[1.0]],
        "rank": torch.ones(H),
        "empty": torch.ones(H, 0),
        "int": torch.ones(H, I, dtype=torch.int64),
        "half": torch.ones(H, I).half(),
        "meta": torch.ones(H, I, device="meta"),
        "sparse": torch.eye(H).to_sparse(),
        "nan": torch.full((H, I), NAN),
    },
    "weight_hh": {
        "none": None,
        "list": [[1.0]],
        "rank": torch.ones(H),
        "not-square": torch.ones(H, H + 1),
        "another-size": torch.eye(H + 1),
        "float64": torch.eye(H).double(),
        "meta": torch.eye(H, device="meta"),
        "inf": torch.full((H, H), INF),
    },
    "bias": {
        "list": [0.0],
        "rank": torch.ones(H, 1),
        "size": torch.ones(H + 1),
        "float64": torch.ones(H).double(),
        "meta": torch.ones(H, device="meta"),
        "nan": torch.full((H,), NAN),
    },
    "leak": SHARES,
    "activation": {"none": None, "unknown": "relu", "function": torch.tanh},
}


@pytest.mark.parametrize(("argument", "given"), cases(ECHO))
def test_echo_state(argument, given):
    refused(argument, EchoState, **{"weight_ih": torch.ones(H, I), "weight_hh": torch.eye(H), **given})


ECHO_RUNS = {
    "inputs": {
        "none": None,
        "list": [[[1.0]]],
        "rank": X[0],
        "size": X[:, :, :2],
        "tokens": TOKENS,
        "float64": X.double(),
        "meta": X.to("meta"),
    },
    "state": {
        "list": [[0.0]],
        "rank": torch.zeros(H),
        "streams": torch.zeros(B + 1, H),
        "size": torch.zeros(B, H + 1),
        "float64": torch.zeros(B, H).double(),
        "meta": torch.zeros(B, H, device="meta"),
    },
}


@pytest.mark.parametrize(("argument", "given"), cases(ECHO_RUNS))
def test_echo_state_runs(argument, given):
    refused(argument, EchoState(torch.ones(H, I), torch.eye(H)), **{"inputs": X, **given})


ECHO_STEPS = {
    "x_t": {"none": None, "rank": X, "size": X[0, :, :2], "float64": X[0].double(), "meta": X[0].to("meta")},
    "state": {"none": None, **ECHO_RUNS["state"]},
}


@pytest.mark.parametrize(("argument", "given"), cases(ECHO_STEPS))
def test_echo_state_steps(argument, given):
    unit = EchoState(torch.ones(H, I), torch.eye(H))
    refused(argument, unit.step, **{"x_t": X[0], "state": unit.init_state(B), **given})


@pytest.mark.parametrize(
    "batch", [None, "4", 4.0, True, -1], ids=["none", "string", "float", "bool", "negative"]
)
def test_echo_state_batches(batch):
    refused("batch", EchoState(torch.ones(H, I), torch.eye(H)).init_state, batch)


COMPARE = {
    "models": {
        "none": None,
        "empty": {},
        "a-model": gru(),
        "list": [gru()],
        "no-seeds": {"GRU": []},
        "name": {1: gru(), "1": gru()},
        "a-seed": also({"GRU": [gru(), None]}, named="model"),
        "whole-module": also({"LSTM": WordModel()}, named="model"),
    },
    "inputs": {"none": None, "rank": X[0], "float64": X.double(), "nan": with_value(X, (20, 2, 1), NAN)},
    "embedding": {
        "for-floats": TABLE,
        "name-missing": also({"RNN": TABLE}, inputs=TOKENS),
        "name-unknown": also({"GRU": TABLE, "RNN": TABLE}, inputs=TOKENS),
        "seeds": also([TABLE, TABLE], inputs=TOKENS),
        "string": also("table", inputs=TOKENS),
        "meta": also(TABLE.to("meta"), inputs=TOKENS),
    },
    "head": {
        "string": "decoder",
        "number": 3,
        "name-missing": {"RNN": nn.Linear(H, V)},
        "name-unknown": {"GRU": nn.Linear(H, V), "RNN": nn.Linear(H, V)},
        "seeds": [nn.Linear(H, V)] * 2,
    },
    "trained": {
        "string": "yes",
        "int": 1,
        "name-unknown": {"RNN": True},
        "not-bool": {"GRU": 1},
        "mixed": also({"a": True, "b": False}, models={"a": gru(), "b": gru()}),
    },
    "match": {
        "unknown": "size",
        "bool": True,
        "parameters": also("parameters", models={"a": gru(), "b": gru(I, 9)}),
        "state": also("state", models={"a": gru(), "b": lstm()}, states=["full"]),
        "state-of-a-seed": also("state", models={"a": gru(), "b": [gru(), gru(I, 9)]}),
    },
    "states": {"none": None, "string": "output", "empty": [], "unknown": ["cell"], "twice": ["full", "full"]},
    "semantics": {
        "embeddings-differ": also(
            None,
            inputs=TOKENS,
            models={"a": gru(), "b": gru()},
            embedding={"a": TABLE, "b": 2 * TABLE},
        ),
        "rank": X[0],
    },
    "state": {"not-states": "full"},
    "window": {"unknown-option": also(3, named="assess_options")},
    "lags": {"decreasing": [2, 1], "bool": True},
    "layer": {"above": 1},
    "backend": {"unknown": "gpu"},
    "lengths": {"too-long": torch.full((B,), T + 1)},
    "measures": {"unknown": ["learned"]},
    "targets": {"without-head": TOKENS},
}


@pytest.mark.parametrize(("argument", "given"), cases(COMPARE))
def test_compare(argument, given):
    given = {"models": {"GRU": gru()}, "inputs": X, "states": ["output"], **SMALL, **given}
    refused(argument, rnnmem.compare, **given)


@cache
def comparison():
    return rnnmem.compare({"GRU": gru()}, X, states=["output"], **SMALL)


COMPARISON_DICTS = {
    "none": lambda found: None,
    "a-report": lambda found: found["reports"]["GRU"]["output"][0],
    "field-missing": lambda found: changed(found, "match"),
    "reports-list": lambda found: changed(found, "reports", value=list),
    "report-broken": lambda found: changed(found, "reports", "GRU", "output", value=lambda _: [{}]),
    "trained-none": lambda found: changed(found, "trained", value=lambda _: None),
    "warnings-string": lambda found: changed(found, "warnings", value=lambda _: "none"),
}


@pytest.mark.parametrize("make", COMPARISON_DICTS.values(), ids=COMPARISON_DICTS)
def test_comparison_from_dict(make):
    refused("data", rnnmem.Comparison.from_dict, make(comparison().to_dict()))


@pytest.mark.parametrize(
    "path", [None, 3, "comparison.pdf", "no/m.json"], ids=["none", "int", "pdf", "no-folder"]
)
def test_comparison_save(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("path", comparison().save, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files for the command line, most of them bad."""
    folder = tmp_path_factory.mktemp("files")
    words = [f"w{chr(97 + n)}" for n in range(V - 1)]
    text = " ".join(words[n] for n in torch.randint(V - 1, (400,), generator=DRAW).tolist())
    for name, model in {
        "gru": gru(),
        "gru8": gru(I, 8),
        "both": gru(I, H, bidirectional=True),
        "projected": lstm(proj_size=2),
        "half": gru().half(),
        "double": gru().double(),
        "nan": filled(NAN),
        "linear": nn.Linear(I, H),
        "words": WordModel(),
        "other": WordModel(),
        "two": nn.ModuleDict({"a": gru(), "b": gru()}),
        "shape": replaced(gru(I, H, num_layers=2), weight_ih_l1=torch.zeros(3 * H, 2)),
        "rnn": nn.RNN(I, H),
    }.items():
        torch.save(model.state_dict(), folder / f"{name}.pt")
    torch.save(gru(), folder / "pickled.pt")
    torch.save([1, 2], folder / "list.pt")
    (folder / "folder").mkdir()
    for name, array in {
        "x": X.numpy(),
        "y": X.numpy(),
        "double": X.double().numpy(),
        "wide": X.repeat(1, 1, 2).numpy(),
        "nan": with_value(X, (20, 2, 1), NAN).numpy(),
        "short": X[:8].numpy(),
        "steps": X[:0].numpy(),
        "rank": X[None].numpy(),
        "bool": (X > 0).numpy(),
        "complex": (X + 0j).numpy(),
        "ids": TOKENS.numpy(),
        "high": TOKENS.numpy() + 1,
        "cube": TOKENS[None].numpy(),
        "table": TABLE.numpy(),
        "rows": TABLE[1:].numpy(),
        "table64": TABLE.double().numpy(),
        "table_nan": with_value(TABLE, (1, 2), NAN).numpy(),
        "lengths": np.full(B, T),
        "lengths5": np.full(B + 1, T),
        "lengths_long": np.full(B, T + 1),
        "lengths_float": np.full(B, float(T)),
    }.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(folder / "several.npz", x=X.numpy(), y=X.numpy())
    save_file({"x": X}, folder / "x.safetensors")
    for name in ("gru.pt", "x.npy", "several.npz", "x.safetensors"):
        (folder / f"cut_{name}").write_bytes((folder / name).read_bytes()[:-150])
    for name in ("empty.pt", "empty.npy", "empty.txt", "empty.json", "gru.onnx", "data.csv"):
        (folder / name).write_bytes(b"")
    (folder / "text.txt").write_text(text)
    (folder / "latin.txt").write_bytes(b"caf\xe9 " * 200)
    (folder / "vocab.json").write_text(json.dumps(["<unk>", *words]))
    (folder / "large.json").write_text(json.dumps([*(f"x{n}" for n in range(9)), *words]))
    (folder / "number.json").write_text("3")
    (folder / "cut.json").write_text('["<unk>", "wa"')
    return folder


GRU = "assess gru.pt --data x.npy --lags 3"
WORDS = "assess words.pt --data text.txt --tokens word --vocab vocab.json --lags 3"
IDS = "assess words.pt --data ids.npy --lags 3 --embedding encoder.weight"
COMMANDS = {
    "checkpoint": {
        "missing": "assess no.pt --data x.npy",
        "folder": "assess folder --data x.npy",
        "ending": "assess gru.onnx --data x.npy",
        "empty": "assess empty.pt --data x.npy",
        "truncated": "assess cut_gru.pt --data x.npy",
        "array": "assess x.npy --data x.npy",
        "other-safetensors": "assess x.safetensors --data x.npy",
        "truncated-safetensors": "assess cut_x.safetensors --data x.npy",
        "pickled": "assess pickled.pt --data x.npy",
        "list": "assess list.pt --data x.npy",
        "no-recurrent-layer": "assess linear.pt --data x.npy",
        "two-networks": "assess two.pt --data x.npy",
        "bidirectional": "assess both.pt --data x.npy",
        "proj-size": "assess projected.pt --data x.npy",
        "half": "assess half.pt --data x.npy",
        "shape": "assess shape.pt --data x.npy",
        "in-a-comparison": "compare gru.pt no.pt --data x.npy",
    },
    "model": {"nan": "assess nan.pt --data x.npy --lags 3"},
    "--data": {
        "left-out": "assess gru.pt",
        "missing": "assess gru.pt --data no.npy",
        "folder": "assess gru.pt --data folder",
        "ending": "assess gru.pt --data data.csv",
        "empty": "assess gru.pt --data empty.npy",
        "empty-text": "assess words.pt --data empty.txt --tokens word --vocab vocab.json",
        "not-utf-8": "assess words.pt --data latin.txt --tokens word --vocab vocab.json",
        "truncated": "assess gru.pt --data cut_x.npy",
        "truncated-zip": "assess gru.pt --data cut_several.npz --key x",
        "truncated-safetensors": "assess gru.pt --data cut_x.safetensors",
        "objects": "assess gru.pt --data object.npy",
        "bool": "assess gru.pt --data bool.npy",
        "complex": "assess gru.pt --data complex.npy",
        "no-steps": "assess gru.pt --data steps.npy",
        "rank": "assess gru.pt --data rank.npy",
        "rank-of-tokens": "assess words.pt --data cube.npy",
        "size": "assess gru.pt --data wide.npy",
        "float64": "assess gru.pt --data double.npy",
        "token-too-large": "assess words.pt --data high.npy --embedding encoder.weight",
        "nan": "assess gru.pt --data nan.npy --lags 3",
        "too-few-steps": "assess gru.pt --data short.npy --lags 3",
        "lags-longer": "assess gru.pt --data x.npy --lags 300",
    },
    "--key": {
        "left-out": "assess gru.pt --data several.npz",
        "unknown": "assess gru.pt --data several.npz --key z",
        "for-one-array": GRU + " --key x",
        "for-text": WORDS + " --key x",
    },
    "--tokens": {
        "left-out": "assess words.pt --data text.txt",
        "unknown": "assess words.pt --data text.txt --tokens subword",
        "for-an-array": GRU + " --tokens char",
    },
    "--vocab": {
        "left-out": "assess words.pt --data text.txt --tokens word",
        "too-large": WORDS.replace("vocab.json", "large.json"),
        "for-bytes": WORDS.replace("word ", "byte "),
        "for-an-array": GRU + " --vocab vocab.json",
    },
    "vocab": {
        "missing": WORDS.replace("vocab.json", "no.json"),
        "empty": WORDS.replace("vocab.json", "empty.json"),
        "truncated": WORDS.replace("vocab.json", "cut.json"),
        "number": WORDS.replace("vocab.json", "number.json"),
    },
    "--streams": {
        "string": WORDS + " --streams many",
        "zero": WORDS + " --streams 0",
        "more-than-words": WORDS + " --streams 1000",
        "for-an-array": GRU + " --streams 2",
    },
    "--semantics": {
        "missing": IDS + " --semantics no.npy",
        "unknown-key": IDS + " --semantics meaning",
        "truncated": IDS + " --semantics cut_x.npy",
        "objects": IDS + " --semantics object.npy",
    },
    "semantics": {
        "rows": IDS + " --semantics rows.npy",
        "float64": IDS + " --semantics table64.npy",
        "nan": IDS + " --semantics table_nan.npy",
        "rank": IDS + " --semantics lengths.npy",
        "for-floats": GRU + " --semantics table.npy",
        "different": "compare words.pt other.pt --data ids.npy --lags 3 --embedding encoder.weight",
    },
    "--lengths": {"missing": GRU + " --lengths no.npy", "unknown-key": GRU + " --lengths steps"},
    "lengths": {
        "float": GRU + " --lengths lengths_float.npy",
        "size": GRU + " --lengths lengths5.npy",
        "too-long": GRU + " --lengths lengths_long.npy",
    },
    "--lags": {
        "string": "assess gru.pt --data x.npy --lags many",
        "float": "assess gru.pt --data x.npy --lags 1.5",
        "empty": "assess gru.pt --data x.npy --lags 1,,2",
    },
    "lags": {
        "negative": "assess gru.pt --data x.npy --lags=-1",
        "decreasing": "assess gru.pt --data x.npy --lags 3,2",
    },
    "--layer": {"string": GRU + " --layer last"},
    "layer": {"above": GRU + " --layer 1"},
    "--fit": {"string": GRU + " --fit half"},
    "fit": {"zero": GRU + " --fit 0", "nan": GRU + " --fit nan", "above": GRU + " --fit 1.5"},
    "--split": {"unknown": GRU + " --split random"},
    "--state": {"unknown": GRU + " --state cell"},
    "--prefix": {
        "unknown": "assess two.pt --data x.npy --prefix c",
        "of-another": "assess two.pt --data x.npy --prefix a.weight_ih_l0",
    },
    "--nonlinearity": {
        "unknown": "assess rnn.pt --data x.npy --nonlinearity gelu",
        "for-a-gru": GRU + " --nonlinearity relu",
    },
    "--embedding": {
        "unknown": IDS.replace("encoder.weight", "table"),
        "size": IDS.replace("encoder.weight", "decoder.weight"),
        "rank": IDS.replace("encoder.weight", "decoder.bias"),
        "for-floats": GRU + " --embedding weight_ih_l0",
    },
    "embedding": {"none-there": "assess gru.pt --data ids.npy --lags 3"},
    "--head": {
        "unknown": IDS + " --head logits",
        "size": IDS + " --head encoder.weight",
        "in-a-comparison": "compare " + IDS.removeprefix("assess ") + " --head logits",
    },
    "--trained-window": {
        "string": GRU + " --trained-window all",
        "without-head": GRU + " --trained-window 35",
        "zero": IDS + " --head decoder.weight --trained-window 0",
    },
    "--out": {
        "ending": GRU + " --out memory.pdf",
        "no-folder": GRU + " --out no/memory.html",
        "folder": GRU + " --out folder",
        "in-a-comparison": "compare gru.pt --data x.npy --out memory.txt",
        "of-the-demo": "demo --out memory.png",
        "no-folder-for-the-demo": "demo --out no/memory.html",
    },
    "CHECKPOINT": {
        "left-out": "assess --data x.npy",
        "none-to-compare": "compare --data x.npy",
        "twice": "compare gru.pt gru.pt --data x.npy",
    },
    "--match": {"unknown": "compare gru.pt --data x.npy --match size"},
    "match": {"state": "compare gru.pt gru8.pt --data x.npy --lags 3 --match state --state output"},
    "--text": {
        "missing": "demo --text no.txt",
        "folder": "demo --text folder",
        "short": "demo --text text.txt",
        "not-utf-8": "demo --text latin.txt",
    },
    "--minutes": {
        "string": "demo --minutes few",
        "zero": "demo --minutes 0",
        "negative": "demo --minutes=-1",
        "nan": "demo --minutes nan",
        "inf": "demo --minutes inf",
    },
    "COMMAND": {"none": "", "unknown": "measure gru.pt"},
    "--fast": {"unknown": "info --fast"},
}


@pytest.mark.parametrize(("argument", "given"), cases(COMMANDS))
def test_commands(argument, given, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    try:
        code = main(given[argument].split())
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("rnnmem"), err
    assert argument in lines[0], err


# What is not bad input, and what a measurement leaves as it was.


def snapshot(model):
    return (
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad, p.detach().clone()) for p in model.parameters()],
        torch.random.get_rng_state(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_measuring_leaves_everything_as_it_was(backend, training):
    model = nn.LSTM(I, H, num_layers=2, dropout=0.5).train(training)
    model.weight_hh_l0.requires_grad_(False)
    broken = filled(NAN, lstm())
    before, inputs = snapshot(model), X.clone().requires_grad_()
    found = [assess(model, inputs, backend=backend).retention for _ in range(2)]
    fitted = fit_recall(model, X, backend=backend)
    one = MemoryMeter(model, fitted, backend=backend)
    one.update(X)
    refused("inputs", one.update, X[:, 1:])
    refused("model", assess, broken, backend=backend)
    assert torch.equal(*found)  # dropout is off, and nothing depends on the state of the random generator
    assert not found[0].requires_grad
    after = snapshot(model)
    assert (after[0], after[3], after[4]) == (before[0], before[3], before[4])
    assert torch.equal(after[2], before[2])
    for (grad_flag, grad, value), (was_flag, was_grad, was) in zip(after[1], before[1], strict=True):
        assert (grad_flag, grad) == (was_flag, was_grad)
        assert torch.equal(value, was)
    assert inputs.requires_grad
    assert inputs.grad is None
    assert torch.equal(inputs.detach(), X)


def test_an_object_that_fails_leaves_the_mode_as_it_was():
    class Module(nn.Module, Late):
        def __init__(self):
            nn.Module.__init__(self)
            self.nonsense = lambda x, s: None
            self.dropout = nn.Dropout()

    model = Module().train()
    model.dropout.eval()
    refused("model", assess, model)
    assert model.training
    assert not model.dropout.training


def test_numpy_numbers_are_numbers():
    wanted = rnnmem.assess(gru(), X, lags=3, washout=10, ridge=1e-3, fit=0.5, innovation_order=2, layer=0)
    found = rnnmem.assess(
        gru(),
        X,
        lags=np.int64(3),
        washout=np.int32(10),
        ridge=np.float64(1e-3),
        fit=np.float32(0.5),
        innovation_order=np.int16(2),
        layer=np.int64(0),
        seed=np.uint8(0),
    )
    assert json.dumps(found.to_dict()) == json.dumps(wanted.to_dict())
    for grid in (np.arange(4), torch.arange(4), range(4), (0, 1, 2, 3), [np.int8(n) for n in range(4)]):
        assert assess(gru(), lags=grid).lags.tolist() == [0, 1, 2, 3]
    assert found.memory_amount(np.int64(2)) == found.memory_amount(2)
    assert found.span(np.float64(0.5)) == found.span(0.5)
    long = assess(gru(), X.repeat(5, 1, 1) + torch.arange(5 * T).view(-1, 1, 1).sin())
    assert torch.equal(long.interval(level=np.float32(0.5))[0], long.interval(level=0.5)[0])
    EchoState(torch.ones(H, I), torch.eye(H), leak=np.float64(0.5))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_strides_do_not_matter(backend):
    wanted = assess(gru(), X, backend=backend)
    strided = X.flip(0).repeat_interleave(2, dim=2).flip(0)[:, :, ::2]
    turned = X.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    for inputs in (strided, turned):
        assert not inputs.is_contiguous()
        assert torch.equal(assess(gru(), inputs, backend=backend).retention, wanted.retention)
    weights = gru()
    weights.weight_hh_l0 = nn.Parameter(weights.weight_hh_l0.detach().T.contiguous().T)
    assert torch.equal(assess(weights, X, backend=backend).retention, wanted.retention)
    tokens = assess(gru(), TOKENS, embedding=TABLE, backend=backend)
    turned = TOKENS.T.contiguous().T
    wide = TABLE.repeat_interleave(2, dim=1)[:, ::2]
    again = assess(gru(), turned, embedding=wide, semantics=wide, backend=backend)
    assert torch.equal(again.retention, tokens.retention)


def test_too_few_steps_say_what_to_do():
    line = refused("inputs", rnnmem.assess, gru(), X[:80])
    assert "more than max(washout, max lag) = 128 steps in the fit part" in line
    assert "use more steps or smaller lags" in line


def test_a_whole_module_gets_the_call_to_make():
    line = refused("model", assess, WordModel())
    assert "assess(model.lstm, inputs, embedding=model.encoder, head=model.decoder)" in line


def test_errors_name_stream_and_step():
    for value in (NAN, INF, -INF):
        assert "stream 2 at step 20" in refused("inputs", assess, gru(), with_value(X, (20, 2, 1), value))
    semantics = with_value(X, (30, 1, 0), NAN)
    assert "stream 1 at step 30" in refused("semantics", assess, gru(), X, semantics=semantics)
    tokens = with_value(TOKENS, (25, 3), V)
    assert "7 in stream 3 at step 25" in refused("inputs", assess, gru(), tokens, embedding=TABLE)
    batch_first = nn.GRU(I, H, batch_first=True)
    turned = with_value(X, (20, 2, 1), NAN).transpose(0, 1)
    assert "stream 2 at step 20" in refused("inputs", assess, batch_first, turned)
    late = Late(lambda x, s: (with_value(x, (2, 0), NAN), s))
    assert "stream 2 at step 30" in refused("model", assess, late)


def test_bools_are_no_ints():
    for option in ("lags", "layer", "washout", "innovation_order", "seed"):
        assert "True" in refused(option, assess, gru(), **{option: True})
