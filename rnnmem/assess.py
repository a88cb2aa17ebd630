"""The two doors: `assess` measures in one call, `fit_recall` fits maps to measure with elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rnnmem.assessment import Assessment, fit_session
from rnnmem.backends import other_precision, slower
from rnnmem.chunks import padded
from rnnmem.dynamics import measure_dynamics
from rnnmem.errors import RnnMemError, expected
from rnnmem.fit import FitOptions
from rnnmem.network import read_layer
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
from rnnmem.session import Session, measuring, open_session
from rnnmem.task import as_function, read_task

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
        head: what makes logits (N, V) of the last layer's outputs (N, H), or its weight (V, H); turns on
            "used", how much context the model's own prediction profits from, and "learnable" is then of the
            loss's own gradient.
        targets: what the head predicts at each step, int64 (T, B) laid out like the inputs, -100 where there
            is nothing to predict; None: the next token.
        trained_window: the window in steps at which the model was trained until its validation loss had
            settled; `suitable_length("training")` needs it.
        backend: "auto", "reference" or "cpu".
        precision: of the recurrence, in torch's words: "highest"; "high", which no kernel here lowers yet, so
            that "highest" runs and a warning says so; "medium", a float32 network's matrices rounded to
            bfloat16. The report has the one that ran.
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
    head = as_function(head)
    wanted = read_measures(measures, head, targets, trained_window)
    precision = read_precision(precision)
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
            precision=precision,
        )
        check_reach(session, options)
        task = read_task(session, head, targets) if "used" in wanted else None
        first = parts(split, share, session.data.steps, session.data.batch)
        settings = describe_settings(options, layer, state, share)
        report = Assessment(session, options, first, settings).run(readout, show)
        fields, warnings = measure_dynamics(session, options, wanted, task)
        window = None if trained_window is None else int(trained_window)
        settings = {**report.settings, "trained_window": window}
        warnings = [*report.warnings, *warnings, *padded(session.data)]
        warnings += slower(backend, session.backend, session.network)
        warnings += other_precision(precision, session.precision)
        return replace(report, **fields, settings=settings, warnings=warnings)


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
    precision = read_precision(precision)
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
            precision=precision,
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
    longest = int(data.ends.max())
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
