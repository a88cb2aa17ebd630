"""The closed-form truths of the definitions, checked on the numpy oracle that the other tests trust."""

import closed_forms as cf
import numpy as np
import oracle
import pytest
from scipy import special

CASES = cf.all_cases()


@pytest.fixture(scope="module")
def measured():
    """Every case measured once."""
    return {c.name: oracle.measure(c.states(), c.semantics, c.lags) for c in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_expected_curves(case, measured):
    m = measured[case.name]
    assert (np.abs(m.raw.retention - case.retention) < case.tolerance).all()
    assert (np.abs(m.own.retention - case.own_retention) < case.own_tolerance).all()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_own_capacity_stays_under_its_ceiling(case, measured):
    m = measured[case.name]
    value, se, _ = oracle.capacity(m.own)
    assert value <= m.ceiling + 3 * se + 1e-9
    assert m.ceiling <= m.own.rank + 1e-9


def test_delay_line_indicators():
    c = cf.delay_line(H=6)
    m = oracle.measure(c.states(), c.semantics, c.lags, innovation_order=12)
    value, se, at_least = oracle.capacity(m.raw)
    assert value == pytest.approx(6.0, abs=1e-9)
    assert se < 1e-9
    assert at_least is False
    assert oracle.horizon(m.raw) == 5
    assert oracle.span(m.raw) == 5
    assert oracle.span(m.raw, 0.99) == 5
    assert oracle.half_life(m.raw) == pytest.approx(5.5, abs=1e-3)
    assert oracle.memory_length(m.own) == 6
    assert oracle.memory_amount(m.raw, 4)[0] == pytest.approx(4.0, abs=1e-9)
    assert oracle.density(m.raw, 12) == pytest.approx(0.5, abs=1e-9)
    assert oracle.relative_distance(m.raw, 12) == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert m.own.bits[:6] == pytest.approx(-0.5 * np.log2(1e-6), abs=1e-6)
    assert m.own.bits[6:] == pytest.approx(0.0, abs=2e-3)
    assert m.utilisation == pytest.approx(1.0, abs=2e-3)
    assert m.ceiling == pytest.approx(6.0, abs=1e-9)


def test_own_capacity_of_a_delay_line_ignores_the_inputs_memory(measured):
    m = measured["delay line H=6 phi=0.9"]
    assert oracle.capacity(m.own)[0] == pytest.approx(6.0, abs=2e-3)
    assert oracle.capacity(m.raw)[0] > 8.0


def test_leaky_integrator_bits(measured):
    case = next(c for c in CASES if c.name.startswith("leaky"))
    bits = -0.5 * np.log2(1 - case.retention)
    assert measured[case.name].raw.bits == pytest.approx(bits, abs=0.02)


def test_capacity_interpolates_between_grid_lags():
    c = cf.leaky_integrator(a=0.9)
    lags = np.array([0, 1, 2, 4, 7, 11, 15])
    sparse = oracle.measure(c.states(), c.semantics, lags).raw
    expected = np.interp(np.arange(16), lags, sparse.retention).sum()
    assert sparse.significant[-1]
    assert oracle.capacity(sparse)[0] == pytest.approx(expected)
    assert oracle.memory_amount(sparse, 6)[0] == pytest.approx(
        np.interp(np.arange(6), lags, sparse.retention).sum()
    )


def test_no_significant_lag_gives_zero(measured):
    m = measured["independent H=8 phi=0.5"]
    assert oracle.capacity(m.raw)[0] == 0.0
    assert oracle.span(m.raw) is None
    assert oracle.half_life(m.raw) is None


def test_correction_centres_independent_states():
    """Held-out retention sits at -H_eff/N; corrected, its mean is 0 within 4 of its own deviations."""
    rng = np.random.default_rng(0)
    heldout, corrected = [], []
    for _ in range(150):
        h = rng.standard_normal((600, 1, 8))
        x = rng.standard_normal((600, 1, 1))
        c = oracle.measure(h, x, [0, 1], washout=0, innovation_order=0, w0=16).raw
        heldout.append(c.heldout[0])
        corrected.append(c.retention[0])
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert np.mean(heldout) < -4 * error
    assert abs(np.mean(corrected)) < 4 * error


def test_the_future_of_the_fit_part_is_not_seen():
    c = cf.leaky_integrator(T=2000)
    h = c.states()
    a = oracle.measure(h, c.semantics, [0, 1, 3])
    changed_h, changed_e = h.copy(), c.semantics.copy()
    changed_h[1000:], changed_e[1000:] = 7.0, -3.0
    b = oracle.measure(changed_h, changed_e, [0, 1, 3])
    for name in ("weight", "bias", "h_eff", "n_eff", "d_eff"):
        np.testing.assert_array_equal(getattr(a.raw, name), getattr(b.raw, name))
        np.testing.assert_array_equal(getattr(a.own, name), getattr(b.own, name))


def test_padding_is_never_read():
    c = cf.delay_line(T=900, B=40)
    h, e = c.states(), c.semantics.copy()
    lengths = np.random.default_rng(3).integers(20, 40, 40)
    h, e = h[:40], e[:40]
    a = oracle.measure(h, e, [0, 2, 5, 6], split="streams", lengths=lengths, innovation_order=3)
    for b, n in enumerate(lengths):
        h[n:, b], e[n:, b] = np.nan, np.nan
    b = oracle.measure(h, e, [0, 2, 5, 6], split="streams", lengths=lengths, innovation_order=3)
    np.testing.assert_array_equal(a.raw.retention, b.raw.retention)
    np.testing.assert_array_equal(a.own.n_eff, b.own.n_eff)
    assert a.raw.retention[:3] == pytest.approx(1.0, abs=1e-6)
    assert a.raw.fit_rows.tolist() == [np.maximum(lengths[:20] - lag, 0).sum() for lag in (0, 2, 5, 6)]


def test_invertible_maps_of_the_semantics_keep_the_bits():
    """Up to the effective rows, which weigh the residuals' components by their size."""
    c = cf.vector_delay_line(slots=1, dim=3)
    h = c.states() + 0.7 * np.random.default_rng(1).standard_normal((6000, 2, 3))
    A = np.random.default_rng(2).standard_normal((3, 3))
    a = oracle.measure(h, c.semantics, [0, 1])
    b = oracle.measure(h, c.semantics @ A.T, [0, 1])
    assert a.raw.bits[0] == pytest.approx(b.raw.bits[0], rel=1e-4)
    assert abs(a.raw.retention[0] - b.raw.retention[0]) > 1e-3


def test_bands_add_up():
    rng = np.random.default_rng(5)
    tokens = rng.geometric(0.1, (1500, 3)) - 1
    table = rng.standard_normal((tokens.max() + 1, 4))
    e = table[tokens]
    h = e + rng.standard_normal(e.shape)
    m = oracle.measure(h, e, [0, 1, 2], tokens=tokens)
    for bands in (m.by_token_class, m.by_position):
        lag = np.array(bands["lag"])
        rows, distance = np.array(bands["rows"]), np.array(bands["distance"])
        for k in range(3):
            here = lag == k
            assert rows[here].sum() == m.raw.measured_rows[k]
            assert (rows * distance**2)[here].sum() / rows[here].sum() == pytest.approx(m.raw.D[k])
    assert set(m.by_token_class["band"]) == {0, 1, 2, 3, 4}
    assert len(set(m.by_position["first_step"])) <= 16
    counts = np.bincount(tokens[100:750].ravel())
    share = counts / counts.sum()
    assert m.token_entropy == pytest.approx(special.entr(share).sum() / np.log(2))


def test_blocks_fall_back_to_streams():
    rng = np.random.default_rng(7)
    h, e = rng.standard_normal((60, 150, 2)), rng.standard_normal((60, 150, 1))
    assert oracle.measure(h, e, [0, 1], split="streams", w0=16).raw.blocks == 38  # 75 streams, two to a block
    few = oracle.measure(h[:, :20], e[:, :20], [0, 1], split="streams", w0=16).raw
    assert few.blocks == 4
    assert np.isnan(few.se).all()
    assert oracle.capacity(few)[2] is None


def test_streams_of_their_own_make_the_blocks():
    rng = np.random.default_rng(7)
    h, e = rng.standard_normal((900, 40, 2)), rng.standard_normal((900, 40, 1))
    assert oracle.measure(h, e, [0, 1], split="streams", w0=16).raw.blocks == 20  # not 57 blocks of time
    assert oracle.measure(h[:, :20], e[:, :20], [0, 1], split="streams", w0=16).raw.blocks > 16
    assert oracle.measure(h, e, [0, 1], split="time", w0=16).raw.blocks > 20


def test_too_few_effective_rows():
    rng = np.random.default_rng(8)
    h, e = rng.standard_normal((100, 1, 20)), rng.standard_normal((100, 1, 1))
    with pytest.raises(ValueError, match="lag 0"):
        oracle.measure(h, e, [0, 1], washout=0)
    assert np.isnan(oracle.measure(h, e, [1, 2], washout=0).raw.retention).all()


def test_constant_units_are_dropped():
    c = cf.leaky_integrator(T=2000)
    h = np.concatenate([c.states(), np.full((2000, 2, 1), 3.0)], axis=2)
    a, b = oracle.measure(c.states(), c.semantics, [0, 1]).raw, oracle.measure(h, c.semantics, [0, 1]).raw
    np.testing.assert_allclose(a.retention, b.retention, rtol=1e-12)
    assert (b.weight[:, :, 1] == 0).all()
    assert b.rank == 1


def test_population_curves_agree_with_the_closed_forms():
    for case, phi in ((cf.leaky_integrator(), 0.0), (cf.cyclic_shift(), 0.0), (cf.delay_line(phi=0.9), 0.9)):
        raw, own = cf.population_curves(case.w_hh, case.w_ih, case.lags, phi)
        np.testing.assert_allclose(raw, case.retention, atol=1e-9)
        np.testing.assert_allclose(own, case.own_retention, atol=1e-9)


def test_cyclic_shift_capacity():
    case = cf.cyclic_shift(H=5, lam=0.9, turns=4)
    assert case.capacity == pytest.approx(5 * (1 - 0.9**40))


def test_rows_given_one_by_one_agree_with_the_stream():
    c = cf.leaky_integrator(T=3000)
    h, e = c.states(), c.semantics
    m = oracle.measure(h, e, [2], innovation_order=0, w0=32).raw
    fitted, measured = oracle.Rows(3000, 2, 2, "time", 0.5, 100, np.full(2, 3000)).masks(2)
    y = oracle.shifted(e, 2)
    block = (np.arange(3000)[:, None] // 32 + np.zeros((1, 2), int))[measured]
    fit = (h, np.nan_to_num(y), fitted, None)
    value, se = oracle.paired_retention(fit, h[measured], y[measured], block - block.min(), 1e-6)
    assert value == pytest.approx(m.retention[0])
    assert se == pytest.approx(m.se[0])


def test_memory_horizon():
    c = cf.delay_line(phi=0.9, T=6000)
    own = oracle.measure(c.states(), c.semantics, c.lags).own
    nothing = np.zeros(len(c.lags))
    assert oracle.memory_horizon(own, nothing, nothing) == 5
    assert oracle.memory_horizon(own, np.ones(len(c.lags)), nothing) == 0
    sampled = np.where(c.lags % 3 == 0, 0.0, np.nan)
    assert oracle.memory_horizon(own, sampled, nothing) == 3


def test_controls_know_the_newest_tokens_only():
    x = cf.ar1(6000, 2, 1, 0.9)
    memoryless, window = oracle.controls(x, [0, 1, 3, 4, 8], 4)
    expected = 0.9 ** (2.0 * np.array([0, 1, 3, 4, 8]))
    assert memoryless.retention == pytest.approx(expected, abs=0.1)
    assert window.retention[:3] == pytest.approx(1.0, abs=1e-4)
    assert window.retention[3:] == pytest.approx(0.9 ** (2.0 * np.array([1, 5])), abs=0.1)
