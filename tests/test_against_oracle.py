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


@pytest.mark.parametrize("split", ["time", "streams"])
@pytest.mark.parametrize("ended", [False, True], ids=["whole", "lengths"])
def test_inference_control_against_windows_run_one_by_one(split, ended):
    """All windows, where there are fewer than the control wants: states by torch, all else by the oracle."""
    torch.manual_seed(6)
    longest, by_time = 4, split == "time"
    steps, streams = (700, 3) if by_time else (30, 60)
    inputs, model = signal(steps, streams), torch.nn.LSTM(2, 5).double()
    ends = torch.full((streams,), steps) - ended * (17 if by_time else 5) * (torch.arange(streams) % 3)
    options = {"lags": longest, "washout": 10, "innovation_order": 3, "split": split, "backend": "reference"}
    report = rnnmem.assess(model, inputs, **options, **({"lengths": ends} if ended else {}))
    rows = oracle.Rows(steps, streams, longest, split, 0.5, 10, ends.numpy())
    innovations = oracle.Innovations(inputs.numpy(), rows, 3, 1e-6)
    if by_time:
        limits = [(10, steps // 2), (steps // 2, steps)]
        places = [
            [[(s, b) for b in range(streams)] for s in range(low, min(high, int(ends.max())) - longest + 1)]
            for low, high in limits
        ]
    else:
        limits = [(0, steps), (0, steps)]
        places = [
            [[(s, b)] for b in range(first, first + streams // 2) for s in range(1, int(ends[b]))]
            for first in (0, streams // 2)
        ]

    def part(index, lag):
        """Of all windows of a part [n, m]: states, innovations, which count, newer tokens."""
        start, stream = (np.array(each) for each in np.moveaxis(np.array(places[index]), 2, 0))
        times = np.minimum(start + np.arange(max(lag, 1)).reshape(-1, 1, 1), steps - 1)
        with torch.no_grad():
            read = inputs[torch.from_numpy(times), torch.from_numpy(stream)].flatten(1, 2)
            states = model(read)[0][-1].unflatten(0, start.shape).numpy()
        row = start + lag - 1
        real = (row < ends.numpy()[stream]) & (row >= limits[index][0]) & (row < limits[index][1])
        at = np.minimum(row, steps - 1), stream
        return states, innovations(lag)[at], real, innovations.newer(max(lag, 1))[at]

    counts = np.any([part(1, lag)[2] for lag in range(longest + 1)], axis=0).ravel()
    for lag in range(1, longest + 1):
        fit, (h, y, real, _) = part(0, lag), part(1, lag)
        block = (counts.cumsum() - 1) * 32 // counts.sum()
        value, error = oracle.paired_retention(
            fit,
            h[real],
            y[real],
            block[real.ravel()],
            1e-6,
            innovations.covariance(lag),
            innovations.fit_rows(lag),
        )
        np.testing.assert_allclose(float(report.controls["inference"][lag]), value, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(float(report.controls["inference_se"][lag]), error, rtol=1e-7, atol=1e-9)
