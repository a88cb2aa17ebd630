"""The cpu backend: the compiled operators `torch.ops.rnnmem.*` and the scan that is made of them.

The operators change nothing in place. What they take, beside the names that `rnnmem.scan` explains:

- pack: `weight` [N, G*H, K], `gates` G, to panels [N, panels, K, vectors, lanes]; see csrc/job.h. Pairs of
  bfloat16 numbers go as int32, K of them; `store` and `project` take `ih` and `hh` that are packed so.
- gate_rows: `inputs` [N, I] to rows W_ih x + b_ih, packed: what `table` is when there is no `ih`.
- store, project: the layer packed as N = 1; `inputs` float [T, B, I] with unit stride in the last dimension
  and no `table`, or tokens [T, B] that name rows of `table`, either x rows [V, I] with `ih` or packed gates
  [V, panels * vectors * lanes] without.
- layer: `store` of a layer whose weights are given as torch.nn has them, contiguous; packed in every call, or
  read as they are where the steps are few. `h`, `c` are the initial state's parts [B, H], None for zeros; the
  last state's come back as [1, B, H], `c` empty for a unit of one part. Everything may be bfloat16; `half`
  lets float32 weights be rounded to it.
- pull: `states` [T, B, S*H] as `store` gives them; `back` is W_hh transposed, each gate's rows padded to the
  padded size of a one-gate matrix, and `pack`ed as one gate.
- moments: second moments as in `rnnmem.moment_sums`, products with targets in the factors' own dtype within
  a tile of rows.
- project: `maps` [groups of maps, panels, F, vectors, lanes] and `map_bias` are `pack`ed group by group.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError, expected
from rnnmem.fakes import FAKES, panels
from rnnmem.moment_sums import Factors, MomentSums
from rnnmem.scan import Projected, Projection, Pulled
from rnnmem.units import Unit, Weights

GATE_TABLE_BYTES = 64 << 20
GROUP_COLUMNS = 256  # columns of the recall maps that are projected at a time

_extension: Any = None
_missing: str | None = None


def _load() -> None:
    """Imports the compiled module once; what fails is remembered and said when the backend is asked for."""
    global _extension, _missing
    if _extension is not None or _missing is not None:
        return
    try:
        _extension = importlib.import_module("rnnmem._C")
    except ImportError as error:
        build = "build it with `pip install --no-build-isolation .`"
        _missing = f"the compiled extension rnnmem._C ({build}): {error}"
        return
    for name, fake in FAKES.items():
        torch.library.register_fake(f"rnnmem::{name}", fake)


def missing() -> str | None:
    """Why the cpu backend cannot run here, in one line, or None."""
    _load()
    return _missing


def isa_levels() -> list[str]:
    """The instruction sets that this machine runs, best first.

    Raises:
        RnnMemError: the compiled extension is missing.

    Example:
        >>> from rnnmem.ops import isa_levels
        >>> isa_levels()[-1] in ("baseline", "neon")
        True
    """
    _load()
    if _extension is None:
        raise expected("backend", _missing or "the compiled extension", "no such module")
    levels: list[str] = _extension.isa_levels()
    return levels


class CpuScan:
    """One layer on the cpu backend; see `rnnmem.scan.Scan`.

    Args:
        unit: a unit that the compiled kernels have.
        weights: its weights, float32 or float64 on the CPU; packed here, once.
        embedding: table [V, I] when the inputs are tokens. The gates W_ih e + b_ih of each token are computed
            here, once, if they take at most 64 MiB.
        isa: one of `isa_levels()`; None takes the best.
        half: keeps the matrices in bfloat16, float32 rounded to it; what is computed in stays float32.

    Raises:
        RnnMemError: the compiled extension is missing, an unknown unit, or an ISA that this machine lacks.
    """

    def __init__(
        self,
        unit: Unit,
        weights: Weights,
        embedding: Tensor | None = None,
        isa: str | None = None,
        half: bool = False,
    ) -> None:
        levels = isa_levels()
        if isa is not None and isa not in levels:
            raise expected("isa", "one of " + ", ".join(levels), repr(isa))
        self.isa = levels[0] if isa is None else isa
        self.unit, self.embedding = unit, embedding
        self.weights = weights.rounded() if half else weights
        self.ops = torch.ops.rnnmem
        self._maps_key: tuple[tuple[Tensor, int], ...] | None = None
        self._packed_maps: tuple[Tensor, Tensor]
        try:
            self._layer = self._pack_layer(half)
        except RuntimeError as error:
            raise RnnMemError(f"weights: {error}".splitlines()[0]) from error

    def _pack(self, weight: Tensor, gates: int) -> Tensor:
        packed: Tensor = self.ops.pack(weight.detach().contiguous(), gates, self.isa)
        return packed

    def _pack_layer(self, half: bool) -> tuple[Any, ...]:
        w, gates, name, isa = self.weights, self.unit.gates, self.unit.name, self.isa

        def packed(weight: Tensor, as_pairs: bool = False) -> Tensor:
            kept = pairs(weight.detach()) if as_pairs else weight
            return self._pack(kept.reshape(1, weight.shape[0], -1), gates)

        bias_ih, bias_hh = packed(w.bias_ih), packed(w.bias_hh)
        ih, hh = packed(w.ih, half), packed(w.hh, half)
        if self.embedding is None:
            return (None, ih, bias_ih, hh, bias_hh, w.leak)
        table = self.embedding.detach().contiguous()
        if table.shape[0] * bias_ih.numel() * bias_ih.element_size() > GATE_TABLE_BYTES:
            return (table, ih, bias_ih, hh, bias_hh, w.leak)
        whole = (packed(w.ih), packed(w.hh)) if half else (ih, hh)
        rows = self.ops.gate_rows(name, isa, table, whole[0], bias_ih, whole[1], bias_hh)
        return (rows, None, bias_ih, hh, bias_hh, w.leak)

    @cached_property
    def _whole_layer(self) -> tuple[Any, ...]:
        """The layer with its matrices in full, as the way back reads them."""
        return self._layer if self._layer[3].dtype == self.weights.hh.dtype else self._pack_layer(False)

    def _arguments(
        self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool, whole: bool = False
    ) -> tuple[Any, ...]:
        inputs = inputs.detach()
        if inputs.dim() == 2 or inputs.stride(-1) != 1:
            inputs = inputs.contiguous()
        reset = None if reset is None else reset.contiguous()
        layer = self._whole_layer if whole else self._layer
        return (self.unit.name, self.isa, inputs, *layer, state.detach().contiguous(), reset, full)

    def store(self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool) -> tuple[Tensor, Tensor]:
        """See `rnnmem.scan.Scan.store`."""
        features, last = self.ops.store(*self._arguments(inputs, state, reset, full))
        return features, last

    def project(
        self, inputs: Tensor, state: Tensor, reset: Tensor | None, full: bool, projection: Projection
    ) -> tuple[Projected, Tensor]:
        """See `rnnmem.scan.Scan.project`."""
        p = projection
        maps, bias = self._maps(p)
        distance, moment, coordinates, last = self.ops.project(
            *self._arguments(inputs, state, reset, full),
            maps,
            bias,
            *(x.detach().contiguous() for x in (p.targets, p.buffer, p.lag, p.age, p.min_age)),
            p.step,
            p.moment_every,
            p.directions.detach().contiguous(),
            p.coordinate_maps,
            p.coordinate_every,
        )
        return Projected(distance, moment, coordinates), last

    def pull(
        self,
        inputs: Tensor,
        state: Tensor,
        states: Tensor,
        gradient: Tensor,
        above: Tensor | None,
        sides: bool,
    ) -> Pulled:
        """See `rnnmem.scan.Scan.pull`."""
        pulled = self.ops.pull(
            *self._arguments(inputs, state, None, True, whole=True),
            self._back,
            states.detach().contiguous(),
            gradient.detach().contiguous(),
            None if above is None else above.detach().contiguous(),
            sides,
        )
        return Pulled(*pulled)

    @cached_property
    def _back(self) -> Tensor:
        """What takes the gradient of the recurrent side to the output before, packed when first needed."""
        hh = self.weights.hh.detach()
        gates, size = self.unit.gates, hh.shape[1]
        count, vectors, lanes = panels(size, 1, self.isa, hh.dtype)
        padded = torch.nn.functional.pad(
            hh.view(gates, size, size), (0, 0, 0, count * vectors * lanes - size)
        )
        return self._pack(padded.flatten(0, 1).T.contiguous().unsqueeze(0), 1)

    def _maps(self, p: Projection) -> tuple[Tensor, Tensor]:
        """The recall maps packed in groups, kept while the next chunk brings the same unchanged tensors."""
        key = tuple((x, 0 if x.is_inference() else x._version) for x in (p.weight, p.bias))
        if self._maps_key is not None and all(
            new[0] is old[0] and new[1] == old[1] and not new[0].is_inference()
            for new, old in zip(key, self._maps_key, strict=True)
        ):
            return self._packed_maps
        maps, d, features = p.weight.shape
        groups, each = map_groups(maps, d)
        padding = (0, 0, 0, groups * each - maps)
        weight = torch.nn.functional.pad(p.weight.detach().reshape(maps, d * features), padding)
        bias = torch.nn.functional.pad(p.bias.detach(), padding)
        self._packed_maps = (
            self._pack(weight.view(groups, each * d, features), 1),
            self._pack(bias.view(groups, each * d, 1), 1),
        )
        self._maps_key = key
        return self._packed_maps


def pairs(weight: Tensor) -> Tensor:
    """A matrix [N, K] of bfloat16 numbers as [N, ceil(K / 2)] pairs, each an int32."""
    return torch.nn.functional.pad(weight.bfloat16(), (0, weight.shape[1] % 2)).view(torch.int32)


def plan(
    unit: str, inputs: int, hidden: int, streams: int, steps: int, threads: int
) -> tuple[int, int, float, int]:
    """Teams, threads in each, modelled seconds and steps of a time tile of a float32 layer's forward pass.

    See csrc/plan.h.
    """
    isa_levels()  # raises where nothing is built
    found: tuple[int, int, float, int] = _extension.plan(unit, inputs, hidden, streams, steps, threads)
    return found


def sum_moments(of: Factors, isa: str | None = None) -> MomentSums:
    """The compiled sums; see `rnnmem.moment_sums`."""
    isa = isa_levels()[0] if isa is None else isa
    given = (of.left, of.left_at, of.right, of.right_at, of.row, of.left_pilot, of.right_pilot)
    return MomentSums(*torch.ops.rnnmem.moments(*(x.detach().contiguous() for x in given), isa))


def map_groups(maps: int, d: int) -> tuple[int, int]:
    """How many groups the maps go in, and how many maps a group has (the last one may have fewer)."""
    groups = -(-maps // max(1, GROUP_COLUMNS // d)) if maps else 0
    return groups, -(-maps // groups) if groups else 0
