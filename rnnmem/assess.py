"""The two doors: `assess` measures in one call, `fit_recall` fits maps to measure with elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.context import read_task
from rnnmem.dynamics import measure_dynamics
from rnnmem.errors import RnnMemError, expected
from rnnmem.features import FeatureRunner
from rnnmem.fit import FitOptions, Fitted, fit_maps
from rnnmem.inference import InferenceControl, Part, sampled_lags
from rnnmem.measurement import Measurement
from rnnmem.network import fingerprint, read_layer
from rnnmem.options import (
    parts,
    read_choice,
    read_fit_options,
    read_flag,
    read_full,
    read_measures,
    read_precision,
    read_share,
)
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport
from rnnmem.runner import Runner
from rnnmem.session import Session, measuring, open_session
from rnnmem.summary import summarise
from rnnmem.token_controls import WindowRunner

FAR = 1000  # steps that a lag may reach back even where every stream is shorter


def assess(
    model: Any,
    inputs: Tensor,
    *,
    embedding: nn.Embedding | Tensor | None = None,
    semantics: Tensor | None = None,
    lags: int | Sequence[int] | Tensor = 128,
    layer: int = -1,
    state: str = "output",
    split: str = "time",
    fit: float = 0.5,
    washout: int = 100,
    ridge: float = 1e-6,
    innovation_order: int = 8,
    lengths: Tensor | None = None,
    readout: str = "linear",
    measures: Sequence[str] = ("kept", "forgotten", "learnable"),
    head: Any = None,
    targets: Tensor | None = None,
    trained_window: int | None = None,
    backend: str = "auto",
    precision: str = "highest",
    seed: int = 0,
    progress: bool = False,
) -> MemoryReport:
    """Measures what a recurrent network still remembers of the tokens it has read.

    One part of the data fits affine recall maps from the state back to each past token's semantic vector; the
    other part, which the maps never saw, measures how far the recalled points lie from those expressed.

    Args:
        model: nn.RNN, nn.GRU or nn.LSTM of any depth, one of their cells, an rnnmem unit, or any object with
            `init_state(batch)` and `step(x_t, state) -> (output, state)` [and `features(state)`].
        inputs: float (T, B, I) of the model's dtype and device, or int64 tokens (T, B) with `embedding`;
            batch first for a batch_first module.
        embedding: what the network reads for each token: nn.Embedding, or Tensor (V, I).
        semantics: what each token means: Tensor (V, d), a Tensor beside the inputs (T, B, d), or None for
            the model's inputs.
        lags: the largest lag in steps (sampled densely to 8, then in steps of a quarter), or a sequence.
        layer: which layer is measured.
        state: "output", that layer's h, or "full", everything it carries.
        split: "time", the first steps fit, or "streams", the first streams fit (many short sequences).
        fit: share of the steps or streams that fit, in (0, 1).
        washout: steps before the first row; with "streams" it does not apply.
        ridge: added to the diagonal of the units' correlation matrix.
        innovation_order: how many newer tokens own retention predicts from; 0 skips it and the controls.
        lengths: steps of each stream that are real (B,), int64.
        readout: "linear", or "features": from the state and 256 fixed random tanh features of it, for what
            an affine map cannot find; the linear curves stand beside, in `controls`.
        measures: what is measured besides what is kept, on which every report is built: "forgotten", how fast
            two different pasts become the same state, and "learnable", how far back a gradient reaches.
        head: what makes logits (N, V) of the last layer's outputs (N, H); turns on "used", how much context
            the model's own prediction profits from, and "learnable" is then of the loss's own gradient.
        targets: what the head predicts at each step, int64 (T, B) laid out like the inputs, -100 where there
            is nothing to predict; None: the next token.
        trained_window: the window in steps at which the model was trained until its validation loss had
            settled; `suitable_length("training")` needs it.
        backend: "auto", "reference" or "cpu".
        precision: "highest".
        seed: of random projections and directions.
        progress: whether to show a progress bar.

    Returns:
        The report; see `MemoryReport`.

    Raises:
        RnnMemError: bad input, in one line that names the argument, what was expected and what came.

    Source:
        docs/definitions.md, a reconstruction of "Assessing the Memory Ability of Recurrent Neural Networks"
        (ECAI 2020), whose formulas were not available to it.

    Example:
        >>> import torch, rnnmem
        >>> report = rnnmem.assess(torch.nn.GRU(3, 8), torch.randn(3000, 4, 3), lags=4)
        >>> report.retention.shape
        torch.Size([5])
    """
    options = read_fit_options(lags, split, washout, ridge, innovation_order, seed)
    share, full = read_share("fit", fit), read_full(state)
    read_choice("readout", readout, ("linear", "features"))
    wanted = read_measures(measures, head, targets, trained_window)
    read_precision(precision)
    show = read_flag("progress", progress)
    with measuring(model), measuring(head):
        session = open_session(
            model,
            inputs,
            embedding=embedding,
            semantics=semantics,
            lengths=lengths,
            reset=None,
            layer=layer,
            full=full,
            backend=backend,
            seed=options.seed,
        )
        check_reach(session, options)
        task = read_task(session, head, targets) if "used" in wanted else None
        first = parts(split, share, session.data.steps, session.data.batch)
        settings = describe_settings(options, layer, state, share)
        report = Assessment(session, options, first, settings).run(readout, show)
        fields, warnings = measure_dynamics(session, options, wanted, task)
        window = None if trained_window is None else int(trained_window)
        settings = {**report.settings, "trained_window": window}
        return replace(report, **fields, settings=settings, warnings=[*report.warnings, *warnings])


def fit_recall(
    model: Any,
    sample: Tensor,
    *,
    embedding: nn.Embedding | Tensor | None = None,
    semantics: Tensor | None = None,
    lags: int | Sequence[int] | Tensor = 128,
    layer: int = -1,
    state: str = "output",
    split: str = "time",
    washout: int = 100,
    ridge: float = 1e-6,
    innovation_order: int = 8,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    backend: str = "auto",
    precision: str = "highest",
    seed: int = 0,
) -> RecallMaps:
    """Fits recall maps to the whole of a sample, to be frozen and measured with by `MemoryMeter`.

    Args:
        model: as in `assess`.
        sample: inputs as in `assess`; all of it fits.
        embedding: as in `assess`.
        semantics: as in `assess`.
        lags: as in `assess`.
        layer: as in `assess`.
        state: as in `assess`.
        split: which rows count: "time", from max(washout, max lag) on, or "streams", for lag k from k on.
        washout: as in `assess`.
        ridge: as in `assess`.
        innovation_order: as in `assess`.
        lengths: as in `assess`.
        reset: bool (T, B), where documents start, laid out like the sample.
        backend: as in `assess`.
        precision: as in `assess`.
        seed: as in `assess`.

    Returns:
        The maps; see `RecallMaps`.

    Raises:
        RnnMemError: bad input, as in `assess`.

    Example:
        >>> import torch, rnnmem
        >>> maps = rnnmem.fit_recall(torch.nn.LSTM(3, 8), torch.randn(2000, 4, 3), lags=4, state="full")
        >>> maps.weight.shape
        torch.Size([5, 3, 16])
    """
    options = read_fit_options(lags, split, washout, ridge, innovation_order, seed)
    full = read_full(state)
    read_precision(precision)
    with measuring(model), naming("inputs", "sample"):
        session = open_session(
            model,
            sample,
            embedding=embedding,
            semantics=semantics,
            lengths=lengths,
            reset=reset,
            layer=layer,
            full=full,
            backend=backend,
            seed=options.seed,
        )
        check_reach(session, options)
        settings = describe_settings(options, layer, state, 1.0)
        return fit_session(session, session.runner(), options, settings).maps


@contextmanager
def naming(argument: str, name: str) -> Iterator[None]:
    """Gives an argument the name that the caller knows it by in what is raised."""
    try:
        yield
    except RnnMemError as error:
        text = str(error)
        if text.startswith(f"{argument}: "):
            raise RnnMemError(name + text.removeprefix(argument)) from error
        raise


def check_reach(session: Session, options: FitOptions) -> None:
    """Refuses lags that no stream comes near, and streams that all end before their first row."""
    last, data = int(options.lags[-1]), session.data
    if options.split == "streams" and last >= max(data.steps, FAR):
        raise expected("lags", f"lags of less than the {data.steps} steps of the streams", last)
    start = 0 if options.split == "streams" else max(options.washout, last)
    longest = data.steps if data.lengths is None else int(data.lengths.max())
    if longest <= start < data.steps:
        wanted = f"a stream of more than {start} steps"
        raise expected("lengths", wanted + (" (washout, max lag)" if start else ""), longest)


def describe_settings(options: FitOptions, layer: int, state: str, share: float) -> dict[str, Any]:
    """The options, as they are kept in maps and reports."""
    return {
        "split": options.split,
        "fit": share,
        "washout": options.washout,
        "ridge": options.ridge,
        "seed": options.seed,
        "layer": read_layer(layer),
        "state": state,
        "requested_order": options.innovation_order,
    }


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
        runner, beside = self.session.runner(), {}
        fitted, report = self.kept(runner, show, readout == "features")
        if readout == "features":
            beside = linear_curves(report)
            runner = FeatureRunner(runner, fitted.features, self.options.seed)
            fitted, report = self.kept(runner, show)
            report = replace(report, utilisation=None)  # random features are no directions of the state
        report = replace(report, settings={**report.settings, "readout": readout})
        if not fitted.maps.has_own:
            return replace(report, controls={**report.controls, **beside})
        window = self.window(fitted.maps)
        sampled = [int(self.options.lags[k]) for k in sampled_lags(self.options.lags, report.own_horizon)]
        controls = {
            "memoryless": self.token_control(1),
            "window": self.token_control(window),
            **self.inference_control(runner, fitted.maps, sampled, show),
        }
        settings = {**report.settings, "window": window, "inference_lags": sampled}
        warnings = [*report.warnings, *control_warnings(self.options.lags, sampled, controls["inference"])]
        controls = {**report.controls, **controls, **beside}
        return replace(report, controls=controls, settings=settings, warnings=warnings)

    def kept(self, runner: Runner, show: bool, curves_only: bool = False) -> tuple[Fitted, MemoryReport]:
        """What a runner's features keep: maps fitted to one part, measured on the other."""
        session, flops = self.session, self.session.flops
        fitting = replace(session, data=self.fitting)
        with progress_bar(show, session.data.steps * session.data.batch) as advance:
            fitted = fit_session(fitting, runner, self.options, self.settings, advance)
            measurement = self.measure(runner, fitted, flops, advance, curves_only)
        return fitted, self.summary(measurement)

    def window(self, maps: RecallMaps) -> int:
        """Tokens of the window control: p after lowering, and one more where only the lags cut p short."""
        order, longest = maps.innovations.order, int(maps.lags[-1])
        return order + 1 if order == longest < self.options.innovation_order else order

    def measure(
        self, runner: Runner, fitted: Fitted, flops: int, advance: Any = None, curves_only: bool = False
    ) -> Measurement:
        """Measures the other part; the state is carried across where it is later in time."""
        measurement = Measurement(fitted.maps, curves_only)
        if not self.by_stream:
            measurement.state, measurement.carry = fitted.state, fitted.carry
        measurement.feed(runner, self.session.space, self.measured, flops, True, advance)
        return measurement

    def summary(self, measurement: Measurement) -> MemoryReport:
        assert measurement.tally is not None
        described, backend = self.session.network.describe(), self.session.backend
        return summarise(measurement.tally, measurement.maps, described, backend, "highest")

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

    def token_control(self, window: int) -> Tensor:
        """Retention [K] of the last `window` tokens."""
        runner, size = WindowRunner(window), window * self.session.space.dimension
        options = replace(self.options, innovation_order=0)
        fitted = fit_maps(runner, self.session.space, self.fitting, size, size, options, self.settings)
        return self.summary(self.measure(runner, fitted, size, curves_only=True)).retention


def linear_curves(report: MemoryReport) -> dict[str, Tensor | None]:
    """The curves of a linear reading, as they stand beside those of another."""
    return {
        "linear": report.retention,
        "linear_se": report.retention_se,
        "linear_own": report.own_retention,
        "linear_own_se": report.own_retention_se,
    }


def control_warnings(lags: Tensor, sampled: list[int], inference: Tensor | None) -> list[str]:
    """Says where the inference control was to be measured and could not be."""
    if inference is None:
        return []
    failed = [lag for lag in sampled if bool(inference[lags == lag].isnan().all())]
    if not failed:
        return []
    return [
        f"inference control: too few rows for a recall map of its own at lags {failed}; "
        "the memory horizon stops before them; use a longer sequence"
    ]


@contextmanager
def progress_bar(show: bool, total: int, what: str = "measuring") -> Iterator[Any]:
    """A function to call with the rows done, or None."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=" rows", unit_scale=True, desc=what, leave=False) as bar:
        yield bar.update
