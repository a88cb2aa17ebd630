"""An independent, literal float64 implementation of the definitions, to check the package against.

It shares no code with the package, stores every state and loops over the lags: it is meant to be read next to
the written definitions, not to be fast. Shapes: T steps, B streams, H hidden size, d semantic dimension,
K lags.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import special

CONSTANT_UNIT = 1e-12  # of the largest variance: units below it carry no state
FLAT_DIRECTION = 1e-10  # of the largest eigenvalue: directions below it are rounding
SOKAL_C = 5.0
MOST_BLOCKS = 64
FEWEST_BLOCKS = 16
BITS_CLIP = 1.0 - 1e-6


@dataclass
class Rows:
    """Which (step, stream) pairs fit and which are measured, for any lag."""

    T: int
    B: int
    max_lag: int
    split: str
    fit: float
    washout: int
    lengths: np.ndarray

    def masks(self, lag):
        """Fit and measured rows of one lag, two bool arrays [T, B]."""
        t = np.arange(self.T)[:, None]
        b = np.arange(self.B)[None, :]
        inside = t < self.lengths[None, :]
        if self.split == "time":
            start = max(self.washout, self.max_lag)
            F = int(self.fit * self.T)
            return inside & (t >= start) & (t < F), inside & (t >= start) & (t >= F)
        if self.split == "streams":
            reaches = inside & (t >= lag)
            fitted = b < int(self.fit * self.B)
            return reaches & fitted, reaches & ~fitted
        raise ValueError(f"split must be 'time' or 'streams', got {self.split!r}")


def shifted(e, lag):
    """e_{t-lag} at step t, [T, B, d]; NaN where the past does not reach, so that a wrong row shows."""
    out = np.full_like(e, np.nan)
    out[lag:] = e[: len(e) - lag]
    return out


@dataclass
class Map:
    """An affine ridge map y = P x + b and what estimating it cost."""

    weight: np.ndarray  # [d, H]
    bias: np.ndarray  # [d]
    h_eff: float
    whitening: np.ndarray  # [H, rank]: centred states times this are uncorrelated, of variance 1
    mean: np.ndarray  # [H]

    def __call__(self, x):
        return x @ self.weight.T + self.bias


def ridge_map(x, y, ridge):
    """Ridge least squares of y [N, d] on x [N, H], the ridge added to the correlation matrix of x."""
    n, size = x.shape
    mean, target_mean = x.mean(0), y.mean(0)
    centred = x - mean
    variance = (centred**2).mean(0)
    keep = variance > CONSTANT_UNIT * variance.max(initial=0.0)
    scale = np.sqrt(variance[keep])
    z = centred[:, keep] / scale
    correlation = z.T @ z / n
    with_ridge = correlation + ridge * np.eye(keep.sum())
    weight = np.zeros((y.shape[1], size))
    weight[:, keep] = np.linalg.solve(with_ridge, z.T @ (y - target_mean) / n).T / scale
    eigenvalues, vectors = np.linalg.eigh(correlation)
    directions = eigenvalues > FLAT_DIRECTION * eigenvalues.max(initial=0.0)
    whitening = np.zeros((size, directions.sum()))
    whitening[keep] = vectors[:, directions] / np.sqrt(eigenvalues[directions]) / scale[:, None]
    h_eff = float(np.trace(np.linalg.solve(with_ridge, correlation)))
    return Map(weight, target_mean - weight @ mean, h_eff, whitening, mean)


def last_fit_rows(fit_mask, H):
    """The rows that autocorrelations are taken from: the last whole steps of the fit rows, bool [T, B]."""
    most = min(65536, max(16384, 2**22 // H))
    from_the_end = np.cumsum(fit_mask.sum(1)[::-1])[::-1]
    steps = (from_the_end <= most) | (np.arange(len(fit_mask)) == np.flatnonzero(fit_mask.any(1))[-1])
    return fit_mask & steps[:, None]


def correlation_time(whitened, residual, mask):
    """1 + 2 sum_k r_h(k) r_eps(k) by Sokal's automatic window, not yet limited from below.

    Args:
        whitened: [T, B, rank] states, centred and whitened with the fit rows' moments.
        residual: [T, B, d] what the map leaves.
        mask: [T, B] the rows to use; pairs have both ends in it, in the same stream.
    """
    rows = mask.sum()
    state_power = (whitened[mask] ** 2).sum() / rows
    residual_power = (residual[mask] ** 2).sum()
    if state_power == 0.0 or residual_power == 0.0:
        return 1.0
    tau = 0.5
    for k in range(1, len(mask)):
        pairs = mask[:-k] & mask[k:]
        if not pairs.any():
            break
        r_h = (whitened[:-k][pairs] * whitened[k:][pairs]).sum() / pairs.sum() / state_power
        # Divided by all rows, not by the pairs: the estimate's variance sums over the pairs that exist.
        r_eps = (residual[:-k][pairs] * residual[k:][pairs]).sum() / residual_power
        tau += r_h * r_eps
        if k >= SOKAL_C * tau:
            break
    return 2.0 * tau


def jackknife_blocks(measured, w0, by_stream):
    """Block number of every row [T, B] (-1 where not measured in any lag) and the number of blocks.

    Args:
        measured: [T, B] rows measured at one lag or more.
        w0: int, the shortest width in steps.
        by_stream: whether streams are sequences of their own, and make the blocks where there are enough.
    """
    T, B = measured.shape
    steps = np.broadcast_to(np.arange(T)[:, None], (T, B))
    raw = steps // doubled_until(steps[measured], w0, MOST_BLOCKS)
    streams = np.flatnonzero(measured.any(0))
    few = len(np.unique(raw[measured])) < FEWEST_BLOCKS
    if (few or by_stream) and len(streams) >= FEWEST_BLOCKS:
        order = np.full(B, -1)
        order[streams] = np.arange(len(streams))
        order = np.broadcast_to(order[None, :], (T, B))
        raw = order // doubled_until(order[measured], 1, MOST_BLOCKS)
    numbers = np.full((T, B), -1)
    names, compact = np.unique(raw[measured], return_inverse=True)
    numbers[measured] = compact
    return numbers, len(names)


def doubled_until(positions, width, most):
    """The smallest width·2^j that puts the positions into at most `most` non-empty bins."""
    while len(np.unique(positions // width)) > most:
        width *= 2
    return width


class Innovations:
    """beta_tau(t) = e_{t-tau} less its best affine prediction from the min(tau, p) tokens after it."""

    def __init__(self, e, rows, order, ridge):
        self.e, self.rows, self.ridge = e, rows, ridge
        d = e.shape[2]
        self.order = order
        while self.order > 0 and self.order * d > rows.masks(self.order)[0].sum() / 10:
            self.order -= 1
        self.maps = {}

    def newer(self, lag):
        """e_{t-lag+1} … e_{t-lag+m} at step t, side by side: [T, B, m·d]."""
        m = min(lag, self.order)
        return np.concatenate([shifted(self.e, lag - i) for i in range(1, m + 1)], axis=2)

    def fit_rows(self, lag):
        """Rows that the predictor of this lag was fitted on."""
        return self.rows.masks(min(lag, self.order))[0].sum()

    def covariance(self, lag):
        """Of the newer tokens [m·d, m·d] on those rows."""
        m = min(lag, self.order)
        return np.atleast_2d(np.cov(self.newer(m)[self.rows.masks(m)[0]].T, bias=True))

    def __call__(self, lag):
        """The innovations [T, B, d], NaN for t < lag."""
        m = min(lag, self.order)
        target = shifted(self.e, lag)
        if m == 0:
            return target - target[self.rows.masks(lag)[0]].mean(0)
        if m not in self.maps:
            fitted = self.rows.masks(m)[0]
            self.maps[m] = ridge_map(self.newer(m)[fitted], shifted(self.e, m)[fitted], self.ridge)
        return target - self.maps[m](self.newer(lag))


@dataclass
class Curve:
    """Everything that one curve (retention or own retention) has per lag, K long unless said otherwise."""

    lags: np.ndarray
    weight: np.ndarray  # [K, d, H]
    bias: np.ndarray  # [K, d]
    D: np.ndarray
    V: np.ndarray
    heldout: np.ndarray  # 1 - D / V
    retention: np.ndarray  # corrected, NaN under 3 H_eff effective rows
    se: np.ndarray  # jackknife and fitted parts together, NaN with fewer than 16 blocks
    jackknife_se: np.ndarray
    fitted_variance: np.ndarray  # what the maps' own errors add to the variance
    left_out: np.ndarray  # [K, blocks] the corrected retention without one block
    h_eff: np.ndarray
    n_eff: np.ndarray
    d_eff: np.ndarray
    fit_rows: np.ndarray
    measured_rows: np.ndarray
    bits: np.ndarray
    kappa2: np.ndarray  # [K, d], descending, padded with 0 where directions were dropped
    significant: np.ndarray  # bool
    q: float
    rank: int  # of the state's covariance, at the first lag

    @property
    def distance(self):
        return np.sqrt(self.D)

    @property
    def blocks(self):
        return self.left_out.shape[1]

    def interval(self, level=0.95):
        half = special.stdtrit(self.blocks - 1, 0.5 + level / 2) * self.se
        return self.retention - half, self.retention + half


def curve(h, targets, lags, rows, ridge, w0, predictor_of=None):
    """Fit, measure and correct one curve.

    Args:
        h: [T, B, H] states.
        targets: function lag -> [T, B, d], the target of the row at step t.
        rows: Rows.
        w0: int, the shortest jackknife block.
        predictor_of: Innovations, when they are the targets: their predictor's error enters the variance.
    """
    H = h.shape[2]
    K, d = len(lags), targets(lags[0]).shape[2]
    masks = [rows.masks(lag) for lag in lags]
    numbers, g = jackknife_blocks(np.any([m for _, m in masks], axis=0), w0, rows.split == "streams")
    per_lag = {
        name: np.full(K, np.nan)
        for name in (
            "D",
            "V",
            "heldout",
            "retention",
            "se",
            "jackknife_se",
            "fitted_variance",
            "h_eff",
            "n_eff",
            "d_eff",
            "bits",
        )
    }
    fit_rows, measured_rows = np.zeros(K, int), np.zeros(K, int)
    weight, bias = np.zeros((K, d, H)), np.zeros((K, d))
    left_out, kappa2 = np.full((K, g), np.nan), np.zeros((K, d))
    rank = 0
    for k, (lag, (fitted, measured)) in enumerate(zip(lags, masks, strict=True)):
        y = targets(lag)
        recall = ridge_map(h[fitted], y[fitted], ridge)
        residual = y - recall(h)
        mean = y[fitted].mean(0)
        N = fitted.sum()
        whitened = (h - recall.mean) @ recall.whitening
        n_eff = N / max(0.5, correlation_time(whitened, residual, last_fit_rows(fitted, H)))
        factor = 1.0 - recall.h_eff / n_eff
        loss = (residual**2).sum(2)
        spread = ((y - mean) ** 2).sum(2)
        D, V = loss[measured].mean(), spread[measured].mean()
        if k == 0:
            rank = recall.whitening.shape[1]
        weight[k], bias[k] = recall.weight, recall.bias
        fit_rows[k], measured_rows[k] = N, measured.sum()
        corrected = 1.0 - D / V * factor
        gain = loss_share = 0.0
        if predictor_of is not None and min(lag, predictor_of.order) > 0:
            newer = predictor_of.newer(lag)
            gain, loss_share = predictor_gain(
                whitened[fitted], newer[fitted], predictor_of.covariance(lag), predictor_of.fit_rows(lag)
            )
        corrected = corrected * (1.0 + loss_share) - gain
        block_loss = np.bincount(numbers[measured], loss[measured], g)
        block_spread = np.bincount(numbers[measured], spread[measured], g)
        with np.errstate(invalid="ignore"):  # a single block leaves nothing: NaN
            left_out[k] = 1.0 - (block_loss.sum() - block_loss) / (block_spread.sum() - block_spread) * factor
        left_out[k] = left_out[k] * (1.0 + loss_share) - gain
        C = np.atleast_2d(np.cov(residual[fitted].T, bias=True))
        d_eff = np.trace(C) ** 2 / np.trace(C @ C) if np.trace(C) > 0 else float(d)
        extra = (1.0 - corrected) ** 2 * 2.0 * recall.h_eff / (n_eff**2 * d_eff)
        if predictor_of is not None and min(lag, predictor_of.order) > 0:
            extra += predictor_variance(recall, h, predictor_of.newer(lag), y, fitted)
        if n_eff < 3.0 * recall.h_eff:
            if lag == 0:
                raise ValueError(
                    f"lag 0 has {n_eff:.1f} effective rows for {recall.h_eff:.1f} effective units"
                )
            corrected, left_out[k], extra = np.nan, np.nan, np.nan
        jackknife = jackknife_se(left_out[k])
        kappa2[k] = canonical(residual, y - mean, measured, factor) if np.isfinite(corrected) else np.nan
        values = {
            "D": D,
            "V": V,
            "heldout": 1.0 - D / V,
            "retention": corrected,
            "jackknife_se": jackknife,
            "fitted_variance": extra,
            "h_eff": recall.h_eff,
            "n_eff": n_eff,
            "d_eff": d_eff,
            "se": np.sqrt(jackknife**2 + extra) if g >= FEWEST_BLOCKS else np.nan,
            "bits": -0.5 * np.log2(1.0 - kappa2[k]).sum(),
        }
        for name, value in values.items():
            per_lag[name][k] = value
    q = float(special.stdtrit(g - 1, 1.0 - 0.025 / K)) if g > 1 else np.nan
    if g >= FEWEST_BLOCKS:
        significant = np.nan_to_num(per_lag["retention"], nan=-1.0) > q * np.nan_to_num(
            per_lag["se"], nan=np.inf
        )
    else:
        significant = np.isfinite(per_lag["retention"])  # no standard error: indicators use every lag
    return Curve(
        lags=np.asarray(lags),
        weight=weight,
        bias=bias,
        left_out=left_out,
        kappa2=kappa2,
        rank=rank,
        q=q,
        fit_rows=fit_rows,
        measured_rows=measured_rows,
        significant=significant,
        **per_lag,
    )


def jackknife_se(left_out):
    """Delete-one standard error from the g estimates that each leave one block out."""
    g = len(left_out)
    return float(np.sqrt((g - 1) / g * ((left_out - left_out.mean()) ** 2).sum()))


def predictor_variance(recall, h, newer, innovations, fitted):
    """What the innovation predictor's error adds to the variance.

    4 tr(S_b R S_n^-1 R') / (N (tr S_b)^2) where rows are independent and alike; where they are not, the
    variance of the mean of b' R S_n^-1 n over rows stands for the trace.
    """
    N, d = fitted.sum(), innovations.shape[2]
    H = h.shape[2]
    joint = np.cov(np.concatenate([h, newer], axis=2)[fitted].T, bias=True)
    R = recall.weight @ joint[:H, H:]
    slope = R @ np.linalg.pinv(joint[H:, H:])
    S_b = np.cov(innovations[fitted].T, bias=True).reshape(d, d)
    sample = last_fit_rows(fitted, H)
    centred = newer - newer[sample].mean(0)
    scores = np.where(sample, (innovations * (centred @ slope.T)).sum(2), 0.0)
    ones = np.ones((*scores.shape, 1))
    time = max(correlation_time(ones, scores[..., None], sample), blocking_time(scores, sample))
    spread = max(np.trace(S_b @ slope @ R.T), (scores[sample] ** 2).mean() * time)
    return 4.0 * spread / (N * np.trace(S_b) ** 2)


def blocking_time(values, mask):
    """Largest variance of sums of 2^j neighbours [T, B], over what it is for independent rows."""
    values = values[np.flatnonzero(mask.any(1))[0] :]
    times, width = [1.0], 1
    while 64 * width <= mask.sum():
        width *= 2
        sums = np.add.reduceat(values, np.arange(0, len(values), width), axis=0)
        times.append((sums**2).sum() / (values**2).sum())
    return max(times)


def predictor_gain(whitened, newer, S_n, N):
    """What the predictor's error, a random linear function of the newer tokens, does to own retention.

    A target b - D n with Cov(D) = S_b x S_n^-1 / N has (1 + rank(S_n) / N) times the variance, and a state
    that shares K = sum of squared canonical correlations with n recalls K / N of it.
    """
    values, vectors = np.linalg.eigh(S_n / np.sqrt(np.outer(np.diag(S_n), np.diag(S_n))))
    kept = values > FLAT_DIRECTION * values[-1]
    scaled = (newer - newer.mean(0)) / np.sqrt(np.diag(S_n))
    white = scaled @ vectors[:, kept] / np.sqrt(values[kept])
    K = ((whitened.T @ white / len(white)) ** 2).sum()
    r, m = whitened.shape[1], white.shape[1]
    K -= max(0.0, r - K) * max(0.0, m - K) / len(white)  # found by chance
    return min(max(K, 0.0), r, m) / N, m / N


def canonical(residual, deviation, measured, factor):
    """kappa^2 [d]: the share kept along each of the semantics' own directions, descending."""
    d = residual.shape[2]
    if d > 32:
        measured = measured & (np.arange(len(measured)) % 4 == 0)[:, None]
    n = measured.sum()
    S_V = deviation[measured].T @ deviation[measured] / n
    S_D = residual[measured].T @ residual[measured] / n * factor
    values, vectors = np.linalg.eigh(S_V)
    kept = values > FLAT_DIRECTION * values.max()
    root = vectors[:, kept] / np.sqrt(values[kept])
    kappa2 = np.clip(1.0 - np.linalg.eigvalsh(root.T @ S_D @ root), 0.0, BITS_CLIP)
    return np.sort(np.concatenate([kappa2, np.zeros(d - kept.sum())]))[::-1]


def integer_weights(lags, n):
    """Weight of every grid lag in the sum over the integer lags 0 … n-1 of the linear interpolation, [K]."""
    basis = np.eye(len(lags))
    return np.array([np.interp(np.arange(n), lags, basis[k]).sum() for k in range(len(lags))])


def first_nan(c):
    """Index of the first NaN lag, K for none: sums stop before it."""
    missing = np.isnan(c.retention)
    return int(np.argmax(missing)) if missing.any() else len(missing)


def last_summed(c):
    """The largest lag that a sum may include, -1 for none: the last significant one before any NaN."""
    used = np.flatnonzero(c.significant[: first_nan(c)])
    return int(c.lags[used[-1]]) if len(used) else -1


def memory_amount(c, n):
    """M(n) in tokens and its standard error; (None, None) without lag 0 in the grid."""
    if c.lags[0] != 0:
        return None, None
    n = min(n, last_summed(c) + 1)
    if n == 0:
        return 0.0, 0.0 if c.blocks >= FEWEST_BLOCKS else np.nan
    w = integer_weights(c.lags, n)
    used = w > 0  # a NaN lag beyond the sum must not enter it
    jackknife = jackknife_se(w[used] @ c.left_out[used])
    # The fitted maps of neighbouring lags err together: their part adds as if fully correlated.
    fitted = (w[used] * np.sqrt(c.fitted_variance[used])).sum()
    se = np.sqrt(jackknife**2 + fitted**2) if c.blocks >= FEWEST_BLOCKS else np.nan
    return float(w[used] @ c.retention[used]), float(se)


def capacity(c):
    """Capacity in tokens, its standard error, and whether it is a lower bound (None where unknown)."""
    value, se = memory_amount(c, int(c.lags[-1]) + 1)
    if value is None:
        return None, None, None
    return value, se, bool(c.significant[-1]) if c.blocks >= FEWEST_BLOCKS else None


def density(c, n):
    value, _ = memory_amount(c, n)
    return None if value is None else value / n


def relative_distance(c, n):
    """sqrt(sum D / sum V) over the integer lags below n, uncorrected."""
    if c.lags[0] != 0:
        return None
    w = integer_weights(c.lags, n)
    return float(np.sqrt((w @ c.D) / (w @ c.V)))


def span(c, theta=0.5):
    if c.lags[0] != 0 or not c.significant[0]:
        return None
    reached = None
    for lag, value in zip(c.lags, c.retention, strict=True):
        if not value >= theta * c.retention[0]:
            break
        reached = int(lag)
    return reached


def horizon(c):
    used = np.flatnonzero(c.significant)
    return int(c.lags[used[-1]]) if len(used) else None


def half_life(c):
    """First lag at which the curve crosses half its value at lag 0, None if it never does."""
    if c.lags[0] != 0 or not c.significant[0]:
        return None
    half = c.retention[0] / 2
    for k in range(1, len(c.lags)):
        before, now = c.retention[k - 1], c.retention[k]
        if np.isnan(now):
            return None
        if now <= half:
            return float(c.lags[k - 1] + (before - half) / (before - now) * (c.lags[k] - c.lags[k - 1]))
    return None


def memory_length(own):
    """Suitable length, basis memory: the smallest n with own M(n) at least 95 % of own capacity, or None."""
    value, _, at_least = capacity(own)
    if not value or at_least is not False:
        return None
    return next(n for n in range(1, int(own.lags[-1]) + 2) if memory_amount(own, n)[0] >= 0.95 * value)


def memory_horizon(own, inference, inference_se):
    """Last sampled lag up to which own retention exceeds the control at each one from 1 on, 0 if at none."""
    reached = 0
    for k, lag in enumerate(own.lags):
        if lag < 1 or np.isnan(inference[k]):
            continue
        if not own.retention[k] - inference[k] > own.q * np.hypot(own.se[k], inference_se[k]):
            break
        reached = int(lag)
    return reached


@dataclass
class Measurement:
    """What `measure` returns: the two curves, the grid-free extras and what was done to get them."""

    raw: Curve
    own: Curve
    order: int  # of the innovation predictor, after lowering
    ceiling: float  # of own capacity
    utilisation: float | None
    by_position: dict
    by_token_class: dict | None
    token_entropy: float | None
    warnings: list = field(default_factory=list)


def measure(
    h,
    e,
    lags,
    *,
    split="time",
    fit=0.5,
    washout=100,
    ridge=1e-6,
    innovation_order=8,
    lengths=None,
    w0=None,
    tokens=None,
):
    """Every quantity of the definitions from stored states.

    Args:
        h: [T, B, H] float64, the measured state after the token of step t.
        e: [T, B, d] float64, the semantic vector of the token of step t.
        lags: increasing ints.
        split, fit, washout, ridge, innovation_order, lengths: as in the definitions.
        w0: shortest jackknife block in steps; None: max(16, 4 · max lag), the losses' times left out.
        tokens: [T, B] int, for the entropy cut of the bits and the bands of token classes.
    """
    h, e = np.asarray(h, np.float64), np.asarray(e, np.float64)
    lags = [int(lag) for lag in lags]
    T, B, H = h.shape
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    rows = Rows(T, B, lags[-1], split, fit, washout, lengths)
    w0 = max(16, 4 * lags[-1]) if w0 is None else w0
    beta = Innovations(e, rows, innovation_order, ridge)
    raw = curve(h, lambda lag: shifted(e, lag), lags, rows, ridge, w0)
    own = curve(h, beta, lags, rows, ridge, w0, beta) if innovation_order > 0 else raw
    entropy = None
    if tokens is not None:
        tokens = np.asarray(tokens)
        entropy = token_entropy(tokens[rows.masks(0)[0]])
        raw.bits = np.minimum(raw.bits, entropy)
        own.bits = np.minimum(own.bits, entropy)
    dense = lags == list(range(lags[-1] + 1)) and beta.order >= lags[-1]
    warnings = []
    if beta.order < innovation_order:
        warnings.append(f"innovation_order lowered to {beta.order}")
    return Measurement(
        raw=raw,
        own=own,
        order=beta.order,
        ceiling=capacity_ceiling(beta, rows, lags[-1], own.rank),
        utilisation=float(own.kappa2[: first_nan(own)].sum() / H) if dense else None,
        by_position=by_position(h, e, raw, rows),
        by_token_class=None if tokens is None else by_token_class(h, e, raw, rows, tokens),
        token_entropy=entropy,
        warnings=warnings,
    )


def token_entropy(tokens):
    """Plug-in entropy of the tokens in bits."""
    _, counts = np.unique(tokens, return_counts=True)
    return float(special.entr(counts / counts.sum()).sum() / np.log(2))


def capacity_ceiling(beta, rows, max_lag, rank):
    """Sum of the `rank` largest shares that a direction of a lag's innovations has of its variance."""
    shares = []
    for lag in range(max_lag + 1):
        fitted, measured = rows.masks(lag)
        y = beta(lag)
        deviation = y[measured] - y[fitted].mean(0)
        S = deviation.T @ deviation / len(deviation)
        shares.extend(np.linalg.eigvalsh(S) / np.trace(S))
    return float(np.sort(shares)[::-1][:rank].sum())


def controls(e, lags, order, **options):
    """The memoryless and the window control: retention of states made of the tokens alone, two Curves."""
    e = np.asarray(e, np.float64)
    window = np.concatenate([np.nan_to_num(shifted(e, i)) for i in range(max(order, 1))], axis=2)
    plain = {**options, "innovation_order": 0}
    return measure(e, e, lags, **plain).raw, measure(window, e, lags, **plain).raw


def paired_retention(fit, h, y, block, ridge, covariance=None, fit_rows=0):
    """Corrected own retention and its standard error from rows given one by one: the inference control's.

    Args:
        fit: states [n, m, H], innovations [n, m, d], which count [n, m], newer tokens [n, m, k]; n follow
            each other.
        h, y: [N, H], [N, d] the measured rows.
        block: [N] int, the jackknife block of each.
        covariance: of the newer tokens, on the rows that their predictor was fitted on; None without one.
        fit_rows: how many those are.
    """
    states, targets, mask, newer = fit
    recall = ridge_map(states[mask], targets[mask], ridge)
    whitened, residual = (states - recall.mean) @ recall.whitening, targets - recall(states)
    n_eff = mask.sum() / max(0.5, correlation_time(whitened, residual, mask))
    factor = 1.0 - recall.h_eff / n_eff
    gain = loss_share = 0.0
    if covariance is not None:
        gain, loss_share = predictor_gain(whitened[mask], newer[mask], covariance, fit_rows)
    loss, spread = ((y - recall(h)) ** 2).sum(1), ((y - targets[mask].mean(0)) ** 2).sum(1)

    def own(loss, spread):
        return (1.0 - loss / spread * factor) * (1.0 + loss_share) - gain

    present = np.unique(block)
    left_out = own(
        loss.sum() - np.bincount(block, loss)[present], spread.sum() - np.bincount(block, spread)[present]
    )
    value = own(loss.sum(), spread.sum())
    C = np.atleast_2d(np.cov(residual[mask].T, bias=True))
    d_eff = np.trace(C) ** 2 / np.trace(C @ C)
    extra = (1.0 - value) ** 2 * 2.0 * recall.h_eff / (n_eff**2 * d_eff)
    return value, np.sqrt(jackknife_se(left_out) ** 2 + extra)


def banded(h, e, c, rows, band_of, bands):
    """Distance and retention of the measured rows by lag and band, columns as lists; empty ones left out."""
    out = {"band": [], "lag": [], "distance": [], "retention": [], "rows": []}
    for k, lag in enumerate(c.lags):
        fitted, measured = rows.masks(lag)
        y = shifted(e, lag)
        loss = ((y - h @ c.weight[k].T - c.bias[k]) ** 2).sum(2)
        spread = ((y - y[fitted].mean(0)) ** 2).sum(2)
        for band in range(bands):
            chosen = measured & (band_of(lag) == band)
            if chosen.any():
                D, V = loss[chosen].mean(), spread[chosen].mean()
                values = (
                    band,
                    int(lag),
                    np.sqrt(D),
                    1.0 - D / V * (1.0 - c.h_eff[k] / c.n_eff[k]),
                    int(chosen.sum()),
                )
                for name, value in zip(out, values, strict=True):
                    out[name].append(value)
    return out


def by_position(h, e, c, rows):
    """Bands of absolute steps, at multiples of the smallest power of two that leaves at most 16 of them."""
    measured = np.any([rows.masks(lag)[1] for lag in c.lags], axis=0)
    steps = np.broadcast_to(np.arange(rows.T)[:, None], measured.shape)
    width = doubled_until(steps[measured], 1, 16)
    out = banded(h, e, c, rows, lambda lag: steps // width, rows.T // width + 1)
    first = [band * width for band in out.pop("band")]
    return {"first_step": first, "end_step": [f + width for f in first], **out}


def by_token_class(h, e, c, rows, tokens):
    """Five bands of target tokens, most frequent in the fit rows first, of about equal token mass."""
    counts = np.bincount(tokens[rows.masks(0)[0]], minlength=tokens.max() + 1)
    order = np.argsort(-counts, kind="stable")
    before = np.empty_like(counts)  # occurrences of all tokens that come earlier in that order
    before[order] = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    band = np.minimum(5 * before // counts.sum(), 4)

    def band_of(lag):
        out = np.full(tokens.shape, -1)
        out[lag:] = band[tokens[: len(tokens) - lag]]
        return out

    return banded(h, e, c, rows, band_of, 5)
