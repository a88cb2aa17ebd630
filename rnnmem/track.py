"""Memory while a network is trained: measured every so often, and kept by training step."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from inspect import signature
from operator import index
from typing import Any

from torch import Tensor

from rnnmem.assess import assess, naming
from rnnmem.errors import RnnMemError, expected, shown
from rnnmem.hooks import Hooks
from rnnmem.lags import is_int
from rnnmem.options import read_measures
from rnnmem.report import MemoryReport
from rnnmem.report_data import plain
from rnnmem.track_state import WHEN, Number, read_curve, read_failures, read_progress, read_report

FORMAT = "rnnmem track 1"
SHARE = 0.05  # of the training time is what measuring may take
KEPT = (
    "memory_horizon",
    "own_capacity",
    "own_capacity_se",
    "own_capacity_at_least",
    "own_horizon",
    "capacity",
    "capacity_se",
    "capacity_at_least",
)
OPTIONS = frozenset(signature(assess).parameters) - {"model", "inputs"}
DYNAMICS = {"forgotten": "convergence_length", "learnable": "reach", "used": "used_span"}


def track(model: Any, sample: Tensor, every: int | None = None, **assess_options: Any) -> Tracker:
    """Follows what a network remembers while it is trained.

    Measures at once, and from then on as `step` is called. At the default, every=None, a measurement is made
    only if with it all of them take at most 5 % of the training time so far, as far as can be foreseen.

    Args:
        model: what is trained, as in `assess`; it is read and never changed.
        sample: inputs as in `assess`, the same at every measurement, so that differences are the network's.
        every: steps of training from one measurement to the next; None: as often as 5 % of the training time
            allow.
        **assess_options: as in `assess`; measures are ("kept",) unless given. Where an embedding learns too,
            give `semantics`, a table that stays: without one, the space changes with the embedding.

    Returns:
        The tracker; call its `step` after each step of the optimiser.

    Raises:
        RnnMemError: bad input, as in `assess`.

    Example:
        >>> import torch, rnnmem
        >>> gru, sample = torch.nn.GRU(3, 8), torch.randn(1000, 8, 3)
        >>> optimiser = torch.optim.Adam(gru.parameters())
        >>> tracker = rnnmem.track(gru, sample, every=2, lags=4, washout=10)
        >>> for _ in range(4):
        ...     optimiser.zero_grad()
        ...     gru(torch.randn(20, 8, 3))[0].square().mean().backward()
        ...     optimiser.step()
        ...     measured = tracker.step()
        >>> tracker.curve["step"]
        [0, 2, 4]
    """
    if every is not None and (not is_int(every) or not 1 <= index(every) < 2**63):
        raise expected("every", "an int >= 1, or None", shown(every))
    if unknown := sorted(set(assess_options) - OPTIONS):
        raise expected("assess_options", "options of assess", unknown)
    given = (assess_options.get(name) for name in ("head", "targets", "trained_window"))
    measures = read_measures(assess_options.get("measures", ("kept",)), *given)
    return Tracker(
        model, sample, None if every is None else index(every), {**assess_options, "measures": measures}
    )


class Tracker(Hooks):
    """Memory by training step, as `track` makes it; also a callback of PyTorch Lightning and transformers.

    A measurement leaves no trace in training: mode, gradients and random state stay. One that fails leaves
    None in the curve and a line in `warnings`, and training goes on.

    Attributes:
        curve: a list for each of "step" (calls of `step` before the measurement), "seconds" (of training
            until then), "cost" (seconds that measuring took), what the report calls "memory_horizon",
            "own_capacity", "own_capacity_se", "own_capacity_at_least", "own_horizon", "capacity",
            "capacity_se" and "capacity_at_least", and, where measured, "convergence_length" (forgotten),
            "reach" (learnable) and "used_span" (used); an entry for each measurement, None where undefined.
        report: the latest measurement that did not fail; its settings have the "training_step".
        steps: calls of `step`.
        seconds: of training, without measuring, up to the latest call of `step`.
        spent: seconds of measuring.
    """

    _clock = staticmethod(time.perf_counter)

    def __init__(self, model: Any, sample: Tensor, every: int | None, options: dict[str, Any]) -> None:
        self._model, self._sample, self._every, self._options = model, sample, every, options
        named = {name: value for name, value in options.items() if isinstance(value, (int, float, str))}
        self.state_key = f"{Hooks.state_key}{named or ''}"  # two of them may be given to one trainer
        self.steps, self.seconds, self.spent, self._next = 0, 0.0, 0.0, 0.0
        self._failures: list[list[Any]] = []  # first step, last step, how often, what
        columns = (*WHEN, *KEPT, *(DYNAMICS[name] for name in DYNAMICS if name in options["measures"]))
        self.curve: dict[str, list[Number]] = {name: [] for name in columns}
        self._since = self._clock()
        self.report = self._assess()
        self._add(numbers(self.report))

    def step(self) -> bool:
        """Counts one step of training, and measures if it is time to.

        Returns:
            Whether it measured.
        """
        self.seconds += self._lap()
        self.steps += 1
        due = self._affordable() if self._every is None else self.steps % self._every == 0
        if due:
            self.measure()
        return due

    def measure(self) -> None:
        """Measures now, whatever has been spent: at the end of training, say."""
        self.seconds += self._lap()
        try:
            report = self._assess()
            found = numbers(report)
        except Exception as error:  # whatever it is, a training of days has to outlive it
            self._add({})
            self._fail(error)
        else:
            self.report = report
            self._add(found)

    @property
    def warnings(self) -> list[str]:
        """Which measurements failed, and why."""
        return [
            f"training step {first:,}: {what}"
            if times == 1
            else f"training steps {first:,} to {last:,} ({times:,} measurements): {what}"
            for first, last, times, what in self._failures
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes curve and latest report as .html, the curve as .png or .csv, or the state as .json.

        Args:
            path: where to; its ending says in which form.

        Raises:
            RnnMemError: another ending, or a place that cannot be written to.
        """
        from rnnmem.writers import write_track

        write_track(self, path)

    def state_dict(self) -> dict[str, Any]:
        """The curve and all else that `load_state_dict` needs to go on with it.

        Returns:
            Plain lists, numbers and strings; strict JSON.
        """
        return {
            "format": FORMAT,
            "steps": self.steps,
            "seconds": self.seconds,
            "spent": self.spent,
            "failures": [list(failure) for failure in self._failures],
            "curve": {name: list(column) for name, column in self.curve.items()},
            "report": self.report.to_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the curve of another run, in place of what this tracker has measured so far.

        Args:
            state: what `state_dict` returned, of a tracker with the same measures.

        Raises:
            RnnMemError: something else; the tracker stays as it was.
        """
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            what = repr(state.get("format")) if isinstance(state, dict) else type(state).__name__
            raise expected("state", f"the state_dict of a tracker, of format {FORMAT!r}", what)
        try:
            curve, failures = read_curve(state["curve"], list(self.curve)), read_failures(state["failures"])
            report, progress = read_report(state["report"]), read_progress(state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wanted = "the state_dict of a tracker with these measures"
            raise expected("state", wanted, f"one with a part missing or wrong: {error}") from error
        self.curve, self._failures, self.report = curve, failures, report
        self.steps, self.seconds, spent = progress
        self.spent += spent  # what this one has measured is no longer in the curve, and was paid for

    def _assess(self) -> MemoryReport:
        with naming("inputs", "sample"):
            report = assess(self._model, self._sample, **self._options)
        return replace(report, settings={**report.settings, "training_step": self.steps})

    def _affordable(self) -> bool:
        """Whether one more measurement leaves the cost within its share, of all the time and of the latest.

        The latest, that is since the measurement before, so that a pause is not paid out in a row of them.
        """
        latest = self.seconds - float(self.curve["seconds"][-1] or 0.0)
        return self._next <= SHARE * latest and self.spent + self._next <= SHARE * self.seconds

    def _add(self, found: dict[str, Number]) -> None:
        """Adds an entry to the curve, {} where measuring failed."""
        cost = self._lap()
        self.spent += cost
        if found:
            self._next = max(cost, 0.8 * self._next)  # expected of the next: not all take equally long
        found = {"step": self.steps, "seconds": self.seconds, "cost": cost, **found}
        for name, column in self.curve.items():
            column.append(found.get(name))

    def _fail(self, error: Exception) -> None:
        """Notes a failure; the same again is counted, so that a network that is lost fills no memory."""
        what = " ".join(str(error).split())
        what = what if isinstance(error, RnnMemError) else f"{type(error).__name__}: {what}"
        if not self._failures or self._failures[-1][3] != what:
            self._failures.append([self.steps, self.steps, 0, what])
        self._failures[-1][1:3] = self.steps, self._failures[-1][2] + 1

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self._since = self._since, self._clock()
        return self._since - before

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._since = self._clock()  # a clock of another process began elsewhere

    def __str__(self) -> str:
        from rnnmem.track_words import track_text

        return track_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from rnnmem.track_page import track_fragment

        return track_fragment(self)


def numbers(report: MemoryReport) -> dict[str, Number]:
    """What the curve keeps of a report."""
    forgotten, learnable, used = report.forgotten, report.learnable, report.used
    found = {
        **{name: getattr(report, name) for name in KEPT},
        "convergence_length": None if forgotten is None else forgotten.convergence_length,
        "reach": None if learnable is None else learnable.reach(),
        "used_span": None if used is None else used.span(),
    }
    return {name: plain(value) for name, value in found.items()}
