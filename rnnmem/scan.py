"""The loop over time as every backend offers it: one layer, two sinks.

`store` writes the state of every step; `project` maps it into the semantic space, takes its distance to
what was expressed there, and keeps no step of the trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Projection:
    """Where a state is projected to, and which points it is held against.

    Map l recalls, at step t of the chunk and stream b, the target
    `targets[buffer[l], history + t - lag[l], b]`. A row counts for map l where `age[t, b] >= min_age[l]`.

    Attributes:
        weight: recall maps [L, d, F].
        bias: [L, d].
        targets: semantic points [N, history + T, B, d]: N kinds, the chunk preceded by its history.
        buffer: int64 [L], which kind map l recalls.
        lag: int64 [L], how many steps back; at most `history`.
        age: int64 [T, B], steps since the stream's start or last reset, -1 where there is no step.
        min_age: int64 [L].
        step: absolute index of the chunk's first step.
        moment_every: second moments of the residual are taken at absolute steps divisible by this.
        directions: unit vectors [R, d] along which recalled points are read.
        coordinate_maps: how many maps, from the first, are read along `directions`.
        coordinate_every: ... at absolute steps divisible by this.
    """

    weight: Tensor
    bias: Tensor
    targets: Tensor
    buffer: Tensor
    lag: Tensor
    age: Tensor
    min_age: Tensor
    step: int
    moment_every: int
    directions: Tensor
    coordinate_maps: int
    coordinate_every: int


@dataclass(frozen=True)
class Projected:
    """What the `project` sink leaves of a chunk.

    Attributes:
        distance: squared distances [T, B, L] of recalled to expressed points, for every row, counted or not.
        moment: sums of residual outer products [L, d, d], float64, over the rows that count.
        coordinates: recalled points along the directions [T', B, coordinate_maps, R], T' the steps taken.
    """

    distance: Tensor
    moment: Tensor
    coordinates: Tensor


@dataclass(frozen=True)
class Pulled:
    """What becomes of the gradient of a chunk's last state on the way back through its steps.

    Attributes:
        gradient: of the state before the first step [S, B, H].
        squares: squared length of the gradient of the state before each step [T, B], float64.
        sides: gradient of the gates' input side W_ih x + b_ih [T, B, G*H]; of no steps unless asked for.
    """

    gradient: Tensor
    squares: Tensor
    sides: Tensor


class Scan(Protocol):
    """One layer bound to a backend; weights are packed once, when it is made.

    Inputs are float [T, B, I], or int64 tokens [T, B] for a scan made with an embedding table [V, I].
    The state is [S, B, H], S the unit's state parts. `reset` is bool [T, B] or None: where it is True the
    stream's state is zeroed before the step. `full` takes all state parts as features (F = S*H), else the
    output alone (F = H). The new state comes back; nothing is changed in place.
    """

    def store(self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool) -> tuple[Tensor, Tensor]:
        """Runs the chunk and returns (features [T, B, F], state)."""

    def project(
        self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool, projection: Projection
    ) -> tuple[Projected, Tensor]:
        """Runs the chunk and returns (what the projection leaves, state)."""

    def pull(
        self,
        inputs: Tensor,
        state: Tensor,
        states: Tensor,
        gradient: Tensor,
        above: Tensor | None,
        sides: bool,
    ) -> Pulled:
        """Pulls a gradient back through a chunk without resets.

        Args:
            inputs: as given to `store`.
            state: as given to `store`.
            states: the full features that it returned [T, B, S*H].
            gradient: of the last state [S, B, H].
            above: gradient that comes to each step's output from elsewhere [T, B, H], or None.
            sides: whether the gradient of the gates' input side is wanted.
        """
