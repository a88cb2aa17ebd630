"""Recall from random features of the state: what is folded, what is not, and what is not there."""

import numpy as np
import pytest
import torch

import rnnmem
from rnnmem.chunks import Chunk
from rnnmem.features import COUNT, FeatureRunner
from rnnmem.units import EchoState

BACKENDS = ("reference", "cpu")


def delay_line(slots, width):
    """A shift of `slots` inputs of `width` numbers each."""
    shift = np.kron(np.eye(slots, k=-1), np.eye(width))
    read = np.kron(np.eye(slots, 1), np.eye(width))
    return EchoState(torch.as_tensor(read), torch.as_tensor(shift), activation="identity")


def white(steps, streams, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(steps, streams, size, generator=generator, dtype=torch.float64) - 1


def measure(model, inputs, **options):
    options = {"lags": 4, "measures": ("kept",), "readout": "features", "washout": 10, **options}
    return rnnmem.assess(model, inputs, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_product_of_what_is_held_is_found_only_by_features(backend):
    inputs = white(4000, 4, 2)
    product = inputs.prod(dim=2, keepdim=True)
    report = measure(delay_line(2, 2), inputs, semantics=product, backend=backend)
    held, linear = report.retention, report.controls["linear"]
    assert (held[:2] > 0.97).all(), held
    assert (linear[:2].abs() < 4 * report.controls["linear_se"][:2]).all(), linear
    assert (held[2:].abs() < 4 * report.retention_se[2:]).all(), held
    assert report.utilisation is None
    assert "folded form" in str(report)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_laid_out_linearly_is_found_as_well(backend):
    report = measure(delay_line(3, 1), white(4000, 4, 1), backend=backend)
    torch.testing.assert_close(report.retention[:3], torch.ones(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(report.retention[:3], report.controls["linear"][:3], atol=1e-5, rtol=0)
    assert (report.retention[3:].abs() < 4 * report.retention_se[3:]).all()
    assert report.memory_horizon == 2
    assert "nothing measurable is held in a folded form" in str(report)


def test_the_linear_curves_are_those_of_a_linear_reading():
    inputs = white(1500, 8, 2, seed=1)
    model = torch.nn.GRU(2, 6).double()
    linear = measure(model, inputs, readout="linear")
    report = measure(model, inputs)
    for name, value in (
        ("linear", linear.retention),
        ("linear_se", linear.retention_se),
        ("linear_own", linear.own_retention),
        ("linear_own_se", linear.own_retention_se),
    ):
        assert torch.equal(report.controls[name], value)
        assert linear.controls[name] is None
    # Sums over other chunks, which are as long as the features allow.
    torch.testing.assert_close(report.controls["window"], linear.controls["window"], atol=1e-12, rtol=0)
    assert report.settings["features"] == linear.settings["features"] + COUNT


@pytest.mark.parametrize("split", ["time", "streams"])
def test_features_of_states_that_ignore_the_input_find_nothing(split):
    class Noise:
        def init_state(self, batch):
            return torch.zeros(batch, 5, dtype=torch.float64)

        def step(self, x_t, state):
            new = 0.5 * state + torch.randn(state.shape, dtype=torch.float64)
            return new, new

    torch.manual_seed(0)
    inputs = white(300, 80, 1)
    report = measure(Noise(), inputs, split=split, lags=[0, 1, 3])
    assert (report.retention.abs() < 3.5 * report.retention_se).all(), report.retention


def test_features_against_numpy_and_the_same_for_the_same_seed():
    model = delay_line(2, 1)
    inputs = white(50, 3, 1)
    network = rnnmem.session.open_session(
        model, inputs, embedding=None, semantics=None, lengths=None, reset=None,
        layer=-1, full=False, backend="reference", seed=0,
    )  # fmt: skip
    mean, scale = torch.tensor([0.2, 0.1]).double(), torch.tensor([4.0, 0.25]).double()
    system = rnnmem.ridge.RidgeSystem(mean, torch.diag(scale), 0.0)
    age = torch.arange(50).unsqueeze(1).expand(50, 3)
    chunk = Chunk(inputs, inputs, None, age, None, 0, 0)
    values, again, other = (
        (runner := FeatureRunner(network.runner(), system, seed)).store(chunk, runner.init_state(3))[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(values, again)
    assert not torch.equal(values, other)
    weight = FeatureRunner(network.runner(), system, 0).weight * scale.sqrt()[:, None]
    assert abs(float(weight.square().sum(0).mean()) - 1) < 0.2
    state = values[..., :2].numpy()
    drawn = torch.randn(3, COUNT, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    standard = (state - mean.numpy()) / np.sqrt(scale.numpy())
    expected = np.tanh(standard @ drawn[:2] / np.sqrt(2) + drawn[2])
    np.testing.assert_allclose(values[..., 2:].numpy(), expected, atol=1e-12)


def test_units_that_never_move_add_nothing():
    read, shift = torch.zeros(3, 1).double(), torch.zeros(3, 3).double()
    read[0] = 1.0
    report = measure(EchoState(read, shift, torch.ones(3).double(), activation="identity"), white(2000, 4, 1))
    assert float(report.retention[0]) > 0.999
    assert report.retention.isfinite().all()


def test_files_keep_both_curves(tmp_path):
    report = measure(torch.nn.RNN(2, 4), white(1500, 4, 2).float())
    report.save(tmp_path / "report.json")
    again = rnnmem.MemoryReport.load(tmp_path / "report.json")
    assert torch.equal(again.controls["linear_own"], report.controls["linear_own"])
    report.save(tmp_path / "report.html")
    assert "Own retention, linear reading" in (tmp_path / "report.html").read_text()


def test_without_standard_errors_nothing_is_said_to_be_folded():
    inputs = white(6000, 1, 2)
    report = measure(delay_line(2, 2), inputs, semantics=inputs.prod(dim=2, keepdim=True), lags=60)
    assert not report.own.judged
    assert "cannot be told without standard errors" in str(report)
    assert "finds less:" not in str(report)
