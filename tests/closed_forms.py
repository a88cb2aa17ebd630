"""Networks whose memory is known in closed form, in numpy: weights, inputs, lags, and what must come out.

Every case is a linear network h_t = W_hh h_{t-1} + W_ih x_t started at zero, so that any backend can run it;
`states` runs it in float64. `tolerance` is five standard deviations of the estimate, so a failing test is a
wrong result, not bad luck; `reason` says where the number comes from. A float32 run adds about 1e-5.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Case:
    """One network on one input and its expected curves."""

    name: str
    w_hh: np.ndarray  # [H, H]
    w_ih: np.ndarray  # [H, I]
    inputs: np.ndarray  # [T, B, I]
    semantics: np.ndarray  # [T, B, d]: the inputs unless the case says otherwise
    lags: np.ndarray  # [K]
    retention: np.ndarray  # [K]
    own_retention: np.ndarray  # [K]
    tolerance: np.ndarray  # [K], of the retention
    own_tolerance: np.ndarray  # [K]
    reason: str

    @property
    def capacity(self):
        """The sum of the expected curve; a measured one stops at the last significant lag."""
        return float(self.retention.sum())

    @property
    def own_capacity(self):
        return float(self.own_retention.sum())

    def states(self):
        """The states [T, B, H] in float64."""
        return run_linear(self.w_hh, self.w_ih, self.inputs)


def run_linear(w_hh, w_ih, inputs):
    """h_t = W_hh h_{t-1} + W_ih x_t from zero, [T, B, H]."""
    T, B, _ = inputs.shape
    h = np.zeros((B, len(w_hh)))
    out = np.empty((T, B, len(w_hh)))
    for t in range(T):
        h = h @ w_hh.T + inputs[t] @ w_ih.T
        out[t] = h
    return out


def ar1(T, B, dim=1, phi=0.0, seed=0):
    """Stationary Gaussian AR(1) inputs of variance 1, [T, B, dim]; phi = 0 is white."""
    noise = np.random.default_rng(seed).standard_normal((T, B, dim))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for t in range(1, T):
        x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * noise[t]
    return x


def sampling_sd(rho, H, rows, phi=0.0, predictor=False):
    """Standard deviation of a corrected held-out retention at half fit, half measured, `rows` altogether.

    4 ρ (1-ρ)² / N is that of a squared correlation; 2 H / N² + 4 H / N² (both times (1-ρ)²) come from the
    map's error and its product with the measured rows; a fitted innovation predictor adds at most
    4 min(ρ, 1-ρ) / N. Autocorrelated rows count as N (1-φ²) / (1+φ²).
    """
    N = rows / 2 * (1 - phi**2) / (1 + phi**2)
    variance = (1 - rho) ** 2 * (4 * rho / N + 6 * H / N**2)
    return np.sqrt(variance + 4 * np.minimum(rho, 1 - rho) / N) if predictor else np.sqrt(variance)


def _case(name, w_hh, w_ih, inputs, lags, retention, own, reason, phi=0.0, semantics=None):
    T, B, _ = inputs.shape
    H, rows = len(w_hh), (T - 200) * B  # the default washout and a little
    ridge_bias = 1e-5  # the default ridge of 1e-6 against the smallest eigenvalues of these cases
    return Case(
        name,
        w_hh,
        w_ih,
        inputs,
        inputs if semantics is None else semantics,
        np.asarray(lags),
        retention,
        own,
        5 * sampling_sd(retention, H, rows, phi) + ridge_bias,
        5 * sampling_sd(own, H, rows, predictor=True) + ridge_bias,
        reason,
    )


def delay_line(H=6, T=6000, B=2, phi=0.0, max_lag=12, seed=0):
    """A shift register: the last H tokens, nothing older. Own capacity H whatever φ; raw H at φ = 0."""
    w_hh, w_ih = np.eye(H, k=-1), np.eye(H, 1)
    lags = np.arange(max_lag + 1)
    kept = (lags < H).astype(float)
    predicted = phi ** (2.0 * np.maximum(lags - H + 1, 0))  # of an older token by the oldest one kept
    raw = np.where(lags < H, 1.0, predicted if phi else 0.0)
    return _case(
        f"delay line H={H} phi={phi}",
        w_hh,
        w_ih,
        ar1(T, B, 1, phi, seed),
        lags,
        raw,
        kept,
        phi=phi,
        reason="kept lags are exact up to the ridge squared, the others are sampling error",
    )


def vector_delay_line(slots=3, dim=2, T=6000, B=2, max_lag=6, seed=0):
    """A shift register of vectors whose components are correlated: the same curve, for d > 1."""
    w_hh = np.kron(np.eye(slots, k=-1), np.eye(dim))
    w_ih = np.kron(np.eye(slots, 1), np.eye(dim))
    mixing = np.eye(dim) + 0.5 * np.tri(dim, k=-1)
    lags = np.arange(max_lag + 1)
    kept = (lags < slots).astype(float)
    return _case(
        f"vector delay line {slots}x{dim}",
        w_hh,
        w_ih,
        ar1(T, B, dim, 0.0, seed) @ mixing.T,
        lags,
        kept,
        kept,
        reason="as for the scalar delay line",
    )


def leaky_integrator(a=0.8, T=12000, B=2, max_lag=15, seed=0):
    """h_t = a h_{t-1} + sqrt(1-a²) x_t on white x: ρ_τ = (1-a²) a^(2τ)."""
    lags = np.arange(max_lag + 1)
    rho = (1 - a**2) * a ** (2.0 * lags)
    return _case(
        f"leaky integrator a={a}",
        np.array([[a]]),
        np.array([[np.sqrt(1 - a**2)]]),
        ar1(T, B, 1, 0.0, seed),
        lags,
        rho,
        rho,
        reason="sampling error of a squared correlation",
    )


def cyclic_shift(H=5, lam=0.9, turns=4, T=12000, B=2, seed=0):
    """λ · cyclic shift, input on one unit: ρ_τ = (1-λ^2H) λ^(2H⌊τ/H⌋), in m = `turns` turns H (1-λ^2Hm)."""
    lags = np.arange(turns * H)
    rho = (1 - lam ** (2 * H)) * lam ** (2.0 * H * (lags // H))
    return _case(
        f"cyclic shift H={H} lambda={lam}",
        lam * np.roll(np.eye(H), 1, axis=0),
        np.eye(H, 1),
        ar1(T, B, 1, 0.0, seed),
        lags,
        rho,
        rho,
        reason="sampling error of a squared correlation",
    )


def memoryless(phi=0.9, T=12000, B=2, max_lag=10, seed=0):
    """h = x on an AR(1) input: retention φ^(2τ), own retention 1 at lag 0 and 0 beyond."""
    lags = np.arange(max_lag + 1)
    return _case(
        f"memoryless phi={phi}",
        np.zeros((1, 1)),
        np.eye(1),
        ar1(T, B, 1, phi, seed),
        lags,
        phi ** (2.0 * lags),
        (lags == 0).astype(float),
        phi=phi,
        reason="sampling error with autocorrelated rows; own retention beyond lag 0 is all predictor error",
    )


def independent(H=8, phi=0.5, phi_input=0.5, T=8000, B=2, max_lag=6, seed=0):
    """States driven by noise that the semantics do not contain: both curves 0 at every lag.

    The network's inputs are [semantics, noise] and W_ih ignores the first column, so any backend can run it.
    """
    x = ar1(T, B, 1, phi_input, seed)
    inputs = np.concatenate([x, ar1(T, B, H, 0.0, seed + 1)], axis=2)
    w_ih = np.concatenate([np.zeros((H, 1)), np.eye(H)], axis=1)
    zero = np.zeros(max_lag + 1)
    return _case(
        f"independent H={H} phi={phi}",
        phi * np.eye(H),
        w_ih,
        inputs,
        np.arange(max_lag + 1),
        zero,
        zero,
        phi=np.sqrt(abs(phi * phi_input)),
        semantics=x,
        reason="the map's error and its product with the rows",
    )


def scaled_orthogonal(H=8, lam=0.9, T=20000, B=2, seed=0):
    """λ · orthogonal W with evenly spread phases and an input on all of them alike: capacity H within 2 %.

    The phases are those of the cyclic shift, turned into a random basis, so the whole curve is known. For a
    random orthogonal W only the capacity is: two of its phases may come so close that the ridge takes 2 %.
    """
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((H, H)))
    max_lag = H + int(np.ceil(3 / (1 - lam)))
    lags = np.arange(max_lag + 1)
    rho = (1 - lam ** (2 * H)) * lam ** (2.0 * H * (lags // H))
    return _case(
        f"scaled orthogonal H={H} lambda={lam}",
        lam * basis @ np.roll(np.eye(H), 1, axis=0) @ basis.T,
        basis[:, :1],
        ar1(T, B, 1, 0.0, seed + 1),
        lags,
        rho,
        rho,
        reason="sampling error of a squared correlation",
    )


def diagonal(lams=(0.95, -0.7, 0.3), T=12000, B=2, max_lag=15, seed=0):
    """A diagonal linear network on white input: retention from its exact covariances."""
    lams = np.asarray(lams)
    lags = np.arange(max_lag + 1)
    rho, own = population_curves(np.diag(lams), np.ones((len(lams), 1)), lags)
    return _case(
        f"diagonal {lams.tolist()}",
        np.diag(lams),
        np.ones((len(lams), 1)),
        ar1(T, B, 1, 0.0, seed),
        lags,
        rho,
        own,
        reason="sampling error of a squared correlation; the expected curve is exact",
    )


def all_cases():
    """One of each, of a size that a float64 reference finishes in about a second."""
    return [
        delay_line(),
        delay_line(phi=0.9, T=20000),
        vector_delay_line(),
        leaky_integrator(),
        cyclic_shift(),
        memoryless(),
        independent(),
        scaled_orthogonal(),
        diagonal(),
    ]


def population_curves(w_hh, w_ih, lags, phi=0.0, order=8, ridge=0.0, noise=0.0):
    """Exact retention and own retention [K] of a linear network on scalar AR(1) input of variance 1.

    The joint covariance of the state and the last max lag + 1 tokens follows from Cov(h_t, x_{t-τ}); `ridge`
    is added to the state's correlation matrix as in the measurement; `noise` is the variance of the white
    noise that every unit takes in beside the input at every step. The best map's distance is
    1 - 2 p'c + p'Sp over the variance.
    """
    H, max_lag = len(w_hh), int(max(lags))
    lags_all = np.arange(max_lag + 1)
    # Two-sided: x may be newer or older than the state; the AR(1) correlation is phi^|k|.
    forward = np.linalg.solve(np.eye(H) - phi * w_hh, w_ih[:, 0])  # Cov(h_t, x_t)
    cross = np.empty((H, max_lag + 1))
    S = stationary(w_hh, w_ih, phi, forward, noise)
    newer = [forward]
    for _ in range(max_lag):  # Cov(h_t, x_{t-τ}) = W Cov(h_{t-1}, x_{t-1-(τ-1)}) + v φ^τ
        newer.append(w_hh @ newer[-1] + w_ih[:, 0] * phi ** (len(newer)))
    cross[:] = np.stack(newer, axis=1)
    scale = np.sqrt(np.diag(S))
    corr = S / np.outer(scale, scale)
    raw, own = [], []
    for lag in lags:
        raw.append(_share(cross[:, lag], corr, scale, 1.0, ridge))
        m = min(int(lag), order)
        index = lags_all[lag - m : lag]  # the newer tokens' lags
        tokens = phi ** np.abs(index[:, None] - index[None, :]).astype(float)
        with_target = phi ** np.abs(index - lag).astype(float)
        predictor = np.linalg.solve(tokens, with_target) if m else np.zeros(0)
        c = cross[:, lag] - cross[:, index] @ predictor
        own.append(_share(c, corr, scale, 1.0 - with_target @ predictor, ridge))
    return np.array(raw), np.array(own)


def _share(c, corr, scale, variance, ridge):
    p = np.linalg.solve(corr + ridge * np.eye(len(corr)), c / scale)
    return (2 * p @ (c / scale) - p @ corr @ p) / variance


def stationary(w_hh, w_ih, phi=0.0, forward=None, noise=0.0):
    """Cov(h) of h_t = W h_{t-1} + v x_t + noise, AR(1) x of variance 1, by doubling the sum of W^k Q W^k'."""
    v = w_ih[:, 0]
    forward = np.linalg.solve(np.eye(len(w_hh)) - phi * w_hh, v) if forward is None else forward
    past = phi * w_hh @ forward  # W Cov(h_{t-1}, x_t)
    S = np.outer(v, v) + np.outer(past, v) + np.outer(v, past) + noise * np.eye(len(w_hh))
    A = np.array(w_hh, float)
    for _ in range(60):
        S = S + A @ S @ A.T
        A = A @ A
    return S


def diagonal_gain(lams, lags):
    """g_τ = sqrt(mean λ_i^2τ): how far a gradient reaches back through a linear diagonal network."""
    return np.sqrt(np.mean(np.asarray(lams)[None, :] ** (2.0 * np.asarray(lags)[:, None]), axis=1))


def diagonal_exponents(lams):
    """Lyapunov exponents ln|λ_i|, descending."""
    return np.sort(np.log(np.abs(lams)))[::-1]


def delay_line_fisher(H, max_delay):
    """Fisher memory of a delay line with unit state noise: 1/(k+1) inside it, 0 beyond."""
    k = np.arange(max_delay + 1)
    return np.where(k < H, 1.0 / (k + 1), 0.0)
