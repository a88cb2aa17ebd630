"""A non-linear reading of the state: recall from fixed random features of it, beside the state itself.

A linear recall map cannot read what a state holds in a folded form: a product, a sign, a magnitude. Random
features tanh(a.z + b) of the standardised state z span enough non-linear functions to find much of it, and
the map from them is still fitted by the same ridge, with the same correction and errors.

Source: Rahimi & Recht 2008 (random features); Huang et al. 2006 (extreme learning machines).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import Chunk
from rnnmem.reference import project
from rnnmem.ridge import RidgeSystem
from rnnmem.runner import Runner
from rnnmem.scan import Projected, Projection

COUNT = 256


class FeatureRunner:
    """A `Runner` whose features are another's and so many random ones of them.

    Weights are normal, their squares summing to 1 on average, and offsets normal: at units of unit variance
    every tanh is driven well into its bend.

    Args:
        runner: the network in motion.
        state: mean and scale of its features on the fit rows.
        seed: of the random features.
    """

    def __init__(self, runner: Runner, state: RidgeSystem, seed: int) -> None:
        self.runner, self.stream_dim = runner, runner.stream_dim
        self.sum_moments = runner.sum_moments
        size = len(state.mean)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(size + 1, COUNT, generator=generator, dtype=torch.float64).to(state.mean.device)
        used = int((state.inverse_scale > 0).sum())
        self.weight = drawn[:-1] * state.inverse_scale[:, None] / max(1, used) ** 0.5
        self.offset = drawn[-1] - state.mean @ self.weight

    def init_state(self, streams: int) -> Any:
        return self.runner.init_state(streams)

    def store(self, chunk: Chunk, state: Any) -> tuple[Tensor, Any]:
        values, state = self.runner.store(chunk, state)
        folded = torch.tanh(values @ self.weight.to(values) + self.offset.to(values))
        return torch.cat((values, folded), dim=-1), state

    def project(self, chunk: Chunk, state: Any, projection: Projection) -> tuple[Projected, Any]:
        values, state = self.store(chunk, state)
        return project(values, projection), state
