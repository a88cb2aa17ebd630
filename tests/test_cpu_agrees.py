"""The whole measurement on the cpu backend against the reference: every number to 1e-5."""

import pytest
import torch

import rnnmem
from rnnmem.units import EchoState

UNITS = {
    "rnn-tanh": lambda i, h, **o: torch.nn.RNN(i, h, **o),
    "rnn-relu": lambda i, h, **o: scaled(torch.nn.RNN(i, h, nonlinearity="relu", **o)),
    "gru": lambda i, h, **o: torch.nn.GRU(i, h, **o),
    "lstm": lambda i, h, **o: torch.nn.LSTM(i, h, **o),
}
CELLS = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def scaled(module):
    """A relu network whose state does not grow."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "hh" in name:
                weight.mul_(0.5)
    return module


def check(model, inputs, dtype=torch.float32, **options):
    """Measures on both backends and compares; the reference in the same dtype."""
    found = [rnnmem.assess(model, inputs, backend=name, **options) for name in ("cpu", "reference")]
    tolerance = TOLERANCE[dtype]
    for name in ("retention", "own_retention", "retention_heldout", "retention_se", "own_retention_se"):
        mine, theirs = (getattr(report, name) for report in found)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance, equal_nan=True)
    torch.testing.assert_close(found[0].raw.distance, found[1].raw.distance, rtol=tolerance, atol=tolerance)
    # 2^-bits is the root of a product of 1 - kappa^2, whose errors are those of the residuals.
    unexplained = [torch.exp2(-report.bits) for report in found]
    torch.testing.assert_close(*unexplained, rtol=0, atol=10 * tolerance, equal_nan=True)
    assert found[0].backend == "cpu"
    assert found[0].rows == found[1].rows
    return found[0]


@pytest.mark.parametrize("layers", [1, 2], ids=["1-layer", "2-layers"])
@pytest.mark.parametrize("size", [1, 7, 63])
@pytest.mark.parametrize("unit", list(UNITS))
def test_units_and_sizes(unit, size, layers):
    torch.manual_seed(1)
    model = UNITS[unit](3, size, num_layers=layers)
    check(model, torch.randn(400, 3, 3), lags=3, washout=20)


@pytest.mark.parametrize("size", [100, 257])
@pytest.mark.parametrize("unit", list(UNITS))
def test_large_sizes(unit, size):
    torch.manual_seed(2)
    check(UNITS[unit](2, size), torch.randn(700, 8, 2), lags=[0, 1, 5], washout=20, state="full")


@pytest.mark.parametrize("streams", [1, 2, 9, 17])
def test_numbers_of_streams(streams):
    torch.manual_seed(3)
    check(torch.nn.GRU(2, 10), torch.randn(700, streams, 2), lags=4)


@pytest.mark.parametrize("state", ["output", "full"])
@pytest.mark.parametrize("cell", list(CELLS))
def test_cells(cell, state):
    torch.manual_seed(4)
    check(CELLS[cell](2, 9), torch.randn(600, 2, 2), lags=4, state=state)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_echo_state(activation, bias):
    torch.manual_seed(5)
    weights = torch.randn(11, 2), 0.2 * torch.randn(11, 11), torch.randn(11) if bias else None
    unit = EchoState(*weights, leak=0.7, activation=activation)
    check(unit, torch.randn(600, 3, 2), lags=4)


def test_float64():
    torch.manual_seed(6)
    inputs = torch.randn(600, 3, 2, dtype=torch.float64)
    check(torch.nn.LSTM(2, 13).double(), inputs, torch.float64, lags=4, state="full")


def test_non_contiguous_batch_first_and_a_lower_layer():
    torch.manual_seed(7)
    wide = torch.randn(3, 600, 4)[..., ::2]
    assert not wide.is_contiguous()
    model = torch.nn.GRU(2, 8, num_layers=3, batch_first=True)
    lower = check(model, wide, lags=3, layer=1)
    last = check(model, wide, lags=3)
    assert (lower.retention - last.retention).abs().max() > 1e-3
    time_first = torch.nn.GRU(2, 8, num_layers=3)
    time_first.load_state_dict(model.state_dict())
    same = rnnmem.assess(time_first, wide.transpose(0, 1), lags=3, backend="cpu")
    torch.testing.assert_close(same.retention, last.retention, rtol=0, atol=1e-12)


@pytest.mark.parametrize("split", ["time", "streams"])
def test_lengths(split):
    torch.manual_seed(8)
    lengths = torch.randint(250, 500, (40,)) if split == "time" else torch.randint(4, 20, (40,))
    inputs = torch.randn(500 if split == "time" else 20, 40, 2)
    check(torch.nn.LSTM(2, 6), inputs, lags=3, split=split, lengths=lengths)


@pytest.mark.parametrize("words", [12, 5000])
def test_tokens_and_a_table(words):
    torch.manual_seed(9)
    tokens = torch.randint(0, words, (900, 4))
    embedding = torch.nn.Embedding(words, 6)
    report = check(torch.nn.GRU(6, 9), tokens, embedding=embedding, semantics=torch.randn(words, 3), lags=4)
    assert report.by_token_class is not None


def test_more_than_256_dimensions_are_projected():
    torch.manual_seed(10)
    table = torch.randn(50, 300)
    report = check(
        torch.nn.RNN(4, 8),
        torch.randint(0, 50, (1500, 4)),
        embedding=torch.randn(50, 4),
        semantics=table,
        lags=2,
        innovation_order=1,
    )
    assert any("300 dimensions" in line for line in report.warnings)
