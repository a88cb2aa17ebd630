"""What `compare` measured: reports by network, state and seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from rnnmem.errors import expected
from rnnmem.ranking import Rank, rank
from rnnmem.report import MemoryReport
from rnnmem.report_data import read_json

FORMAT = "rnnmem comparison 1"


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured.

    Attributes:
        reports: by name and state ("output", "full"), a report for each seed.
        match: what the networks were declared equal in, or None.
        trained: by name; None where it was not said.
        warnings: what a reader has to know of the comparison itself.
    """

    reports: dict[str, dict[str, list[MemoryReport]]]
    match: str | None
    trained: dict[str, bool | None]
    warnings: list[str]

    @property
    def table(self) -> str:
        """Sizes, costs and what each network keeps, for a terminal."""
        from rnnmem.text_report import comparison_text

        return comparison_text(self)

    def __str__(self) -> str:
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings.

        Returns:
            A dict for `from_dict`; strict JSON.
        """
        reports = {
            name: {state: [report.to_dict() for report in seeds] for state, seeds in states.items()}
            for name, states in self.reports.items()
        }
        return {
            "format": FORMAT,
            "match": self.match,
            "trained": self.trained,
            "warnings": self.warnings,
            "reports": reports,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Comparison:
        """The comparison that `to_dict` wrote.

        Args:
            data: what `to_dict` returned.

        Returns:
            The comparison, as it was.

        Raises:
            RnnMemError: not such a dict.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            what = repr(data.get("format")) if isinstance(data, dict) else type(data).__name__
            raise expected("data", f"a comparison of format {FORMAT!r}", what)
        try:
            reports = {
                name: {state: [MemoryReport.from_dict(r) for r in seeds] for state, seeds in states.items()}
                for name, states in data["reports"].items()
            }
            match, trained, warnings = data["match"], data["trained"], data["warnings"]
        except (KeyError, TypeError, AttributeError) as error:
            what = f"one with a part missing or wrong: {error}"
            raise expected("data", "a whole comparison", what) from error
        for name, value, kind in (("trained", trained, dict), ("warnings", warnings, list)):
            if not isinstance(value, kind):
                raise expected("data", f"a whole comparison, {name} a {kind.__name__}", type(value).__name__)
        return Comparison(reports, match, trained, warnings)

    def ranking(self, indicator: str = "own_capacity", state: str = "output") -> list[Rank]:
        """Puts the networks in order of one indicator, the most first; keeping more is not being better.

        Args:
            indicator: "own_capacity", "capacity", "memory_horizon", "own_half_life", "convergence_length",
                "reach" or "used_span".
            state: which state's.

        Returns:
            A `Rank` for each network: mean over seeds with its 95 % interval, and the places it can have.

        Raises:
            RnnMemError: networks without a declared match, fewer than 3 seeds of one, an indicator that a
                seed has no value of, another indicator or a state that was not measured.
        """
        return rank(self, indicator, state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the comparison as .html, .json, .png or .csv, by the ending of `path`.

        Args:
            path: where to.

        Raises:
            RnnMemError: another ending, or a place that cannot be written to.
        """
        from rnnmem.writers import write_comparison

        write_comparison(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Comparison:
        """Reads a comparison that was saved as .json.

        Args:
            path: where from.

        Returns:
            The comparison, as it was.

        Raises:
            RnnMemError: a file that is not there, cannot be read, or holds something else.
        """
        return read_json("a comparison saved as .json", path, Comparison.from_dict)
