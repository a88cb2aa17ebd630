"""The memory capacity of a reservoir: how many past inputs a linear readout gives back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnmem.assess import assess, naming
from rnnmem.errors import expected, shown
from rnnmem.measures.arguments import read_positive
from rnnmem.measures.drive import driven, states, uniform_input
from rnnmem.network import read_network
from rnnmem.options import read_choice, read_count, read_flag, read_ridge, read_seed
from rnnmem.ridge import RidgeSystem
from rnnmem.session import measuring

HELDOUT_WIDTH, COMMON_WIDTH = 1.0, 0.8
TEST_SHARE = 0.2


def memory_capacity(
    model: Any,
    max_delay: int,
    *,
    inputs: Tensor | None = None,
    recipe: str = "heldout",
    washout: int = 100,
    ridge: float = 1e-6,
    steps: int | None = None,
    seed: int = 0,
    return_curve: bool = False,
) -> float | tuple[float, Tensor]:
    """Memory capacity by the reservoir convention: summed over delays from 1 on.

    Two recipes. "heldout" adds up retention, measured on data that the readout never saw and corrected for
    the cost of the fit, to the last significant delay: a network that ignores its input comes out near 0.
    With too few steps for standard errors (fewer than 16 blocks of them) significance is not known, and every
    delay counts, noise and all.
    "common" is the recipe in wide use: squared correlations on the last fifth of a short series, all of them
    added up. A test of 2 max_delay steps gives each delay 1 / (2 max_delay) by chance, so it reports about
    half a step that is not there.

    Args:
        model: as in `rnnmem.assess`, with one input.
        max_delay: the longest delay in steps, at least 1.
        inputs: float (T, B, 1), independent of each other; None draws them.
        recipe: "heldout" (uniform in [-1, 1]) or "common" (uniform in [-0.8, 0.8]).
        washout: steps before the first row; "common" leaves out `max_delay` of them instead.
        ridge: added to the diagonal of the units' correlation matrix.
        steps: how many to draw, at most 2**28; None is washout + max(10,000, 40 H, 160 max_delay), with
            "common" 10 max_delay.
        seed: of the inputs drawn.
        return_curve: whether to return the share kept at each delay too.

    Returns:
        Steps; with `return_curve`, (steps, float64 [max_delay]), delays 1 ... max_delay.

    Raises:
        RnnMemError: bad input as in `rnnmem.assess`; a network of more than one input; too few steps.

    Source:
        Jaeger, "Short term memory in echo state networks", 2001.

    Example:
        >>> import torch, rnnmem
        >>> shift = torch.diag(torch.ones(4), -1)
        >>> unit = rnnmem.units.EchoState(torch.eye(5)[:, :1], shift, activation="identity")
        >>> round(rnnmem.memory_capacity(unit, 10), 2)
        4.0
    """
    delays = read_positive("max_delay", max_delay)
    heldout = read_choice("recipe", recipe, ("heldout", "common")) == "heldout"
    skipped, penalty, start = read_count("washout", washout), read_ridge(ridge), read_seed(seed)
    with_curve = read_flag("return_curve", return_curve)
    told = "inputs" if inputs is not None or steps is None else "steps"
    if inputs is None:
        inputs = drawn_input(model, delays, heldout, skipped, steps, start)
    with naming("inputs", told):
        if heldout:
            curve, last = heldout_curve(model, inputs, delays, skipped, penalty)
        else:
            curve, last = common_curve(model, inputs, delays, penalty), delays
    capacity = float(curve[:last].sum())
    return (capacity, curve) if with_curve else capacity


def drawn_input(model: Any, delays: int, heldout: bool, washout: int, steps: int | None, seed: int) -> Tensor:
    """Uniform inputs, as many as were asked for or, with None, as a recipe takes."""
    width = HELDOUT_WIDTH if heldout else COMMON_WIDTH
    if steps is not None:
        return uniform_input(model, read_positive("steps", steps), width, seed)
    units = read_network(model).feature_size(False) or 0
    wanted = max(10_000, 40 * units, 160 * delays) if heldout else 10 * delays
    told = "washout" if heldout and washout > wanted else "max_delay"
    return uniform_input(model, wanted + washout * heldout, width, seed, told)


def heldout_curve(model: Any, inputs: Tensor, delays: int, washout: int, ridge: float) -> tuple[Tensor, int]:
    """Retention [delays], and how many of the delays count: up to the last significant one."""
    if isinstance(inputs, Tensor) and delays >= inputs.numel():
        raise expected("inputs", f"more than max_delay = {shown(delays)} steps", inputs.numel())
    report = assess(
        model,
        inputs,
        lags=range(1, delays + 1),
        washout=washout,
        ridge=ridge,
        innovation_order=0,
        measures=("kept",),
    )
    measured = report.raw.measured
    if not report.raw.judged:  # too few blocks for significance: every delay counts
        return report.retention, measured
    significant = report.raw.significant[:measured].nonzero()
    return report.retention, int(significant[-1]) + 1 if len(significant) else 0


def common_curve(model: Any, inputs: Tensor, delays: int, ridge: float) -> Tensor:
    """Squared correlations [delays] on the last fifth of the steps; the fit leaves out the first `delays`."""
    with measuring(model):
        session = driven(model, inputs)
        total = session.data.steps
        test = round(TEST_SHARE * total)
        first, last = 2 * delays, total - test
        if last - first < 2 or test < 2:
            wanted = f"more than {int(2 * delays / (1 - TEST_SHARE)) + 10} steps for max_delay = {delays}"
            raise expected("inputs", wanted, total)
        # The network reads from step `delays` on, where the first whole target begins.
        later = session.data.time(delays, total)
        features = torch.cat([values for values, _ in states(replace(session, data=later))]).double().cpu()
    signal = session.data.inputs[..., 0].double().cpu()
    targets = torch.stack([signal[delays - k : total - k] for k in range(1, delays + 1)], dim=-1)
    fit, held = slice(first - delays, last - delays), slice(last - delays, None)
    h, y = features[fit].flatten(0, 1), targets[fit].flatten(0, 1)
    centred = h - h.mean(dim=0)
    system = RidgeSystem(h.mean(dim=0), centred.T @ centred / len(h), ridge)
    weight = system.solve(centred.T @ (y - y.mean(dim=0)) / len(h))
    recalled = features[held].flatten(0, 1) @ weight.T
    return squared_correlation(recalled, targets[held].flatten(0, 1))


def squared_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Of columns [N, K]; 0 where a column does not vary."""
    a, b = one - one.mean(dim=0), other - other.mean(dim=0)
    scale = a.square().sum(dim=0) * b.square().sum(dim=0)
    return (a * b).sum(dim=0).square() / scale.clamp(min=1e-300)
