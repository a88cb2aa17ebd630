"""Bad input to `track` and its tracker, as tests/test_bad_input.py has it for the others."""

import copy
from pathlib import Path

import pytest
import torch
from test_bad_input import (
    INF,
    NAN,
    SMALL,
    TABLE,
    TOKENS,
    WITH_HEAD,
    WordModel,
    X,
    also,
    cases,
    gru,
    refused,
    with_value,
)
from test_bad_measures import MODELS

import rnnmem

TRACK = {
    "model": {**MODELS, "whole": WordModel()},
    "sample": {
        "none": None,
        "array": X.numpy(),
        "rank": X[0],
        "float64": X.double(),
        "size": X[..., :2],
        "nan": with_value(X, (3, 1, 0), NAN),
        "int32": TOKENS.int(),
        "too-short": X[:20],
        "meta": X.to("meta"),
        "tokens-without-embedding": also(TOKENS, named="embedding"),
        "token-out-of-range": also(TOKENS + 1, embedding=TABLE),
    },
    "every": {
        "zero": 0,
        "negative": -1,
        "float": 10.0,
        "bool": True,
        "string": "epoch",
        "huge": 2**64,
        "tensor": torch.tensor(5),
    },
    "unknown": {"option": also(1, named="assess_options")},
    "inputs": {"beside-sample": also(X, named="assess_options")},
    "states": {"of-compare": also(["full"], named="assess_options")},
    "embedding": {"for-floats": TABLE, "size": also(TABLE[:, :2], sample=TOKENS)},
    "semantics": {"size": X[:5], "nan": with_value(X, (0, 0, 0), NAN)},
    "lags": {"none": None, "negative": -1, "float": 2.0},
    "layer": {"none": None, "above": 1},
    "state": {"unknown": "hidden"},
    "split": {"unknown": "random"},
    "fit": {"zero": 0, "one": 1.0},
    "washout": {"negative": -1},
    "ridge": {"inf": INF},
    "innovation_order": {"negative": -1},
    "lengths": {"size": torch.ones(2).long()},
    "readout": {"unknown": "cubic"},
    "measures": {"string": "kept", "unknown": ["memory"], "empty": [], "none": None},
    "head": {
        "used-without": also(None, measures=["used"]),
        "no-function": also(3, **{k: v for k, v in WITH_HEAD.items() if k not in ("inputs", "head")}),
    },
    "targets": {"without-head": TOKENS},
    "trained_window": {"without-head": 35},
    "backend": {"unknown": "gpu", "not-built": "cuda"},
    "precision": {"unknown": "float16"},
    "seed": {"negative": -1},
    "progress": {"int": 1},
}


@pytest.mark.parametrize(("argument", "given"), cases(TRACK))
def test_track(argument, given):
    refused(argument, rnnmem.track, **{"model": gru(), "sample": X, **SMALL, **given})


def test_every_unknown_option_is_named():
    line = refused("assess_options", rnnmem.track, gru(), X, stride=2, batch=3, lags=3)
    assert line == "assess_options: expected options of assess, got ['batch', 'stride']"


@pytest.fixture(scope="module")
def tracker():
    return rnnmem.track(gru(), X, **SMALL)


PATHS = {"none": None, "int": 3, "ending": "track.txt", "none-at-all": "track", "bytes": b"track.html"}


@pytest.mark.parametrize("path", [*PATHS.values(), Path("/no/such/place/track.html")], ids=[*PATHS, "place"])
def test_save(tracker, path):
    refused("path", tracker.save, path)


def without(key):
    return lambda state: state.pop(key)


def setting(*path):
    """Replaces what a path of keys leads to by its last part."""

    def change(state):
        *keys, last, value = path
        for key in keys:
            state = state[key]
        state[last] = value

    return change


STATES = {
    "format": setting("format", "rnnmem track 0"),
    **{
        f"no-{key}": without(key)
        for key in ("format", "steps", "seconds", "spent", "failures", "curve", "report")
    },
    "steps-float": setting("steps", 2.0),
    "steps-negative": setting("steps", -1),
    "seconds-nan": setting("seconds", NAN),
    "seconds-none": setting("seconds", None),
    "spent-string": setting("spent", "1 s"),
    "failures-none": setting("failures", None),
    "failures-short": setting("failures", [[1, 2]]),
    "failures-no-text": setting("failures", [[1, 2, 3, 4]]),
    "curve-none": setting("curve", None),
    "curve-empty": setting("curve", {}),
    "curve-column-missing": lambda state: state["curve"].pop("capacity"),
    "curve-of-other-measures": setting("curve", "reach", [3]),
    "curve-lengths": setting("curve", "capacity", [0.1, 0.2]),
    "curve-no-list": setting("curve", "capacity", 0.1),
    "curve-string": setting("curve", "capacity", ["0.1"]),
    "curve-nan": setting("curve", "capacity", [NAN]),
    "curve-no-step": setting("curve", "step", [None]),
    "curve-no-entry": lambda state: state["curve"].update({name: [] for name in state["curve"]}),
    "report-none": setting("report", None),
    "report-part": setting("report", "raw", None),
    "report-of-no-training": lambda state: state["report"]["settings"].pop("training_step"),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_load_state_dict(tracker, change):
    before = copy.deepcopy(tracker.state_dict())
    state = copy.deepcopy(before)
    change(state)
    refused("state", tracker.load_state_dict, state)
    assert tracker.state_dict() == before


@pytest.mark.parametrize("wrong", [None, [], "track.json", 3], ids=["none", "list", "string", "int"])
def test_load_state_dict_of_no_dict(tracker, wrong):
    refused("state", tracker.load_state_dict, wrong)
