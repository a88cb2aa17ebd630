"""The whole measurement in float64 against the independent numpy computation, to 1e-9."""

import numpy as np
import oracle
import pytest
import torch

import rnnmem
from rnnmem.units import EchoState

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def networks():
    torch.manual_seed(0)
    weights = torch.randn(5, 2).double(), 0.4 * torch.randn(5, 5).double()
    return {
        "rnn": torch.nn.RNN(2, 6).double(),
        "gru-2-layers": torch.nn.GRU(2, 5, num_layers=2).double(),
        "lstm": torch.nn.LSTM(2, 4).double(),
        "echo": EchoState(*weights, leak=0.6),
    }


def signal(steps, streams, phi=0.7, seed=1):
    """A correlated 2-dimensional input [T, B, 2]."""
    noise = np.random.default_rng(seed).standard_normal((steps, streams, 2)) @ [[1.0, 0.5], [0.0, 0.8]]
    for t in range(1, steps):
        noise[t] += phi * noise[t - 1]
    return torch.from_numpy(noise)


def states(model, inputs, full):
    """Stored states [T, B, H] of the last layer by torch's own modules, or by the unit's own forward."""
    if isinstance(model, EchoState):
        return model(inputs)[0]
    if not full:
        return model(inputs)[0].detach()
    out, carried = [], None
    for x in inputs:
        _, carried = model(x[None], carried)
        parts = carried if isinstance(carried, tuple) else (carried,)
        out.append(torch.cat([part[-1] for part in parts], dim=-1))
    return torch.stack(out).detach()


CASES = {
    "time": {"lags": 6},
    "sparse-lags": {"lags": [0, 1, 3, 7, 12], "innovation_order": 3},
    "no-own": {"lags": 4, "innovation_order": 0},
    "no-lag-0": {"lags": [2, 5]},
    "washout": {"lags": 3, "washout": 170, "fit": 0.4, "ridge": 1e-3},
    "lengths": {"lags": 4, "lengths": [900, 650, 700]},
    "streams": {"lags": 5, "split": "streams", "lengths": "short"},
    "streams-whole": {"lags": [0, 2, 3], "split": "streams", "fit": 0.6},
    "streams-long": {"lags": 3, "split": "streams"},
}


@pytest.mark.parametrize("full", [False, True], ids=["output", "full"])
@pytest.mark.parametrize("name", list(networks()))
@pytest.mark.parametrize("case", list(CASES))
def test_every_number_of_the_report(case, name, full):
    model, options = networks()[name], dict(CASES[case])
    if options.get("split") == "streams":
        inputs = signal(700, 34) if case == "streams-long" else signal(14, 90)
        if options.get("lengths") == "short":
            options["lengths"] = np.random.default_rng(2).integers(3, 15, 90)
    else:
        inputs = signal(900, 3)
    lengths = options.pop("lengths", None)
    length_tensor = None if lengths is None else torch.as_tensor(np.asarray(lengths))
    state = "full" if full else "output"
    report = rnnmem.assess(
        model, inputs, lengths=length_tensor, state=state, backend="reference", seed=3, **options
    )
    width = int(report.settings["block_width"])
    lags = report.lags.tolist()
    options.pop("lags")
    expected = oracle.measure(
        states(model, inputs, full and name != "echo").numpy(),
        inputs.numpy(),
        lags,
        lengths=lengths,
        w0=width,
        **options,
    )
    for got, want in ((report.raw, expected.raw), (report.own, expected.own)):
        np.testing.assert_allclose(got.distance, want.D, **EXACT)
        np.testing.assert_allclose(got.variance, want.V, **EXACT)
        np.testing.assert_allclose(got.heldout, want.heldout, **EXACT)
        np.testing.assert_allclose(got.retention, want.retention, **EXACT)
        assert got.blocks == want.blocks
        np.testing.assert_allclose(got.se, want.se, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(got.significant, want.significant & got.judged)
    np.testing.assert_allclose(report.bits, expected.raw.bits, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(report.own_bits, expected.own.bits, rtol=1e-8, atol=1e-9)
    check_indicators(report, expected)


def check_indicators(report, expected):
    for own, curve in ((False, expected.raw), (True, expected.own)):
        if report.lags[0] == 0:
            for n in (1, 2, int(report.lags[-1]) + 1):
                amount, se = oracle.memory_amount(curve, n)
                assert report.memory_amount(n, own=own) == pytest.approx(amount, rel=1e-9, abs=1e-9)
                assert report.memory_amount_se(n, own=own) == pytest.approx(
                    se, rel=1e-6, abs=1e-9, nan_ok=True
                )
                assert report.density(n, own=own) == pytest.approx(oracle.density(curve, n), abs=1e-9)
                relative = oracle.relative_distance(curve, n)
                assert report.relative_distance(n, own=own) == pytest.approx(relative, rel=1e-9)
        if report.raw.judged:
            assert report.span(own=own) == oracle.span(curve)
            half_life = report.own_half_life if own else report.half_life
            assert half_life == pytest.approx(oracle.half_life(curve))
            assert (report.own_horizon if own else report.horizon) == oracle.horizon(curve)
    assert report.utilisation == pytest.approx(expected.utilisation)
    check_table(report.by_position, expected.by_position, ("first_step", "lag"))


def check_table(table, expected, keys):
    """Same cells in any order of rows."""
    rows = [
        sorted(zip(*(t[column] for column in (*keys, "rows", "retention", "distance")), strict=True))
        for t in (table, expected)
    ]
    np.testing.assert_allclose(rows[0], rows[1], **EXACT)


def test_tokens_entropy_and_bands():
    torch.manual_seed(4)
    generator = np.random.default_rng(5)
    tokens = torch.from_numpy(generator.zipf(1.6, (700, 3)) % 11)
    embedding = torch.randn(11, 3).double()
    table = torch.randn(11, 2).double()
    model = torch.nn.GRU(3, 5).double()
    report = rnnmem.assess(model, tokens, embedding=embedding, semantics=table, lags=4, backend="reference")
    expected = oracle.measure(
        model(embedding[tokens])[0].detach().numpy(),
        table[tokens].numpy(),
        report.lags.tolist(),
        w0=report.settings["block_width"],
        tokens=tokens.numpy(),
    )
    np.testing.assert_allclose(report.bits, expected.raw.bits, rtol=1e-8, atol=1e-9)
    assert report.settings["entropy"] == pytest.approx(expected.token_entropy, rel=1e-12)
    check_table(report.by_token_class, expected.by_token_class, ("band", "lag"))


def test_token_controls_are_scored_like_retention():
    inputs = signal(1200, 2)
    report = rnnmem.assess(torch.nn.GRU(2, 5).double(), inputs, lags=10, innovation_order=3)
    memoryless, window = oracle.controls(inputs.numpy(), report.lags.tolist(), 3)
    np.testing.assert_allclose(report.controls["memoryless"], memoryless.retention, **EXACT)
    np.testing.assert_allclose(report.controls["window"], window.retention, rtol=1e-8, atol=1e-8)


def test_inference_control_against_windows_run_one_by_one():
    """All windows, where there are fewer than the control wants: states by torch, the map by the oracle."""
    torch.manual_seed(6)
    steps, streams, lag = 900, 2, 3
    inputs, model = signal(steps, streams), torch.nn.LSTM(2, 5).double()
    report = rnnmem.assess(model, inputs, lags=4, washout=10, backend="reference")
    rows = oracle.Rows(steps, streams, 4, "time", 0.5, 10, np.full(streams, steps))
    beta = oracle.Innovations(inputs.numpy(), rows, 8, 1e-6)(lag)
    first, half = 10, steps // 2

    def part(low, high):
        at = [(s, b) for s in range(low, high + 1) for b in range(streams)]
        windows = torch.stack([inputs[s : s + lag, b] for s, b in at], dim=1)
        targets = np.stack([beta[s + lag - 1, b] for s, b in at])
        return model(windows)[0][-1].detach().numpy(), targets

    # The longest lag, 4, bounds the starts of all: rows s ... s + 3 lie in their part.
    fit_h, fit_y = part(first, half - 4)
    h, y = part(half, steps - 4)
    fitted = oracle.ridge_map(fit_h, fit_y, 1e-6)
    heldout = 1 - ((h @ fitted.weight.T + fitted.bias - y) ** 2).sum() / ((y - fit_y.mean(0)) ** 2).sum()
    got = float(report.controls["inference"][lag])
    assert got == pytest.approx(heldout, abs=0.05)
    assert got >= heldout
    factor = (1 - got) / (1 - heldout)
    assert 0.9 < factor < 1
