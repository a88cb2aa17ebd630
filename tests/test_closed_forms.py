"""Networks whose memory is known exactly, on every backend; closed_forms has tolerances and their reasons."""

import closed_forms
import numpy as np
import pytest
import torch

import rnnmem
from rnnmem.units import EchoState

BACKENDS = ["reference", "cpu"]
CASES = {case.name: case for case in closed_forms.all_cases()}


def assess(case, backend, dtype=torch.float32, **options):
    unit = EchoState(
        torch.as_tensor(case.w_ih, dtype=dtype),
        torch.as_tensor(case.w_hh, dtype=dtype),
        activation="identity",
    )
    inputs = torch.as_tensor(case.inputs, dtype=dtype)
    semantics = None
    if case.semantics.shape != case.inputs.shape or (case.semantics != case.inputs).any():
        semantics = torch.as_tensor(case.semantics, dtype=dtype)
    options = {"lags": case.lags.tolist(), "backend": backend, **options}
    return rnnmem.assess(unit, inputs, semantics=semantics, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(CASES))
def test_retention_and_own_retention(name, backend):
    case = CASES[name]
    report = assess(case, backend)
    slack = 2e-5  # float32 states
    assert (np.abs(report.retention.numpy() - case.retention) <= case.tolerance + slack).all()
    assert (np.abs(report.own_retention.numpy() - case.own_retention) <= case.own_tolerance + slack).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("phi", [0.0, 0.9], ids=["white", "ar"])
def test_delay_line_keeps_as_many_tokens_as_it_has_units(phi, backend):
    case = closed_forms.delay_line(H=6, phi=phi, max_lag=12)
    report = assess(case, backend)
    assert report.own_capacity == pytest.approx(6, abs=0.02)
    assert report.own_capacity_ceiling == pytest.approx(6, abs=1e-6)
    assert report.memory_horizon == 5
    assert not report.own_capacity_at_least
    assert report.suitable_length().length == 6
    if phi:
        assert report.capacity > 6.1
    else:
        assert report.capacity == pytest.approx(6, abs=0.02)
        assert report.utilisation is None


def test_utilisation_of_a_delay_line_is_whole_with_a_predictor_as_long_as_the_lags():
    case = closed_forms.delay_line(H=6, max_lag=12)
    report = assess(case, "cpu", innovation_order=12)
    assert report.utilisation == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cyclic_shift_capacity(backend):
    H, lam, turns = 5, 0.9, 4
    report = assess(closed_forms.cyclic_shift(H=H, lam=lam, turns=turns), backend)
    # The sum of the tolerances of 20 lags, as if they were fully correlated, is 0.15.
    assert report.capacity == pytest.approx(H * (1 - lam ** (2 * H * turns)), abs=0.15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_orthogonal_reservoir_has_capacity_h_to_two_percent(backend):
    case = closed_forms.scaled_orthogonal(H=8, lam=0.9)
    report = assess(case, backend, lags=list(range(60)))
    assert report.capacity == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memoryless_unit_has_no_memory_horizon(backend):
    report = assess(closed_forms.memoryless(phi=0.9), backend)
    assert report.memory_horizon == 0
    assert report.own_horizon == 0
    assert report.capacity > 3  # what an affine readout takes from predictable inputs
    assert report.own_capacity == pytest.approx(1, abs=0.01)


def test_leaky_integrator_indicators():
    a = 0.8
    report = assess(closed_forms.leaky_integrator(a=a), "cpu")
    n = 5
    assert report.memory_amount(n) == pytest.approx(1 - a ** (2 * n), abs=0.03)
    assert report.density(n) == pytest.approx((1 - a ** (2 * n)) / n, abs=0.006)
    assert report.relative_distance(n) == pytest.approx((1 - (1 - a ** (2 * n)) / n) ** 0.5, abs=0.01)
    # 0.8^2 = .64 and 0.8^4 = .41: half is crossed between lags 1 and 2 at 1 + (.64 - .5) / (.64 - .4096).
    assert report.half_life == pytest.approx(1.61, abs=0.1)
    assert report.span(0.5) == 1
    expected_bits = -0.5 * np.log2(1 - case_retention(a, report.lags.numpy()))
    np.testing.assert_allclose(report.bits, expected_bits, atol=0.03)


def case_retention(a, lags):
    return (1 - a * a) * a ** (2 * lags)


def test_states_that_ignore_the_input_keep_nothing():
    """Within q se of zero at every lag in 90 % of 40 repetitions; P(fewer than 36 | .975 each) < .02."""
    good = 0
    for seed in range(40):
        case = closed_forms.independent(H=8, phi=0.5, T=6000, seed=seed)
        inputs = torch.as_tensor(case.inputs, dtype=torch.float64)
        unit = EchoState(torch.as_tensor(case.w_ih), torch.as_tensor(case.w_hh), activation="identity")
        semantics = torch.as_tensor(case.semantics)
        report = rnnmem.assess(
            unit, inputs, semantics=semantics, lags=case.lags.tolist(), innovation_order=0, backend="cpu"
        )
        good += bool((report.retention.abs() <= report.raw.quantile * report.retention_se).all())
    assert good >= 36
