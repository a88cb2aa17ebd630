"""Indicators as pure functions, on curves made by hand."""

import pytest
import torch

import rnnmem
from rnnmem.indicators.bits import bits_kept, kept_correlations, utilisation
from rnnmem.indicators.ceiling import own_capacity_ceiling
from rnnmem.indicators.curve import Curve
from rnnmem.indicators.hull_coverage import hull_coverage, quantile
from rnnmem.indicators.memory_amount import capacity, capacity_at_least, last_lag, memory_amount
from rnnmem.indicators.memory_horizon import memory_horizon
from rnnmem.indicators.span import half_life, horizon, span
from rnnmem.indicators.suitable_length import suitable_length_memory
from rnnmem.innovations import Innovations, Predictor

NAN = float("nan")


def curve(lags, retention, se=0.01, blocks=20):
    """A curve of given retention, its jackknife made to give `se` at every lag."""
    values = torch.tensor(retention, dtype=torch.float64)
    shift = torch.zeros(blocks, 1, dtype=torch.float64)
    shift[0], shift[1] = 1, -1
    # The jackknife's variance of this shift is (g - 1) / g * 2 a^2.
    jackknife = values + shift * se * (blocks / (2 * (blocks - 1))) ** 0.5
    ones = torch.ones_like(values)
    return Curve(torch.tensor(lags), values, values, 1 - values, ones, jackknife, 0 * ones)


def test_standard_error_of_the_made_curve():
    torch.testing.assert_close(curve([0, 1], [0.5, 0.2]).se, torch.full((2,), 0.01, dtype=torch.float64))


def test_sums_are_linear_between_lags_and_stop_at_the_last_significant():
    made = curve([0, 2, 6, 10], [1.0, 0.6, 0.2, 0.0])
    assert last_lag(made) == 6
    # 1, .8, .6, .5, .4, .3, .2
    assert capacity(made) == pytest.approx(3.8)
    assert memory_amount(made, 3) == pytest.approx(2.4)
    assert capacity_at_least(made) is False
    assert capacity_at_least(curve([0, 2], [1.0, 0.6])) is True


def test_sums_stop_before_a_nan_and_without_blocks_take_every_lag():
    assert capacity(curve([0, 1, 2, 3], [1.0, 0.5, NAN, 0.4])) == pytest.approx(1.5)
    few = curve([0, 1, 2], [1.0, 0.5, 0.001], blocks=8)
    assert capacity(few) == pytest.approx(1.501)
    assert capacity_at_least(few) is None
    assert horizon(few) is None


def test_nothing_significant_is_a_capacity_of_zero():
    made = curve([0, 1], [0.005, 0.004])
    assert capacity(made) == 0.0
    assert horizon(made) is None
    assert span(made) is None
    assert half_life(made) is None
    assert suitable_length_memory(made).length is None


def test_no_lag_zero_leaves_the_horizon():
    made = curve([2, 5], [0.5, 0.3])
    assert capacity(made) is None
    assert span(made) is None
    assert half_life(made) is None
    assert horizon(made) == 5


def test_span_and_half_life():
    made = curve([0, 1, 2, 4], [0.8, 0.6, 0.45, 0.05])
    assert span(made, 0.5) == 2
    assert span(made, 0.7) == 1
    assert half_life(made) == pytest.approx(2 + 2 * (0.45 - 0.4) / (0.45 - 0.05))
    assert half_life(curve([0, 1], [0.8, 0.6])) is None
    assert half_life(curve([0, 1, 2], [0.8, NAN, 0.1])) is None


def test_memory_horizon_ends_at_the_first_sampled_lag_that_inference_explains():
    own = curve([0, 1, 2, 3, 4], [1.0, 0.5, 0.3, 0.2, 0.2])
    se = torch.full((5,), 0.01, dtype=torch.float64)
    control = torch.tensor([NAN, 0.1, NAN, 0.19, 0.0], dtype=torch.float64)
    assert memory_horizon(own, control, se) == 1
    assert memory_horizon(own, None, None) is None
    assert memory_horizon(own, control, torch.full((5,), NAN, dtype=torch.float64)) is None
    assert memory_horizon(own, torch.ones(5, dtype=torch.float64), se) == 0


def test_memory_horizon_does_not_jump_a_lag_whose_control_could_not_be_measured():
    own = curve([0, 1, 2, 3], [1.0, 0.5, 0.0, 0.3])
    se = torch.full((4,), 0.01, dtype=torch.float64)
    control = torch.tensor([NAN, 0.1, NAN, 0.0], dtype=torch.float64)
    assert memory_horizon(own, control, se, sampled=[1, 3]) == 3
    assert memory_horizon(own, control, se, sampled=[1, 2, 3]) == 1
    assert memory_horizon(own, torch.full((4,), NAN, dtype=torch.float64), se, sampled=[1, 2, 3]) is None


def test_suitable_length_of_a_long_grid_is_that_of_the_amounts_and_comes_at_once():
    lags = [0, 1, 2, 8, 100, 20_000]
    made = curve(lags, [1.0, 0.9, 0.8, 0.5, 0.1, 0.0], se=0.001)
    advice, total = suitable_length_memory(made), capacity(made)
    assert memory_amount(made, advice.length) >= 0.95 * total > memory_amount(made, advice.length - 1)


def test_suitable_length_is_the_shortest_that_holds_95_percent():
    made = curve([0, 1, 2, 3], [1.0, 0.9, 0.05, 0.0], se=0.005)
    advice = suitable_length_memory(made)
    assert advice.length == 2
    assert advice.evidence["amount"] == pytest.approx(1.9)
    assert suitable_length_memory(curve([0, 1], [1.0, 0.9])).length is None


def test_bits_of_correlated_gaussians_do_not_change_with_the_basis():
    torch.manual_seed(0)
    target = torch.eye(3, dtype=torch.float64)
    residual = torch.diag(torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64))
    basis = torch.randn(3, 3, dtype=torch.float64)
    plain = kept_correlations(target[None], residual[None])
    turned = kept_correlations((basis @ target @ basis.T)[None], (basis @ residual @ basis.T)[None])
    assert bits_kept(plain, None).item() == pytest.approx(1.5)  # half of log2 4 + log2 2
    assert bits_kept(turned, None).item() == pytest.approx(1.5)
    assert bits_kept(plain, 1.2).item() == 1.2
    assert utilisation(plain, torch.tensor([0]), 0, 3) == pytest.approx((0.75 + 0.5) / 3)
    assert utilisation(plain, torch.tensor([2]), 8, 3) is None


def test_a_direction_without_variance_carries_no_bits():
    target = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    residual = torch.diag(torch.tensor([0.25, 0.0], dtype=torch.float64))
    assert bits_kept(kept_correlations(target[None], residual[None]), None).item() == pytest.approx(1.0)


def test_the_ceiling_takes_the_largest_shares_of_all_lags():
    zero = torch.zeros(2, dtype=torch.float64)
    predictor = Predictor(zero[None, :0], zero, zero[None, :0], zero[None], 10)
    spectra = torch.tensor([[0.1, 0.9], [0.4, 0.6]], dtype=torch.float64)
    innovations = Innovations((predictor, predictor))
    # Lags 0, 1, 2 share .9 .6 .6 .4 .4 .1 of their variance.
    assert own_capacity_ceiling(innovations, spectra, 3, 2) == pytest.approx(2.1)
    assert own_capacity_ceiling(innovations, spectra, 99, 2) == pytest.approx(3.0)


def test_quantiles_are_linear_within_a_bin():
    counts = torch.tensor([[0, 10, 30, 0]])
    assert quantile(counts, 0.05).item() == pytest.approx(1.2)
    assert quantile(counts, 0.5).item() == pytest.approx(2 + 10 / 30)


def test_hull_coverage_of_half_the_width():
    wide = torch.zeros(1, 1, 100, dtype=torch.int64)
    wide[..., :] = 10
    half = torch.zeros(1, 1, 100, dtype=torch.int64)
    half[..., 25:75] = 20
    narrow = torch.zeros(1, 1, 100, dtype=torch.int64)
    narrow[..., 50] = 1000
    ranges = torch.tensor([[0.0, 1.0]])
    found = hull_coverage(torch.cat((half, narrow)), wide, ranges, torch.tensor([0.3], dtype=torch.float64))
    # The null map's points lie in one bin of a hundred.
    assert found.item() == pytest.approx((0.5**2 - 0.7 * 0.01**2) ** 0.5, abs=1e-9)


def test_hull_coverage_of_a_delay_line_is_whole_up_to_its_length():
    torch.manual_seed(0)
    unit = rnnmem.units.EchoState(
        torch.eye(4)[:, :1].clone(), torch.eye(4).roll(1, 0).tril(), activation="identity"
    )
    report = rnnmem.assess(unit, torch.randn(6000, 2, 1), lags=7, innovation_order=0)
    # Eight directions of one dimension are the same; 6,000 rows place a 5 % quantile to 1 %.
    expected = torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    torch.testing.assert_close(report.hull_coverage, expected, rtol=0, atol=0.05)
