"""The reference backend: every step in plain torch, in the model's own float32 or float64.

Every other backend has to agree with this file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnmem.scan import Projected, Projection, Pulled
from rnnmem.units import Unit, Weights
from rnnmem.units.unit import pull_back

GROUP_COLUMNS = 512  # of the recall maps that are projected at a time


class ReferenceScan:
    """One layer of plain-torch steps; see `rnnmem.scan.Scan`."""

    def __init__(self, unit: Unit, weights: Weights, embedding: Tensor | None = None) -> None:
        self.unit = unit
        self.weights = weights
        self.embedding = embedding

    def store(self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool) -> tuple[Tensor, Tensor]:
        features = []
        for t in range(inputs.shape[0]):
            if reset is not None:
                state = state.masked_fill(reset[t].view(1, -1, 1), 0)
            x = inputs[t] if self.embedding is None else self.embedding[inputs[t]]
            state = self.unit.step(self.weights, x, state)
            features.append(torch.cat(tuple(state), dim=-1) if full else state[0])
        width = self.weights.hidden_size * (len(self.unit.state_parts) if full else 1)
        empty = state.new_empty(0, inputs.shape[1], width)
        return torch.stack(features) if features else empty, state

    def project(
        self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool, projection: Projection
    ) -> tuple[Projected, Tensor]:
        features, state = self.store(inputs, state, reset, full)
        return project(features, projection), state

    def pull(
        self,
        inputs: Tensor,
        state: Tensor,
        states: Tensor,
        gradient: Tensor,
        above: Tensor | None,
        sides: bool,
    ) -> Pulled:
        steps, found = len(inputs), []
        squares = gradient.new_empty(steps, gradient.shape[1], dtype=torch.float64)
        parts = states.unflatten(-1, (len(self.unit.state_parts), -1)).movedim(2, 1)
        for t in reversed(range(steps)):
            if above is not None:
                gradient = torch.cat((gradient[:1] + above[t], gradient[1:]))
            x = inputs[t] if self.embedding is None else self.embedding[inputs[t]]
            before = parts[t - 1] if t else state
            side, recurrent, past = self.unit.step_backward(self.weights, x, before, gradient)
            gradient = pull_back(self.weights, recurrent, past)
            squares[t] = gradient.double().square().sum(dim=(0, 2))
            if sides:
                found.append(side)
        empty = gradient.new_empty(0, gradient.shape[1], len(self.weights.hh))
        return Pulled(gradient, squares, torch.stack(found[::-1]) if found else empty)


def project(features: Tensor, p: Projection) -> Projected:
    """Holds features [T, B, F] against the projection's targets; see `Projected`."""
    steps, streams = features.shape[:2]
    history = p.targets.shape[1] - steps
    maps, d = p.bias.shape
    times = torch.arange(p.step, p.step + steps, device=features.device)
    in_moment = (times % p.moment_every == 0).view(-1, 1)
    in_coordinates = times % p.coordinate_every == 0
    distance = features.new_empty(steps, streams, maps)
    moment = torch.zeros(maps, d, d, dtype=torch.float64, device=features.device)
    coordinates = features.new_empty(
        int(in_coordinates.sum()), streams, p.coordinate_maps, p.directions.shape[0]
    )
    group = max(1, GROUP_COLUMNS // d)
    for index in range(maps):
        if index % group == 0:
            some = slice(index, index + group)
            several = (features @ p.weight[some].flatten(0, 1).T).unflatten(-1, (-1, d)) + p.bias[some]
        start = history - int(p.lag[index])
        recalled = several[:, :, index % group]
        residual = recalled - p.targets[p.buffer[index], start : start + steps]
        distance[:, :, index] = residual.square().sum(dim=-1)
        counted = residual[(p.age >= p.min_age[index]) & in_moment].double()
        moment[index] = counted.T @ counted
        if index < p.coordinate_maps:
            coordinates[:, :, index] = recalled[in_coordinates] @ p.directions.T
    return Projected(distance, moment, coordinates)
