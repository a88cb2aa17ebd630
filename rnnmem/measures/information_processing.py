"""What functions of its past inputs a network computes: information processing capacity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.measures.arguments import read_positive
from rnnmem.measures.drive import driven, states, uniform_input
from rnnmem.options import read_count
from rnnmem.ridge import RidgeSystem
from rnnmem.session import measuring

STEPS, WASHOUT, SEED, RIDGE = 50_000, 200, 0, 1e-9
CHANCE = 1e-4
MOST_TARGETS = 100_000
BLOCK_FLOATS = 2**23  # of targets at a time: 64 MiB, and at most three times that with what is made of them

Target = tuple[tuple[int, int], ...]  # (delay, degree) of each factor


def information_processing_capacity(model: Any, *, degree: int = 3, max_delay: int = 20) -> dict[int, float]:
    """How much of its memory a network spends on linear and on non-linear functions of its inputs.

    Targets are products of normalised Legendre polynomials of past inputs, all of them up to a total degree
    and a delay. They are orthonormal for independent uniform inputs, so their capacities (each the share of a
    target that a linear readout gives back) add up, to at most H over all degrees and delays. Capacities that
    chance could give (1 in 10,000) count as 0; the others are corrected for the H units that were fitted.
    Takes some 250 MB, and H + 2 numbers a target.

    Args:
        model: as in `rnnmem.assess`, with one input; driven by 50,000 inputs uniform in [-1, 1].
        degree: the highest total degree, at least 1.
        max_delay: the longest delay in steps, from 0.

    Returns:
        Capacity by degree, 1 ... degree. Degree 1 is linear memory, delay 0 among it.

    Raises:
        RnnMemError: bad input as in `rnnmem.assess`; a network of more than one input; more than 100,000
            targets.

    Source:
        Dambre, Verstraeten, Schrauwen and Massar, "Information processing capacity of dynamical systems",
        2012.

    Example:
        >>> import torch, rnnmem
        >>> shift = torch.diag(torch.ones(3), -1)
        >>> unit = rnnmem.units.EchoState(torch.eye(4)[:, :1], shift, activation="identity")
        >>> found = rnnmem.information_processing_capacity(unit, degree=2, max_delay=6)
        >>> {degree: round(capacity, 3) for degree, capacity in found.items()}
        {1: 4.0, 2: 0.0}
    """
    highest, longest = read_positive("degree", degree), read_count("max_delay", max_delay)
    targets = products(highest, longest)
    with measuring(model):
        session = driven(model, uniform_input(model, WASHOUT + longest + STEPS, 1.0, SEED))
        shares, size = capacities(session, targets, WASHOUT + longest)
    rows = STEPS
    threshold = 2 * float(chi2.isf(CHANCE, max(size, 1.0))) / rows
    corrected = 1 - (1 - shares) * rows / max(rows - size, 1.0)
    kept = torch.where(shares > threshold, corrected, 0.0).tolist()
    found = dict.fromkeys(range(1, highest + 1), 0.0)
    for target, capacity in zip(targets, kept, strict=True):
        found[sum(power for _, power in target)] += capacity
    return found


def products(degree: int, longest: int) -> list[Target]:
    """Every product of total degree 1 ... degree of inputs delayed by 0 ... longest."""
    found: list[Target] = []
    for total in range(1, degree + 1):
        for chosen in itertools.combinations_with_replacement(range(longest + 1), total):
            found.append(tuple((delay, chosen.count(delay)) for delay in sorted(set(chosen))))
            if len(found) > MOST_TARGETS:
                what = f"more for degree {degree} and max_delay {longest}"
                raise expected("degree", f"at most {MOST_TARGETS:,} targets", what)
    return found


def capacities(session: Any, targets: list[Target], first: int) -> tuple[Tensor, float]:
    """The share [K] of each target that an affine readout gives back, and the readout's effective size."""
    signal = session.data.inputs[:, 0, 0].double().cpu()
    polynomials = legendre(signal, max(power for target in targets for _, power in target))
    gram, sums = torch.empty(0), torch.empty(0)
    for values, step in states(session):
        begin = max(first, step)
        h = values[begin - step :, 0].double().cpu()
        if not len(h):
            continue
        both = torch.cat((torch.ones(len(h), 1, dtype=torch.float64), h), dim=1)
        if not len(sums):
            gram = both.new_zeros(both.shape[1], both.shape[1])
            sums = both.new_zeros(both.shape[1] + 1, len(targets))
        gram += both.T @ both
        for part in groups(len(targets), len(h)):
            y = block(polynomials, targets[part], begin, begin + len(h))
            sums[:-1, part] += both.T @ y
            sums[-1, part] += y.square().sum(dim=0)
    rows = gram[0, 0]
    mean = gram[0, 1:] / rows
    covariance = gram[1:, 1:] / rows - mean.outer(mean)
    system = RidgeSystem(mean, covariance, RIDGE)
    parts = groups(len(targets), 4 * len(sums))
    found = [readout_shares(system, covariance, sums[:, part] / rows) for part in parts]
    return torch.cat(found), system.effective_size


def readout_shares(system: RidgeSystem, covariance: Tensor, means: Tensor) -> Tensor:
    """The share [k] of each target that a readout of states gives back.

    Args:
        system: the readout's.
        covariance: of the states [H, H].
        means: of the targets, of their products with the states, and of their squares [H + 2, k].
    """
    shared = means[1:-1] - system.mean.outer(means[0])
    weight = system.solve(shared)
    explained = 2 * (weight.T * shared).sum(dim=0) - ((covariance @ weight.T) * weight.T).sum(dim=0)
    return explained / (means[-1] - means[0].square())


def groups(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many columns, of which so many rows are held at a time."""
    size = max(1, BLOCK_FLOATS // rows)
    for start in range(0, count, size):
        yield slice(start, start + size)


def block(polynomials: Tensor, targets: list[Target], begin: int, end: int) -> Tensor:
    """The values of some targets at steps begin ... end - 1, [n, k]."""
    return torch.stack([product(polynomials, target, begin, end) for target in targets], dim=1)


def legendre(x: Tensor, degree: int) -> Tensor:
    """Legendre polynomials of x [T], degrees 0 ... degree, of variance 1 for uniform x: [degree + 1, T]."""
    found = [torch.ones_like(x), x]
    for n in range(1, degree):
        found.append(((2 * n + 1) * x * found[n] - n * found[n - 1]) / (n + 1))
    norms = torch.tensor([2 * n + 1 for n in range(degree + 1)], dtype=x.dtype).sqrt()
    return torch.stack(found[: degree + 1]) * norms[:, None]


def product(polynomials: Tensor, target: Target, begin: int, end: int) -> Tensor:
    """A target's values at steps begin ... end - 1."""
    values = torch.ones(end - begin, dtype=polynomials.dtype)
    for delay, power in target:
        values = values * polynomials[power, begin - delay : end - delay]
    return values
