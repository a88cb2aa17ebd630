"""Each lag's map read out at other lags: closed forms, and against the report."""

import numpy as np
import pytest
import torch

import rnnmem
from rnnmem.units import EchoState

F64 = torch.float64


def white(steps, streams, size=1, seed=0):
    return torch.randn(steps, streams, size, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_leaky_integrator_keeps_tokens_in_one_place(backend):
    """r_i = rho_i e_i + ..., one unit: D_ij = rho_i - 2 sqrt(rho_i rho_j) + 1."""
    a = 0.8
    unit = EchoState(
        torch.tensor([[(1 - a**2) ** 0.5]], dtype=F64), torch.tensor([[a]], dtype=F64), activation="identity"
    )
    read, lags = white(40_000, 4), list(range(8))
    maps = rnnmem.fit_recall(unit, read[:20_000], lags=lags)
    found = rnnmem.recall_transfer(unit, maps, read[20_000:], backend=backend)
    rho = (1 - a**2) * a ** (2 * np.arange(8))
    expected = 2 * np.sqrt(np.outer(rho, rho)) - rho[:, None]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_a_delay_line_hands_tokens_on():
    """Slot i holds the token i steps back: read for another one it is as far off as chance, and once more."""
    shift = torch.diag(torch.ones(4, dtype=F64), -1)
    unit = EchoState(torch.eye(5, 1, dtype=F64), shift, activation="identity")
    read = white(8000, 4)
    maps = rnnmem.fit_recall(unit, read[:4000], lags=4)
    found = rnnmem.recall_transfer(unit, maps, read[4000:])
    np.testing.assert_allclose(found, 2 * np.eye(5) - 1, atol=0.06)


@pytest.mark.parametrize("own", [False, True])
def test_the_diagonal_is_held_out_retention(own):
    torch.manual_seed(0)
    model, table = torch.nn.LSTM(3, 6, num_layers=2).double(), torch.randn(9, 3, dtype=F64)
    generator = torch.Generator().manual_seed(1)
    read = (torch.rand(3000, 3, generator=generator) ** 2 * 9).long()
    given = {"embedding": table, "semantics": torch.randn(9, 2, dtype=F64)}
    maps = rnnmem.fit_recall(model, read[:1500], lags=[0, 1, 3], state="full", layer=0, **given)
    meter = rnnmem.MemoryMeter(model, maps, **given)
    meter.update(read[1500:])
    report = meter.compute()
    found = rnnmem.recall_transfer(model, maps, read[1500:], own=own, **given)
    curve = report.own.heldout if own else report.retention_heldout
    torch.testing.assert_close(found.diagonal(), curve, rtol=1e-9, atol=1e-12)


def test_short_streams_count_from_the_longest_lag_on():
    torch.manual_seed(0)
    model, lengths = torch.nn.GRU(2, 4), torch.randint(6, 13, (400,))
    read = torch.randn(12, 400, 2)
    maps = rnnmem.fit_recall(model, read, lags=3, split="streams", lengths=lengths)
    found = rnnmem.recall_transfer(model, maps, read, lengths=lengths)
    assert found.shape == (4, 4)
    assert bool(found.isfinite().all())
    with pytest.raises(rnnmem.RnnMemError, match="inputs: expected streams of more than 3 steps"):
        rnnmem.recall_transfer(model, maps, read[:3])


def test_what_does_not_fit_is_refused():
    model, read = torch.nn.GRU(2, 4), torch.randn(900, 2, 2)
    maps = rnnmem.fit_recall(model, read, lags=3)
    wrong = {
        "maps: expected RecallMaps": (model, maps.weight, read, {}),
        "maps: expected maps that read 5": (torch.nn.GRU(2, 5), maps, read, {}),
        "semantics: expected 2 dimensions, of inputs": (
            model,
            maps,
            read,
            {"semantics": torch.randn(900, 2, 3)},
        ),
        "own: expected True or False": (model, maps, read, {"own": 1}),
        "inputs: expected torch.float32": (model, maps, read.double(), {}),
        "backend: expected": (model, maps, read, {"backend": "gpu"}),
        "lengths: expected": (model, maps, read, {"lengths": [900, 900]}),
        "embedding: expected": (model, maps, torch.zeros(900, 2, dtype=torch.int64), {"embedding": 3}),
        "model: expected": (None, maps, read, {}),
    }
    for message, (net, given, inputs, options) in wrong.items():
        with pytest.raises(rnnmem.RnnMemError) as error:
            rnnmem.recall_transfer(net, given, inputs, **options)
        assert str(error.value).startswith(message), error.value
        assert "\n" not in str(error.value)
