"""Recall maps: affine ridge maps from a state back to the tokens that it has seen, and what fitting cost.

Source: docs/definitions.md, this project's reconstruction; the correction is the usual degrees-of-
freedom argument for a ridge fit to autocorrelated rows.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.innovations import Innovations, Predictor
from rnnmem.lags import is_int, is_number, lag_grid

FORMAT = "rnnmem recall maps 1"
PREDICTOR_PARTS = ("weight", "bias", "newer", "innovation")


@dataclass(frozen=True)
class CurveFit:
    """What the fit leaves for one curve, raw or own.

    Attributes:
        weight: recall maps [K, d, F], float64.
        bias: [K, d].
        target_mean: mean target on the fit rows [K, d].
        effective_rows: N_eff [K].
        map_variance: [K], what (1 - retention)^2 is multiplied by for the map's own error.
        predictor_variance: [K], what the fitted innovation predictor adds to the variance of own retention.
        predictor_gain: [K], how much of its error the state can tell, a gain that is taken off again.
        predictor_loss: [K], how much its error adds to what is to be told, relative to the innovations.
    """

    weight: Tensor
    bias: Tensor
    target_mean: Tensor
    effective_rows: Tensor
    map_variance: Tensor
    predictor_variance: Tensor
    predictor_gain: Tensor
    predictor_loss: Tensor


@dataclass(frozen=True)
class RecallMaps:
    """Frozen recall maps, and all that measuring with them needs.

    Attributes:
        lags: int64 [K].
        raw: the fit to the tokens' vectors.
        own: the fit to their innovations.
        rows: fit rows by lag [K].
        effective_size: H_eff by lag [K].
        rank: rank of the state's covariance.
        innovations: the predictors that own retention takes out.
        innovation_spectra: eigenvalues of each order's innovation covariance [p + 1, d], each summing to 1.
        null_weight: [d, F], a map fitted to unrelated targets.
        null_bias: [d].
        directions: unit vectors [8, d] of hull coverage.
        ranges: [8, 2], where the histograms along them begin and end.
        token_band: band of each token [V], 0 the most frequent, or None.
        entropy: bits a token of the fit rows, or None.
        block_width: steps of the narrowest jackknife block.
        settings: the options that the maps were fitted with.
        warnings: lines for the report.
    """

    lags: Tensor
    raw: CurveFit
    own: CurveFit
    rows: Tensor
    effective_size: Tensor
    rank: int
    innovations: Innovations
    innovation_spectra: Tensor
    null_weight: Tensor
    null_bias: Tensor
    directions: Tensor
    ranges: Tensor
    token_band: Tensor | None
    entropy: float | None
    block_width: int
    settings: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())

    @property
    def weight(self) -> Tensor:
        """[K, d, H], float64."""
        return self.raw.weight

    def __repr__(self) -> str:
        lags = f"{len(self.lags)} lags up to {self.history}"
        return f"RecallMaps({lags}, {self.features} features to {self.dimension} dimensions)"

    @property
    def bias(self) -> Tensor:
        """[K, d], float64."""
        return self.raw.bias

    @property
    def own_weight(self) -> Tensor:
        """[K, d, H], float64."""
        return self.own.weight

    @property
    def own_bias(self) -> Tensor:
        """[K, d], float64."""
        return self.own.bias

    @property
    def history(self) -> int:
        """How many steps back lags and predictors reach."""
        return int(self.lags[-1])

    @property
    def features(self) -> int:
        """H, the features that the maps read."""
        return int(self.raw.weight.shape[2])

    @property
    def dimension(self) -> int:
        """d, of the semantic vectors."""
        return int(self.raw.weight.shape[1])

    @property
    def has_own(self) -> bool:
        """Whether own retention differs from retention."""
        return self.innovations.order > 0

    def recall(self, h: Tensor, own: bool = False) -> Tensor:
        """Recalls the tokens (or their innovations) from states.

        Args:
            h: states [..., H], float.
            own: recall innovations instead of the tokens' vectors.

        Returns:
            Recalled points [K, ..., d] in the dtype of `h`.

        Raises:
            RnnMemError: `h` of a wrong type, dtype or last size, or not finite.

        Example:
            >>> import torch, rnnmem
            >>> maps = rnnmem.fit_recall(torch.nn.RNN(1, 4), torch.randn(600, 2, 1), lags=3)
            >>> maps.recall(torch.zeros(5, 4)).shape
            torch.Size([4, 5, 1])
        """
        if not isinstance(h, Tensor) or not h.is_floating_point():
            raise expected("h", "a float Tensor (..., H)", getattr(h, "dtype", type(h).__name__))
        if h.dim() == 0 or h.shape[-1] != self.features:
            raise expected("h", f"shape (..., {self.features})", tuple(h.shape))
        if h.is_meta:
            raise expected("h", "a Tensor with values", "one on the meta device")
        if not bool(h.isfinite().all()):
            at = (~h.isfinite().all(dim=-1)).nonzero()
            where = f" at {tuple(at[0].tolist())} of {tuple(h.shape[:-1])}" if h.dim() > 1 else ""
            raise expected("h", "finite states", f"NaN or Inf{where}")
        if not isinstance(own, bool):
            raise expected("own", "True or False", repr(own))
        fit = self.own if own else self.raw
        weight, bias = fit.weight.to(h), fit.bias.to(h)
        shape = (len(self.lags), *[1] * (h.dim() - 1), self.dimension)
        return torch.einsum("...h,kdh->k...d", h, weight) + bias.view(shape)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the maps as safetensors.

        Args:
            path: where to.

        Raises:
            RnnMemError: a place that cannot be written to.
        """
        tensors, scalars = self.contents()
        metadata = {"format": FORMAT, "scalars": json.dumps(scalars)}
        try:
            save_file({k: v.contiguous().cpu().clone() for k, v in tensors.items()}, path, metadata)
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise expected("path", "a place that can be written to", f"{path!r}: {error}") from error

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the maps are made of.

        Returns:
            Tensors and plain values, by name.
        """
        tensors: dict[str, Tensor] = {}
        scalars: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                tensors[item.name] = value
            elif isinstance(value, CurveFit):
                for part in dataclasses.fields(value):
                    tensors[f"{item.name}.{part.name}"] = getattr(value, part.name)
            elif isinstance(value, Innovations):
                scalars["predictor_rows"] = [p.rows for p in value.predictors]
                for m, predictor in enumerate(value.predictors):
                    for name in PREDICTOR_PARTS:
                        tensors[f"predictor.{m}.{name}"] = getattr(predictor, name)
            else:
                scalars[item.name] = value
        return tensors, scalars

    def equals(self, other: RecallMaps) -> bool:
        """Whether every number of the maps is the same.

        Args:
            other: the maps to hold these against.

        Returns:
            True or False.

        Raises:
            RnnMemError: not recall maps.
        """
        if not isinstance(other, RecallMaps):
            raise expected("other", "RecallMaps from fit_recall", type(other).__name__)
        (mine, plain), (theirs, other_plain) = self.contents(), other.contents()
        # Files keep lists where tuples were.
        return (
            json.dumps(plain) == json.dumps(other_plain)
            and mine.keys() == theirs.keys()
            and all(torch.equal(mine[name], theirs[name]) for name in mine)
        )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> RecallMaps:
        """Reads maps that `save` wrote.

        Args:
            path: where from.

        Returns:
            The maps, as they were.

        Raises:
            RnnMemError: a file that is not there, cannot be read, or holds something else.
        """
        wanted = "a file of recall maps"
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise expected("path", wanted, f"{str(path)!r}: {error}") from error
        if metadata.get("format") != FORMAT:
            raise expected("path", wanted, f"{str(path)!r} of format {metadata.get('format')!r}")
        try:
            maps = maps_from(json.loads(metadata["scalars"]), tensors)
            check_maps(maps)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"{str(path)!r} with a part missing or wrong: {error}"
            raise expected("path", "a whole file of recall maps", what) from error
        return maps


def maps_from(scalars: dict[str, Any], tensors: dict[str, Tensor]) -> RecallMaps:
    """The maps out of what a file holds."""
    predictors = tuple(
        Predictor(**{name: tensors[f"predictor.{m}.{name}"] for name in PREDICTOR_PARTS}, rows=rows)
        for m, rows in enumerate(scalars.pop("predictor_rows"))
    )
    parts = [part.name for part in dataclasses.fields(CurveFit)]
    fields: dict[str, Any] = {key: value for key, value in tensors.items() if "." not in key}
    for curve in ("raw", "own"):
        fields[curve] = CurveFit(**{part: tensors[f"{curve}.{part}"] for part in parts})
    scalars["warnings"] = tuple(scalars["warnings"])
    fields.setdefault("token_band", None)
    return RecallMaps(**{**scalars, **fields}, innovations=Innovations(predictors))


def check_maps(maps: RecallMaps) -> None:
    """Raises ValueError for maps whose parts do not belong together, as a damaged file holds them."""
    if not torch.equal(lag_grid(maps.lags), maps.lags):
        raise ValueError("lags")
    d, features = maps.raw.weight.shape[1:]
    count, axes, orders = len(maps.lags), len(maps.directions), len(maps.innovations.predictors)
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "rows": (maps.rows, (count,)),
        "effective_size": (maps.effective_size, (count,)),
        "innovation_spectra": (maps.innovation_spectra, (orders, d)),
        "null_weight": (maps.null_weight, (d, features)),
        "null_bias": (maps.null_bias, (d,)),
        "directions": (maps.directions, (axes, d)),
        "ranges": (maps.ranges, (axes, 2)),
    }
    for name, fit in (("raw", maps.raw), ("own", maps.own)):
        for part in dataclasses.fields(CurveFit):
            size = {"weight": (count, d, features), "bias": (count, d), "target_mean": (count, d)}
            shapes[f"{name}.{part.name}"] = (getattr(fit, part.name), size.get(part.name, (count,)))
    for m, predictor in enumerate(maps.innovations.predictors):
        sizes = ((d, m * d), (d,), (m * d, m * d), (d, d))
        for part_name, size_ in zip(PREDICTOR_PARTS, sizes, strict=True):
            shapes[f"predictor.{m}.{part_name}"] = (getattr(predictor, part_name), size_)
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)}, not {shape}")
        if name != "rows" and (tensor.dtype != torch.float64 or not bool(tensor.isfinite().all())):
            raise ValueError(f"{name}, which is not finite float64")
    for name, choices in (("split", ("time", "streams")), ("state", ("output", "full"))):
        if maps.settings[name] not in choices:
            raise ValueError(f"settings: {name} {maps.settings[name]!r}")
    if maps.settings["semantics"] not in ("inputs", "table", "beside"):
        raise ValueError(f"settings: semantics {maps.settings['semantics']!r}")
    if not is_int(maps.block_width) or maps.block_width < 1:
        raise ValueError(f"block_width {maps.block_width!r}")
    if maps.entropy is not None and not is_number(maps.entropy):
        raise ValueError(f"entropy {maps.entropy!r}")
    for name in ("washout", "seed", "layer", "features", "innovation_order"):
        if not is_int(maps.settings[name]):
            raise ValueError(f"settings: {name} {maps.settings[name]!r}")
