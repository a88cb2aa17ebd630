"""Gaussian bits kept about a token, and how much of the state they fill.

bits = -1/2 sum_j log2(1 - kappa_j^2), kappa^2 the eigenvalues of I - S_V^-1/2 S_D S_V^-1/2 in [0, 1 - 1e-6],
S_V the second moment of the target about its fit mean, S_D that of the held-out residual times
(1 - H_eff / N_eff). Invariant to any invertible map of the semantics.

Source: Gelfand and Yaglom, 1957 (information between Gaussian vectors).
"""

from __future__ import annotations

import torch
from torch import Tensor

DROPPED = 1e-10
MOST = 1 - 1e-6


def kept_correlations(target: Tensor, residual: Tensor) -> Tensor:
    """Squared canonical correlations kappa^2 [K, d] from second moments [K, d, d]; dropped ones are 0."""
    if bool((~target.isfinite()).any() | (~residual.isfinite()).any()):
        clean = target.isfinite().all(-1).all(-1) & residual.isfinite().all(-1).all(-1)
        out = torch.full(target.shape[:2], float("nan"), dtype=torch.float64)
        if bool(clean.any()):
            out[clean] = kept_correlations(target[clean], residual[clean])
        return out
    values, vectors = torch.linalg.eigh(target)
    kept = values > DROPPED * values[:, -1:].clamp(min=0)
    scale = torch.where(kept, values.clamp(min=1e-300).rsqrt(), 0.0)
    white = vectors * scale.unsqueeze(-2)
    lost = white.mT @ residual @ white
    shared = torch.diag_embed(kept.double()) - (lost + lost.mT) / 2
    return torch.linalg.eigvalsh(shared).clamp(0, MOST)


def bits_kept(kappa: Tensor, entropy: float | None) -> Tensor:
    """Bits by lag [K], at most the entropy of the tokens where there is one."""
    bits = -0.5 * torch.log2(1 - kappa).sum(dim=-1)
    return bits if entropy is None else torch.where(bits > entropy, entropy, bits)


def utilisation(kappa: Tensor, lags: Tensor, order: int, features: int) -> float | None:
    """Sum over lags and directions of kappa^2 over H; None unless every lag is sampled and p >= max lag."""
    dense = bool((lags == torch.arange(len(lags))).all())
    if not dense or order < int(lags[-1]):
        return None
    nan = kappa.isnan().any(dim=-1).nonzero()
    return float(kappa[: int(nan[0, 0]) if len(nan) else len(kappa)].sum() / features)
