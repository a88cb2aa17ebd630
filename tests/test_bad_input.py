"""Bad input: every argument of every public function, once for each class of error that applies to it.

Each case raises RnnMemError with one line that names the argument, what was expected and what came; none
returns a number, raises another type, warns or prints. The tables go argument by argument: what is wrong
with the value, and the value. `also(value, ...)` gives the other arguments that a case needs, and the name
that the message gives where that is another one.
"""

import math
import warnings
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import rnnmem
from rnnmem import RnnMemError
from rnnmem.units import EchoState

T, B, I, H, V = 240, 4, 3, 5, 7  # noqa: E741
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(T, B, I, generator=DRAW)
TOKENS = torch.randint(V, (T, B), generator=DRAW)
TABLE = torch.randn(V, I, generator=DRAW)
NAN, INF = math.nan, math.inf
SMALL = {"lags": 3, "washout": 10, "innovation_order": 2}

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
    "precision": {"none": None, "unknown": "float32", "not-built": "high", "stored": "medium"},
    "seed": {"none": None, "string": "0", "float": 0.0, "bool": True, "negative": -1, "huge": 2**63},
}
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
    "readout": {"none": None, "unknown": "cubic", "not-built": "features", "array": np.array(["linear"] * 2)},
    "measures": {
        "none": None,
        "string": "kept",
        "empty": (),
        "unknown": ("kept", "lost"),
        "not-built": ("kept", "forgotten"),
        "int": (1,),
    },
    "head": {"not-built": nn.Linear(H, V)},
    "targets": {"not-built": TOKENS},
    "trained_window": {"not-built": 35},
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
