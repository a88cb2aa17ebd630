"""The functions beside the curves against closed forms and against computations of their own."""

import math

import numpy as np
import pytest
import torch

import rnnmem
from rnnmem.measures import information_processing
from rnnmem.measures.lyapunov import frame
from rnnmem.units import UNITS, EchoState, Weights


def linear(w_hh, w_in=None, **options):
    """A linear unit with one input, float64."""
    w_hh = torch.as_tensor(np.asarray(w_hh), dtype=torch.float64)
    w_in = torch.eye(len(w_hh), 1) if w_in is None else torch.as_tensor(np.asarray(w_in)).view(-1, 1)
    return EchoState(w_in.double(), w_hh, activation="identity", **options)


def delay_line(size):
    return linear(np.eye(size, k=-1))


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def noise(steps, batch=1, size=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, size, dtype=torch.float64, generator=generator)


# Fisher memory.


def test_fisher_memory_of_a_delay_line():
    shift, first = np.eye(9, k=-1), np.eye(9)[0]
    found = rnnmem.fisher_memory(torch.as_tensor(shift), torch.as_tensor(first), 12)
    expected = [1 / (k + 1) if k < 9 else 0 for k in range(13)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("lam", [0.3, 0.9, 0.99])
def test_fisher_memory_of_a_normal_network(lam):
    v = np.random.default_rng(1).standard_normal(7)
    v /= np.linalg.norm(v)
    found = rnnmem.fisher_memory(torch.as_tensor(lam * orthogonal(7)), torch.as_tensor(v), 3000).numpy()
    np.testing.assert_allclose(found, (1 - lam**2) * lam ** (2 * np.arange(3001)), atol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-9)


def test_fisher_memory_against_a_sum_written_out():
    rng = np.random.default_rng(2)
    W, v = 0.3 * rng.standard_normal((6, 6)), rng.standard_normal(6)
    powers = [np.linalg.matrix_power(W, i) for i in range(400)]
    C = sum(p @ p.T for p in powers)
    expected = [(p @ v) @ np.linalg.solve(C, p @ v) for p in powers[:10]]
    found = rnnmem.fisher_memory(torch.as_tensor(W), torch.as_tensor(v), 9)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# Lyapunov exponents.


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_knows_its_own_jacobian(name):
    unit, generator = UNITS[name], torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    H, B, k, G, S = 5, 2, 4, unit.gates, len(unit.state_parts)
    w = Weights(draw(G * H, 3), draw(G * H, H), draw(G * H), draw(G * H), 0.7)
    x, state, dx, dstate = draw(B, 3), draw(S, B, H), draw(k, B, 3), draw(k, S, B, H)
    new, moved = unit.step_tangent(w, x, state, dx, dstate)
    torch.testing.assert_close(new, unit.step(w, x, state), rtol=1e-12, atol=1e-12)
    for each in range(k):
        _, expected = torch.autograd.functional.jvp(
            lambda *at: unit.step(w, *at), (x, state), (dx[each], dstate[each])
        )
        torch.testing.assert_close(moved[each], expected, rtol=1e-10, atol=1e-12)
    still = unit.step_tangent(w, x, state, None, dstate)[1]
    torch.testing.assert_close(still, unit.step_tangent(w, x, state, 0 * dx, dstate)[1])


@pytest.mark.parametrize("qr_every", [1, 3])
def test_exponents_of_linear_networks(qr_every):
    x = noise(1500)
    found = rnnmem.lyapunov_spectrum(linear(0.8 * orthogonal(6)), x, qr_every=qr_every)
    np.testing.assert_allclose(found, np.full(6, math.log(0.8)), atol=1e-12)
    lams = np.array([0.95, -0.7, 0.4])
    found = rnnmem.lyapunov_spectrum(linear(np.diag(lams)), x, qr_every=qr_every)
    np.testing.assert_allclose(found, np.log(np.abs(lams)), atol=1e-12)


@pytest.mark.parametrize("lams", [(0.5, 0.9), (0.2, 0.4, -0.95, 0.7)], ids=str)
def test_a_few_exponents_are_the_largest_wherever_they_are(lams):
    expected = np.sort(np.log(np.abs(lams)))[::-1]
    for k in range(1, len(lams) + 1):
        found = rnnmem.lyapunov_spectrum(linear(np.diag(lams)), noise(600), k=k)
        np.testing.assert_allclose(found, expected[:k], atol=1e-9)


def test_a_network_at_rest_has_the_exponents_of_its_weights():
    w = np.random.default_rng(0).standard_normal((8, 8)) / 8
    unit = EchoState(torch.zeros(8, 1).double(), torch.as_tensor(w))  # its input is nothing
    found = rnnmem.lyapunov_spectrum(unit, noise(4000))
    np.testing.assert_allclose(found, np.sort(np.log(np.abs(np.linalg.eigvals(w))))[::-1], atol=2e-3)


def test_exponents_of_a_gru_with_constant_gates():
    """z = sigmoid(2), r and n constant: dh'/dh = z."""
    gru = torch.nn.GRU(1, 4, dtype=torch.float64)
    with torch.no_grad():
        for p in gru.parameters():
            p.zero_()
        gru.bias_ih_l0[4:8] = 2.0
    found = rnnmem.lyapunov_spectrum(gru, noise(300))
    np.testing.assert_allclose(found, np.full(4, math.log(1 / (1 + math.exp(-2)))), atol=1e-12)


def numpy_spectrum(jacobians, first, washout):
    """QR of products of jacobians [T, B, N, N] from directions [N, k], mean over streams."""
    T, B = jacobians.shape[:2]
    total = np.zeros((B, first.shape[1]))
    for b in range(B):
        Q = first
        for t in range(T):
            Q, R = np.linalg.qr(jacobians[t, b] @ Q)
            if t >= washout:
                total[b] += np.log(np.abs(np.diag(R)))
    return np.sort(total.mean(0) / (T - washout))[::-1]


def test_spectrum_of_a_stacked_lstm_against_numpy():
    torch.manual_seed(0)
    model = torch.nn.LSTM(2, 3, num_layers=2, dtype=torch.float64)
    x = noise(160, 2, 2)
    jacobians = np.zeros((160, 2, 12, 12))
    for b in range(2):
        state = torch.zeros(12, dtype=torch.float64)

        def after(flat, t, b=b):
            h, c = flat.view(2, 2, 3).unbind(1)  # by layer: h, c
            _, (h, c) = model(
                x[t : t + 1, b : b + 1], (h.unsqueeze(1).contiguous(), c.unsqueeze(1).contiguous())
            )
            return torch.stack((h[:, 0], c[:, 0]), dim=1).flatten()

        for t in range(160):
            jacobians[t, b] = torch.autograd.functional.jacobian(lambda s, t=t, b=b: after(s, t, b), state)
            state = after(state, t).detach()
    for count in (12, 5):
        found = rnnmem.lyapunov_spectrum(model, x, k=None if count == 12 else count, washout=40)
        first = frame(x, 1, count, 12)[:, 0].T.numpy()
        np.testing.assert_allclose(first.T @ first, np.eye(count), atol=1e-12)
        np.testing.assert_allclose(found, numpy_spectrum(jacobians, first, 40), atol=1e-6)


class Complicated:
    """A user's object: a tanh network in two pieces of state."""

    def __init__(self, w):
        self.w = w

    def init_state(self, batch):
        zeros = torch.zeros(batch, len(self.w) // 2, dtype=torch.float64)
        return {"a": zeros, "b": (zeros,)}

    def step(self, x_t, state):
        h = torch.cat((state["a"], state["b"][0]), dim=1)
        a, b = torch.tanh(x_t + h @ self.w.T).chunk(2, dim=1)
        return a, {"a": a, "b": (b,)}


def test_an_object_has_the_exponents_of_the_unit_it_is():
    w = torch.as_tensor(orthogonal(6))
    unit = EchoState(torch.ones(6, 1, dtype=torch.float64), w, activation="tanh")
    x = noise(200, 2)
    expected = rnnmem.lyapunov_spectrum(unit, x)
    np.testing.assert_allclose(rnnmem.lyapunov_spectrum(Complicated(w), x), expected, atol=1e-10)


def test_a_chaotic_network_separates_twins_as_fast_as_its_largest_exponent_says():
    size, pairs, start = 64, 500, 1e-9
    rng = np.random.default_rng(0)
    w = 1.8 * rng.standard_normal((size, size)) / math.sqrt(size)
    unit = EchoState(torch.as_tensor(rng.standard_normal((size, 1))), torch.as_tensor(w))
    exponent = float(rnnmem.lyapunov_spectrum(unit, 0.1 * noise(3000, 4), k=1)[0])
    assert exponent > 0
    h = rng.standard_normal((pairs, size))
    inputs = 0.1 * rng.standard_normal((1200, pairs, 1))
    v = unit.weight_ih.numpy()
    for t in range(200):
        h = np.tanh(inputs[t] @ v.T + h @ w.T)
    twin = rng.standard_normal(h.shape)
    twin = h + start * twin / np.linalg.norm(twin, axis=1, keepdims=True)
    logs = []
    for t in range(200, 1200):
        h, twin = np.tanh(inputs[t] @ v.T + h @ w.T), np.tanh(inputs[t] @ v.T + twin @ w.T)
        logs.append(np.log(np.linalg.norm(h - twin, axis=1)))
        if logs[-1].mean() > math.log(1e-3):
            break
    logs = np.array(logs[10:-1])  # the first steps turn towards the fastest direction
    rates = (logs[-1] - logs[0]) / (len(logs) - 1)
    error = 2 * rates.std(ddof=1) / math.sqrt(pairs)
    assert len(logs) > 50
    assert abs(rates.mean() - exponent) < max(0.05 * exponent, error)


# Memory capacity.


def test_capacity_of_a_delay_line():
    found, curve = rnnmem.memory_capacity(delay_line(8), 14, return_curve=True)
    assert found == pytest.approx(7, abs=0.02)  # delays from 1 on: slot 0 holds the current input
    np.testing.assert_allclose(curve[:7], 1, atol=1e-6)
    assert curve[7:].abs().max() < 0.03
    assert rnnmem.memory_capacity(delay_line(8), 14, recipe="common") == pytest.approx(7, abs=0.5)


def test_states_that_ignore_the_input_have_no_capacity_but_by_the_common_recipe():
    class Deaf:
        """H = 100 units of noise."""

        def init_state(self, batch):
            return torch.zeros(batch, 100, dtype=torch.float64)

        def step(self, x_t, state):
            fresh = torch.randn(state.shape, dtype=torch.float64, generator=self.generator)
            return fresh, fresh

    found = {"heldout": [], "common": []}
    for seed in range(6):
        for recipe, values in found.items():
            model = Deaf()
            model.generator = torch.Generator().manual_seed(seed)
            values.append(rnnmem.memory_capacity(model, 100, recipe=recipe, seed=seed))
    assert abs(np.mean(found["heldout"])) < 0.05
    assert 0.3 < np.mean(found["common"]) < 0.7


def test_every_delay_counts_where_significance_is_not_known():
    model, x = delay_line(4), noise(300)
    found, curve = rnnmem.memory_capacity(model, 12, inputs=x, washout=20, return_curve=True)
    assert found == float(curve.sum())
    assert bool((curve[4:] != 0).all())


# Information processing capacity.


def test_processing_capacity_of_a_delay_line_is_linear():
    found = rnnmem.information_processing_capacity(delay_line(5), degree=3, max_delay=8)
    assert found[1] == pytest.approx(5, abs=1e-6)
    assert found[2] == found[3] == 0


def test_processing_capacity_of_a_square():
    """h = (x_t, x_t^2 - 1/3 of the last step and x_t x_{t-1}): one linear, two quadratic targets."""

    class Square:
        def init_state(self, batch):
            return torch.zeros(batch, 1, dtype=torch.float64)

        def step(self, x_t, state):
            return torch.cat((x_t, x_t**2, x_t * state), dim=1), x_t

    found = rnnmem.information_processing_capacity(Square(), degree=3, max_delay=3)
    assert found[1] == pytest.approx(1, abs=1e-6)
    assert found[2] == pytest.approx(2, abs=1e-6)
    assert found[3] == 0


def test_processing_capacity_never_exceeds_the_units():
    torch.manual_seed(0)
    unit = EchoState(torch.randn(12, 1).double(), 0.9 * torch.as_tensor(orthogonal(12)))
    found = rnnmem.information_processing_capacity(unit, degree=3, max_delay=10)
    assert found[1] > 3
    assert found[3] > 0
    assert sum(found.values()) < 12.01


def test_processing_capacity_is_the_same_in_groups_of_targets(monkeypatch):
    unit = EchoState(noise(6)[:, 0], 0.9 * torch.as_tensor(orthogonal(6)))
    whole = rnnmem.information_processing_capacity(unit, degree=3, max_delay=5)
    sizes, block = [], information_processing.block

    def spied(*given):
        values = block(*given)
        sizes.append(values.numel())
        return values

    monkeypatch.setattr(information_processing, "block", spied)
    monkeypatch.setattr(information_processing, "BLOCK_FLOATS", 200_000)
    found = rnnmem.information_processing_capacity(unit, degree=3, max_delay=5)
    assert 100_000 < max(sizes) <= 200_000
    assert sum(sizes) == 50_000 * 83
    for degree, capacity in whole.items():
        assert found[degree] == pytest.approx(capacity, abs=1e-12)


# States and maps.


def test_effective_rank_of_known_spectra():
    x = noise(200_000, 1, 4)
    assert rnnmem.effective_rank(x) == pytest.approx(4, rel=0.01)
    scaled = x * torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert rnnmem.effective_rank(scaled) == pytest.approx(2, rel=0.01)
    variances = np.array([4.0, 2.0, 1.0, 0.5])
    shown = x[:, 0] * torch.as_tensor(np.sqrt(variances))
    expected = variances.sum() ** 2 / (variances**2).sum()
    assert rnnmem.effective_rank(shown) == pytest.approx(expected, rel=0.02)
    few = x[:3, 0]  # fewer states than units
    centred = (few - few.mean(0)).numpy()
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert rnnmem.effective_rank(few) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-9)
    assert rnnmem.effective_rank(torch.full((9, 3), 0.1)) == 0
    assert rnnmem.effective_rank(torch.zeros(9, 3)) == 0
    for scale in (1e-300, 1e-90, 1e90, 1e300):
        assert rnnmem.effective_rank(scale * shown) == pytest.approx(rnnmem.effective_rank(shown), rel=1e-9)


def test_recall_angles_of_a_delay_line_are_right_and_of_a_faded_copy_none():
    maps = rnnmem.fit_recall(delay_line(6), noise(4000), lags=5, innovation_order=0)
    angles = rnnmem.recall_angles(maps)
    np.testing.assert_allclose(angles, np.pi / 2 * (1 - np.eye(6)), atol=0.1)
    leaky = rnnmem.fit_recall(linear([[0.9]]), noise(4000), lags=5, innovation_order=0)
    np.testing.assert_allclose(rnnmem.recall_angles(leaky), 0, atol=1e-7)


def test_recall_angles_are_those_of_scipy():
    from scipy.linalg import subspace_angles

    torch.manual_seed(0)
    maps = rnnmem.fit_recall(torch.nn.GRU(3, 10).double(), noise(3000, 2, 3), lags=6)
    angles = rnnmem.recall_angles(maps)
    for i in range(7):
        for j in range(7):
            one, other = (maps.weight[k].double().numpy().T for k in (i, j))
            assert angles[i, j] == pytest.approx(subspace_angles(one, other).max(), abs=1e-6)


def test_information_of_units_with_known_answers():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.arange(40_000) % 8
    fresh = torch.rand(40_000, generator=generator)
    said = torch.stack([tokens.float(), (tokens // 4).float(), fresh, tokens + 0.9 * fresh], dim=1)
    found = rnnmem.unit_information(said, tokens)
    np.testing.assert_allclose(found, [3, 1, 0, 3], atol=0.01)
    by_stream = rnnmem.unit_information(said.view(400, 100, 4), tokens.view(400, 100))
    np.testing.assert_array_equal(found, by_stream)


def test_information_is_not_biased_by_how_few_rows_there_are():
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        tokens = torch.randint(0, 8, (1000,), generator=generator)
        found.append(float(rnnmem.unit_information(torch.rand(1000, 1, generator=generator), tokens)))
    assert abs(np.mean(found)) < 0.004  # counts alone would say 15 * 7 / (2000 ln 2) = 0.076


def test_entropy_of_units_that_switch_rest_and_spread_out():
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(64_000)
    switch, rest, even = steps % 2 * 0.3 - 7, torch.full((64_000,), 0.4), (steps % 16) / 15
    found = rnnmem.unit_entropy(torch.stack([switch.double(), rest.double(), even.double()], dim=1))
    np.testing.assert_allclose(found, [1, 0, 4], atol=1e-3)
    # Of few values the plain estimate is too low; corrected it is not, to five standard errors.
    small = [float(rnnmem.unit_entropy(torch.rand(200, 1, generator=generator))[0]) for _ in range(300)]
    assert abs(np.mean(small) - 4) < 5 * np.std(small) / 300**0.5 + 2e-3
    assert np.mean(small) - 15 / (2 * 200 * math.log(2)) < 3.96
    both = torch.rand(30, 40, 3, generator=generator)
    np.testing.assert_allclose(rnnmem.unit_entropy(both), rnnmem.unit_entropy(both.flatten(0, 1)))
