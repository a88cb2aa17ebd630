"""One call of `assess`: maps fitted to one part, measured on the other, and the controls beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnmem.features import FeatureRunner
from rnnmem.fit import FitOptions, Fitted, fit_maps
from rnnmem.inference import NOTHING, InferenceControl, Part, sampled_lags
from rnnmem.innovations import Innovations
from rnnmem.measurement import Measurement
from rnnmem.network import fingerprint
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport
from rnnmem.runner import Runner
from rnnmem.session import Session
from rnnmem.summary import flat, summarise
from rnnmem.tally import Tally
from rnnmem.token_controls import TokenControls


def fit_session(
    session: Session, runner: Runner, options: FitOptions, settings: dict[str, Any], progress: Any = None
) -> Fitted:
    """Fits maps to all data of a session."""
    settings = {**settings, "weights": fingerprint(session.network, session.space.embedding)}
    return fit_maps(
        runner,
        session.space,
        session.data,
        session.network.feature_size(session.full),
        session.flops,
        options,
        settings,
        progress=progress,
    )


class Assessment:
    """One call of `assess`: fit, measure, controls, report."""

    def __init__(self, session: Session, options: FitOptions, first: int, settings: dict[str, Any]) -> None:
        self.session, self.options, self.settings = session, options, settings
        data = session.data
        self.by_stream = options.split == "streams"
        if self.by_stream:
            self.fitting, self.measured = data.streams(0, first), data.streams(first, data.batch)
            self.fit_part = Part(range(first), 0, data.steps)
            self.measured_part = Part(range(first, data.batch), 0, data.steps)
        else:
            self.fitting, self.measured = data.time(0, first), data.time(first, data.steps)
            start = max(options.washout, int(options.lags[-1]))
            self.fit_part = Part(range(data.batch), start, first)
            self.measured_part = Part(range(data.batch), max(first, start), data.steps)

    def run(self, readout: str, show: bool) -> MemoryReport:
        """Measures everything, with a progress bar if it is to be shown."""
        runner: Runner = self.session.runner()
        beside: dict[str, Tensor | None] = {}
        fitted, tally, report = self.kept(runner, show, readout == "features")
        if readout == "features":
            beside = linear_curves(report)
            runner = FeatureRunner(runner, fitted.features, self.options.seed)
            fitted, tally, report = self.kept(runner, show)
            report = replace(report, utilisation=None)  # random features are no directions of the state
        report = replace(report, settings={**report.settings, "readout": readout})
        if not fitted.maps.has_own:
            return replace(report, controls={**report.controls, **beside})
        window = self.window(fitted.maps)
        last = NOTHING if report.own.judged and report.own_horizon is None else report.own_horizon
        sampled = [int(self.options.lags[k]) for k in sampled_lags(self.options.lags, last)]
        controls = {
            **self.token_controls(runner, fitted, tally, window),
            **self.inference_control(runner, fitted.maps, sampled, show),
        }
        settings = {**report.settings, "window": window, "inference_lags": sampled}
        warnings = [*report.warnings, *control_warnings(report, sampled, controls)]
        controls = {**report.controls, **controls, **beside}
        return replace(report, controls=controls, settings=settings, warnings=warnings)

    def kept(
        self, runner: Runner, show: bool, curves_only: bool = False
    ) -> tuple[Fitted, Tally, MemoryReport]:
        """What a runner's features keep: maps fitted to one part, measured on the other."""
        session, flops = self.session, self.session.flops
        fitting = replace(session, data=self.fitting)
        with progress_bar(show, session.data.steps * session.data.batch) as advance:
            fitted = fit_session(fitting, runner, self.options, self.settings, advance)
            tally = self.measure(runner, fitted, flops, advance, curves_only)
        described = session.network.describe()
        report = summarise(tally, fitted.maps, described, session.backend, session.precision)
        return fitted, tally, report

    def window(self, maps: RecallMaps) -> int:
        """Tokens of the window control: p after lowering, and one more where only the lags cut p short."""
        order, longest = maps.innovations.order, int(maps.lags[-1])
        return order + 1 if order == longest < self.options.innovation_order else order

    def measure(self, runner: Runner, fitted: Fitted, flops: int, advance: Any, curves_only: bool) -> Tally:
        """Measures the other part; the state is carried across where it is later in time."""
        measurement = Measurement(fitted.maps, curves_only)
        if not self.by_stream:
            measurement.state, measurement.carry = fitted.state, fitted.carry
        measurement.feed(runner, self.session.space, self.measured, flops, True, advance)
        assert measurement.tally is not None
        return measurement.tally

    def inference_control(
        self, runner: Runner, maps: RecallMaps, sampled: list[int], show: bool
    ) -> dict[str, Tensor | None]:
        """The inference control and its standard error, by lag; NaN where it is not sampled."""
        lags = maps.lags
        control = InferenceControl(
            runner,
            self.session.space,
            self.session.data,
            maps.innovations,
            sampled,
            self.options.ridge,
            self.by_stream,
        )
        total = control.cost([self.fit_part, self.measured_part], maps.features)
        with progress_bar(show, total, "inference control") as control.progress:
            values, errors = control.run(self.fit_part, self.measured_part, maps.features)
        inference = torch.full((len(lags),), float("nan"), dtype=torch.float64)
        inference_se = inference.clone()
        chosen = torch.isin(lags, torch.tensor(sampled))
        inference[chosen], inference_se[chosen] = values, errors
        return {"inference": inference, "inference_se": inference_se}

    def token_controls(
        self, runner: Runner, fitted: Fitted, tally: Tally, window: int
    ) -> dict[str, Tensor | None]:
        """Retention [K] of the last token, and of the last `window`."""
        maps, count = fitted.maps, tally.lags
        tokens = Innovations(maps.innovations.predictors[:1])
        controls = TokenControls(self.session.space, self.options, tokens, window, runner.sum_moments)
        fit = controls.survey(self.fitting)
        measured = controls.survey(self.measured, None if self.by_stream else fitted.carry).moments
        sums = tally.blocks.sums.sum(dim=0)
        first = tally.maps_counted
        variance = sums[first : first + count] / sums[2 * first :]
        same = flat(maps.raw, variance, str(self.session.network.describe()["dtype"]))
        variance = variance.masked_fill(same, math.nan)
        named = {"memoryless": 1, "window": window}
        return {name: controls.retention(fit, measured, variance, size) for name, size in named.items()}


def linear_curves(report: MemoryReport) -> dict[str, Tensor | None]:
    """The curves of a linear reading, as they stand beside those of another."""
    return {
        "linear": report.retention,
        "linear_se": report.retention_se,
        "linear_own": report.own_retention,
        "linear_own_se": report.own_retention_se,
    }


def control_warnings(
    report: MemoryReport, sampled: list[int], controls: dict[str, Tensor | None]
) -> list[str]:
    """Says where the inference control was to be measured and could not be, or not with an error."""
    inference, error = controls["inference"], controls["inference_se"]
    if inference is None or error is None:
        return []
    lags, warnings = report.lags, []
    wanted = torch.isin(lags, torch.tensor(sampled)) & report.own_retention.isfinite()
    failed, unsure = wanted & inference.isnan(), wanted & inference.isfinite() & error.isnan()
    for which, what in (
        (failed, "too few rows for a recall map of its own"),
        (unsure, "too few rows for a standard error"),
    ):
        if bool(which.any()):
            warnings.append(
                f"inference control: {what} at lags {lags[which].tolist()}; "
                "the memory horizon stops before them; use a longer sequence"
            )
    return warnings


@contextmanager
def progress_bar(show: bool, total: int, what: str = "measuring") -> Iterator[Any]:
    """A function to call with the rows done, or None."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" rows", unit_scale=True, desc=what, leave=False) as bar:
        yield bar.update
