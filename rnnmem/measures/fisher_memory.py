"""How well a linear network with noise in every unit can tell an input of k steps ago: Fisher memory."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.measures.arguments import read_floats
from rnnmem.options import read_count

DOUBLINGS = 64


def fisher_memory(W: Tensor, v: Tensor, max_delay: int) -> Tensor:
    """Fisher memory curve of h_t = W h_{t-1} + v x_t + white noise of variance 1 in every unit.

    J_k = (W^k v)ᵀ C⁻¹ (W^k v), C = Σ_i W^i (W^i)ᵀ the noise that the state holds: what the state at time t
    says, per unit of signal power, about the input of k steps ago. Exact, whatever the input's distribution.

    Args:
        W: recurrent weights (H, H), float32 or float64, its spectral radius below 1.
        v: input weights (H,).
        max_delay: the longest delay in steps.

    Returns:
        J_k for k = 0 ... max_delay, float64 [max_delay + 1]. Their sum over all k is at most H |v|²; for a
        normal W it is |v|².

    Raises:
        RnnMemError: tensors of a wrong type, shape or dtype or not finite, a state whose noise grows without
            end, or a delay that is not an int >= 0.

    Source:
        Ganguli, Huh and Sompolinsky, "Memory traces in dynamical systems", PNAS 2008.

    Example:
        >>> import torch, rnnmem
        >>> shift = torch.diag(torch.ones(3), -1)
        >>> rnnmem.fisher_memory(shift, torch.eye(4)[0], 4)
        tensor([1.0000, 0.5000, 0.3333, 0.2500, 0.0000], dtype=torch.float64)
    """
    weight, direction = read_floats("W", W, "(H, H)", 2), read_floats("v", v, "(H,)", 1)
    if weight.shape[0] != weight.shape[1]:
        raise expected("W", "a square matrix (H, H)", tuple(weight.shape))
    if len(direction) != len(weight):
        raise expected("v", f"shape ({len(weight)},) like W", tuple(direction.shape))
    if direction.device != weight.device:
        raise expected("v", f"device {weight.device} like W", direction.device)
    delays = read_count("max_delay", max_delay)
    root = torch.linalg.cholesky(held_noise(weight))
    signal, found = direction, []
    for _ in range(delays + 1):
        white = torch.linalg.solve_triangular(root, signal.unsqueeze(1), upper=False)
        found.append(white.square().sum())
        signal = weight @ signal
    return torch.stack(found).cpu()


def held_noise(weight: Tensor) -> Tensor:
    """Σ_i W^i (W^i)ᵀ [H, H], by doubling how many terms are summed."""
    total, power = torch.eye(len(weight), dtype=torch.float64, device=weight.device), weight
    for _ in range(DOUBLINGS):
        more = power @ total @ power.T
        total, power = total + more, power @ power
        if not bool(total.isfinite().all()):
            break
        if float(more.abs().max()) <= 1e-17 * float(total.abs().max()):
            return total
    raise expected("W", "a spectral radius below 1, or the noise never settles", "one of 1 or more")
