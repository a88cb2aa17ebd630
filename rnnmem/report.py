"""The memory report: what was measured, and the indicators that follow from it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from operator import index
from typing import Any

from torch import Tensor

from rnnmem.context import Used
from rnnmem.errors import expected, shown
from rnnmem.forgetting import Forgetting
from rnnmem.indicators import memory_amount as amounts
from rnnmem.indicators import span as spans
from rnnmem.indicators.breakdown import Table
from rnnmem.indicators.curve import Curve
from rnnmem.indicators.memory_horizon import memory_horizon
from rnnmem.indicators.suitable_length import (
    SuitableLength,
    suitable_length_memory,
    suitable_length_training,
)
from rnnmem.lags import is_int, is_number, lag_grid
from rnnmem.learning import Learnable
from rnnmem.options import read_flag, read_share
from rnnmem.report_data import check_report, plain, read_json, read_parts, tensor

FORMAT = "rnnmem memory report 1"
DYNAMICS = {"forgotten": Forgetting, "forgotten_inputs": Forgetting, "learnable": Learnable, "used": Used}
LINEAR = ("linear", "linear_se", "linear_own", "linear_own_se")
CONTROLS = ("memoryless", "window", "inference", "inference_se", *LINEAR)


@dataclass(frozen=True)
class MemoryReport:
    """What a network's state keeps, by lag; every tensor float64 [K] on the CPU.

    `retention[k]` belongs to `lags[k]`, in steps. A value is None where it is undefined, and NaN at a
    lag that could not be measured.

    Attributes:
        lags: int64 [K].
        raw: the curve of retention.
        own: the curve of own retention.
        bits: Gaussian bits kept a token.
        own_bits: bits kept of the innovations.
        hull_coverage: how far recalled points reach, as a share of the expressed points' reach.
        controls: "memoryless", "window", "inference" and "inference_se": [K] each, or None when skipped;
            where recall is from features, "linear", "linear_se", "linear_own" and "linear_own_se" too.
        by_position: columns first_step, end_step, lag, distance, retention, rows; or None.
        by_token_class: columns band, lag, distance, retention, rows; or None.
        own_capacity_ceiling: what own capacity could be at most, in tokens.
        utilisation: share of the state's directions that hold something, or None.
        warnings: what a reader has to know.
        backend: which backend ran.
        precision: at which precision.
        rows: {"fit": n, "measured": n} at the first lag.
        model: name, unit, sizes and costs of the network.
        settings: how it was measured.
        forgotten: how fast different states become the same; None where that was not measured.
        forgotten_inputs: how fast states that different inputs led to do.
        exponent: largest conditional Lyapunov exponent of the whole network, nats a step, or None.
        learnable: how far back a gradient reaches.
        used: how much context the model's own prediction profits from; None without a head.
    """

    lags: Tensor
    raw: Curve
    own: Curve
    bits: Tensor
    own_bits: Tensor
    hull_coverage: Tensor
    controls: dict[str, Tensor | None]
    by_position: Table | None
    by_token_class: Table | None
    own_capacity_ceiling: float | None
    utilisation: float | None
    warnings: list[str]
    backend: str
    precision: str
    rows: dict[str, int]
    model: dict[str, Any]
    settings: dict[str, Any]
    forgotten: Forgetting | None = field(default=None)
    forgotten_inputs: Forgetting | None = field(default=None)
    exponent: float | None = field(default=None)
    learnable: Learnable | None = field(default=None)
    used: Used | None = field(default=None)

    @property
    def retention(self) -> Tensor:
        """Share of the token's meaning that an affine map recalls, corrected for the fit."""
        return self.raw.retention

    @property
    def retention_se(self) -> Tensor:
        """Standard error of `retention`; NaN with fewer than 16 blocks."""
        return self.raw.se

    @property
    def retention_heldout(self) -> Tensor:
        """1 - D / V as measured on held-out rows, uncorrected."""
        return self.raw.heldout

    @property
    def own_retention(self) -> Tensor:
        """Retention of what the newer tokens cannot predict."""
        return self.own.retention

    @property
    def own_retention_se(self) -> Tensor:
        """Standard error of `own_retention`."""
        return self.own.se

    @property
    def distance(self) -> Tensor:
        """Root mean squared semantic distance of recalled to expressed points."""
        return self.raw.distance.sqrt()

    @property
    def state_bytes(self) -> int:
        """Bytes of the measured state."""
        return int(self.settings["features"]) * (8 if self.model["dtype"] == "float64" else 4)

    @property
    def bits_per_byte(self) -> Tensor:
        """Bits kept a byte of the measured state."""
        return self.bits / self.state_bytes

    @property
    def own_bits_per_byte(self) -> Tensor:
        """Own bits kept a byte of the measured state."""
        return self.own_bits / self.state_bytes

    @property
    def blocks(self) -> int:
        """Blocks of the jackknife; below 16 there are no standard errors."""
        return self.raw.blocks

    @property
    def capacity(self) -> float | None:
        """Tokens' worth kept, M(max lag + 1)."""
        return amounts.capacity(self.raw)

    @property
    def capacity_se(self) -> float | None:
        """Standard error of `capacity`."""
        return amounts.capacity_se(self.raw)

    @property
    def capacity_at_least(self) -> bool | None:
        """Whether the last lag is still kept, so that the capacity is a lower bound."""
        return amounts.capacity_at_least(self.raw)

    @property
    def horizon(self) -> int | None:
        """Last significant lag in steps."""
        return spans.horizon(self.raw)

    @property
    def half_life(self) -> float | None:
        """Steps until half of the retention at lag 0 is left."""
        return spans.half_life(self.raw)

    @property
    def own_capacity(self) -> float | None:
        """Tokens' worth kept of what the newer tokens cannot predict."""
        return amounts.capacity(self.own)

    @property
    def own_capacity_se(self) -> float | None:
        """Standard error of `own_capacity`."""
        return amounts.capacity_se(self.own)

    @property
    def own_capacity_at_least(self) -> bool | None:
        """Whether the last lag is still kept of its own."""
        return amounts.capacity_at_least(self.own)

    @property
    def own_horizon(self) -> int | None:
        """Last lag of significant own retention, in steps."""
        return spans.horizon(self.own)

    @property
    def own_half_life(self) -> float | None:
        """Steps until half of the own retention at lag 0 is left."""
        return spans.half_life(self.own)

    @property
    def memory_horizon(self) -> int | None:
        """The headline: steps back to which own retention exceeds the inference control."""
        sampled = self.settings.get("inference_lags")
        return memory_horizon(self.own, self.controls["inference"], self.controls["inference_se"], sampled)

    def curve(self, own: bool = False) -> Curve:
        """The curve of retention, or of own retention.

        Args:
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            The curve, with all that its intervals need.

        Raises:
            RnnMemError: `own` of a wrong type.
        """
        return self.own if read_flag("own", own) else self.raw

    def memory_amount(self, n: int, own: bool = False) -> float | None:
        """M(n), the sum of retention over lags 0 ... n - 1.

        Args:
            n: the order, 1 <= n <= max lag + 1 in steps.
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            Tokens' worth kept; None where lag 0 is not in the grid.

        Raises:
            RnnMemError: `n` or `own` out of range or of a wrong type.
        """
        return amounts.memory_amount(self.curve(own), order(n, self.lags))

    def memory_amount_se(self, n: int, own: bool = False) -> float | None:
        """Standard error of M(n).

        Args:
            n: the order, 1 <= n <= max lag + 1 in steps.
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            In tokens; None where lag 0 is not in the grid.

        Raises:
            RnnMemError: `n` or `own` out of range or of a wrong type.
        """
        return amounts.memory_amount_se(self.curve(own), order(n, self.lags))

    def density(self, n: int, own: bool = False) -> float | None:
        """M(n) / n, retention on average over lags 0 ... n - 1.

        Args:
            n: the order, 1 <= n <= max lag + 1 in steps.
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            In tokens a step; None where lag 0 is not in the grid.

        Raises:
            RnnMemError: `n` or `own` out of range or of a wrong type.
        """
        return amounts.density(self.curve(own), order(n, self.lags))

    def relative_distance(self, n: int, own: bool = False) -> float | None:
        """Distance in the semantic space of order n over what was expressed there.

        Args:
            n: the order, 1 <= n <= max lag + 1 in steps.
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            A ratio, 0 for perfect recall; None where lag 0 is not in the grid.

        Raises:
            RnnMemError: `n` or `own` out of range or of a wrong type.
        """
        return amounts.relative_distance(self.curve(own), order(n, self.lags))

    def span(self, theta: float = 0.5, own: bool = False) -> int | None:
        """Steps back to which retention stays at least theta times that at lag 0.

        Args:
            theta: the share, in (0, 1].
            own: of what the newer tokens cannot predict, instead of retention.

        Returns:
            Steps; None where lag 0 is not in the grid or not kept.

        Raises:
            RnnMemError: `theta` or `own` out of range or of a wrong type.
        """
        if not is_number(theta) or not 0 < theta <= 1:
            raise expected("theta", "a number in (0, 1]", shown(theta))
        return spans.span(self.curve(own), float(theta))

    def interval(self, own: bool = False, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Student's t interval at each lag.

        Args:
            own: of what the newer tokens cannot predict, instead of retention.
            level: how often such intervals cover the truth, in (0, 1).

        Returns:
            (low [K], high [K]); NaN with fewer than 16 blocks.

        Raises:
            RnnMemError: `own` or `level` out of range or of a wrong type.
        """
        return self.curve(own).interval(read_share("level", level))

    def suitable_length(self, basis: str = "memory") -> SuitableLength:
        """Which length to train with, by what the state keeps or by what context a trained model uses.

        Args:
            basis: "memory", what the state keeps, or "training", what context a model that was trained at
                `trained_window` uses.

        Returns:
            The length in steps, or None where evidence lacks, with the evidence and the reason in words.

        Raises:
            RnnMemError: another basis.
        """
        if basis == "memory":
            return suitable_length_memory(self.own)
        if basis == "training":
            return suitable_length_training(self.used, self.learnable, self.settings.get("trained_window"))
        raise expected("basis", "'memory' or 'training'", repr(basis))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings.

        Returns:
            A dict for `from_dict`; NaN is None in it, so that it is strict JSON.
        """
        out: dict[str, Any] = {"format": FORMAT}
        for item in dataclasses.fields(self):
            out[item.name] = plain(getattr(self, item.name))
        out["indicators"] = {name: plain(getattr(self, name)) for name in INDICATORS}
        return out

    @staticmethod
    def from_dict(data: dict[str, Any]) -> MemoryReport:
        """The report that `to_dict` wrote.

        Args:
            data: what `to_dict` returned.

        Returns:
            The report, as it was.

        Raises:
            RnnMemError: not such a dict.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            what = repr(data.get("format")) if isinstance(data, dict) else type(data).__name__
            raise expected("data", f"a report of format {FORMAT!r}", what)
        try:
            values = {item.name: data[item.name] for item in dataclasses.fields(MemoryReport)}
            values["lags"] = lag_grid(list(values["lags"]))
            for name in ("raw", "own"):
                parts = {key: tensor(part) for key, part in values[name].items() if key != "lags"}
                parts["jackknife"] = parts["jackknife"].view(-1, len(values["lags"]))
                values[name] = Curve(lags=values["lags"], **parts)
            for name in ("bits", "own_bits", "hull_coverage"):
                values[name] = tensor(values[name])
            given = values["controls"]
            curves = {key: given.get(key) if key in LINEAR else given[key] for key in CONTROLS}
            values["controls"] = {k: None if part is None else tensor(part) for k, part in curves.items()}
            for name, kind in DYNAMICS.items():
                values[name] = read_parts(kind, values[name])
            report = MemoryReport(**values)
            check_report(report)
            return report
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            what = f"one with a part missing or wrong: {error}"
            raise expected("data", "a whole memory report", what) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as .html, .json, .png or .csv, by the ending of `path`.

        Args:
            path: where to.

        Raises:
            RnnMemError: another ending, or a place that cannot be written to.
        """
        from rnnmem.writers import write_report

        write_report(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> MemoryReport:
        """Reads a report that was saved as .json.

        Args:
            path: where from.

        Returns:
            The report, as it was.

        Raises:
            RnnMemError: a file that is not there, cannot be read, or holds something else.
        """
        return read_json("a report saved as .json", path, MemoryReport.from_dict)

    def __str__(self) -> str:
        from rnnmem.text_report import report_text

        return report_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from rnnmem.page import report_fragment

        return report_fragment(self)


INDICATORS = (
    "memory_horizon",
    "capacity",
    "capacity_se",
    "capacity_at_least",
    "horizon",
    "half_life",
    "own_capacity",
    "own_capacity_se",
    "own_capacity_at_least",
    "own_horizon",
    "own_half_life",
    "retention",
    "retention_se",
    "own_retention",
    "own_retention_se",
    "blocks",
)


def order(n: int, lags: Tensor) -> int:
    """Checks the order of a semantic space."""
    longest = int(lags[-1]) + 1
    if not is_int(n) or not 1 <= index(n) <= longest:
        raise expected("n", f"an int in 1 ... {longest}", shown(n))
    return index(n)
