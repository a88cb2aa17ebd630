"""Made reports: every number in them is chosen, so that what is printed can be told in advance."""

import math

import torch

from rnnmem.comparison import Comparison
from rnnmem.indicators.curve import Curve
from rnnmem.lags import lag_grid
from rnnmem.report import CONTROLS, MemoryReport

NAN = math.nan
WORD_LAGS = (0, 1, 2, 4, 6, 8, 12, 16, 24, 32)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def make_curve(lags, retention, se, blocks=32):
    """A curve with these standard errors; four fifths of the variance from blocks, the rest from the fit."""
    retention, se = double(retention), double(se)
    signs = double([1.0, -1.0] * (blocks // 2) + [0.0] * (blocks % 2))
    spread = signs / (blocks // 2 * 2 * (blocks - 1) / blocks) ** 0.5  # the jackknife's variance of it is 1
    return Curve(
        lags=torch.tensor(lags),
        heldout=retention - 0.002,
        retention=retention,
        distance=1 - retention,
        variance=torch.ones(len(lags), dtype=torch.float64),
        jackknife=retention + (0.8**0.5 * se) * spread[:, None],
        fit_variance=0.2 * se.square(),
    )


def make_report(
    lags=WORD_LAGS,
    retention=None,
    own=None,
    inference=None,
    se=0.002,
    inference_se=0.001,
    blocks=32,
    tokens=True,
    order=8,
    unit="gru",
    hidden=152,
    parts=1,
    state="output",
    parameters=129_504,
    warnings=(),
    ceiling=9.5,
    utilisation=None,
    name=None,
    **settings,
):
    """A report of these curves.

    Args:
        lags: sampled lags.
        retention: by lag.
        own: own retention by lag; like retention by default.
        inference: the control by lag, None where not sampled; or None when it was skipped.
        se: standard error of both curves, one number or by lag.
        inference_se: of the control.
        blocks: of the jackknife.
        tokens: whether inputs are tokens, with an entropy and bands.
        order: of the innovations.
        unit: of the network.
        hidden: units.
        parts: tensors of H that the state is made of.
        state: which state was measured.
        parameters: of the network.
        warnings: lines.
        ceiling: of own capacity.
        utilisation: or None.
        name: of the module; upper-case unit by default.
        settings: more of them.
    """
    K = len(lags)
    retention = [0.9 * 0.7**lag for lag in lags] if retention is None else list(retention)
    own = retention if own is None else list(own)
    errors = [se] * K if isinstance(se, float) else se
    features = hidden * (parts if state == "full" else 1)
    controls = dict.fromkeys(CONTROLS)
    if inference is not None:
        controls["inference"] = double([NAN if v is None else v for v in inference])
        controls["inference_se"] = controls["inference"] * 0 + inference_se
        controls["memoryless"] = double([1.0 if lag == 0 else 0.06 / lag for lag in lags])
        controls["window"] = double([1.0 if lag < order else 0.09 * order / lag for lag in lags])
    bits, own_bits = (
        (-8 * torch.log2(1 - double(v).clamp(0, 0.999))).clamp(max=8.73) for v in (retention, own)
    )
    classes = {key: [] for key in ("band", "lag", "distance", "retention", "rows")}
    positions = {key: [] for key in ("first_step", "end_step", "lag", "distance", "retention", "rows")}
    for band in range(5):
        for lag, value in zip(lags, retention, strict=True):
            cell = (band, lag, 0.9, value * (1.2 - 0.1 * band), 20_000)
            for column, part in zip(classes.values(), cell, strict=True):
                column.append(part)
    for position in range(3, 6):
        for lag, value in zip(lags, retention, strict=True):
            cell = (position * 2048, (position + 1) * 2048, lag, 0.9, value + 0.001 * position, 65_536)
            for column, part in zip(positions.values(), cell, strict=True):
                column.append(part)
    return MemoryReport(
        lags=torch.tensor(lags),
        raw=make_curve(lags, retention, errors, blocks),
        own=make_curve(lags, own, errors, blocks),
        bits=bits,
        own_bits=own_bits,
        hull_coverage=double(retention).clamp(min=0).sqrt(),
        controls=controls,
        by_position=positions,
        by_token_class=classes if tokens else None,
        own_capacity_ceiling=ceiling,
        utilisation=utilisation,
        warnings=list(warnings),
        backend="cpu",
        precision="highest",
        rows={"fit": 195_000, "measured": 196_352},
        model={
            "name": name or unit.upper(),
            "unit": unit,
            "layers": 1,
            "layer": 0,
            "input_size": 128,
            "hidden_size": hidden,
            "parameters": parameters,
            "state_floats": hidden * parts,
            "state_bytes": 4 * hidden * parts,
            "flops_per_step": 2 * parameters,
            "dtype": "float32",
        },
        settings={
            "split": "time",
            "fit": 0.5,
            "washout": 100,
            "ridge": 1e-6,
            "seed": 0,
            "layer": -1,
            "state": state,
            "requested_order": 8,
            "innovation_order": order,
            "features": features,
            "blocks": "blocks of 192 steps",
            "entropy": 8.73 if tokens else None,
            "rank": features,
            **settings,
        },
    )


def trained_gru(**options):
    """Like the GRU of the demo after training: a tail that is inference, memory of about four words."""
    return make_report(
        retention=(0.50, 0.33, 0.16, 0.07, 0.058, 0.05, 0.045, 0.04, 0.034, 0.03),
        own=(0.50, 0.264, 0.087, 0.020, 0.0087, 0.0051, 0.0034, 0.0030, 0.0024, 0.0020),
        inference=(None, 0.023, 0.017, 0.011, 0.0090, 0.0077, 0.0081, None, 0.0065, 0.0062),
        **{"se": 0.0009, **options},
    )


def trained_lstm(**options):
    """Like the LSTM of the demo after training."""
    return make_report(
        retention=(0.55, 0.36, 0.20, 0.07, 0.05, 0.04, 0.03, 0.02, 0.012, 0.01),
        own=(0.55, 0.260, 0.079, 0.013, 0.006, 0.0033, 0.0026, 0.0009, 0.0004, 0.0001),
        inference=(None, 0.023, 0.011, 0.003, 0.0015, 0.0008, 0.0006, None, 0.0004, 0.0003),
        **{
            "se": 0.0002,
            "inference_se": 0.0002,
            "unit": "lstm",
            "hidden": 128,
            "parts": 2,
            "parameters": 131_584,
            **options,
        },
    )


def trained_rnn(**options):
    """Like the RNN of the demo after training: twice the state, the most kept for four words."""
    return make_report(
        retention=(0.51, 0.46, 0.37, 0.17, 0.08, 0.04, 0.03, 0.02, 0.015, 0.01),
        own=(0.51, 0.43, 0.32, 0.12, 0.03, 0.008, 0.003, 0.002, 0.0015, 0.001),
        inference=(None, 0.02, 0.012, 0.008, 0.005, 0.003, 0.003, None, 0.002, 0.001),
        **{
            "se": 0.0006,
            "inference_se": 0.0004,
            "unit": "rnn_tanh",
            "name": "RNN",
            "hidden": 278,
            "parameters": 113_424,
            **options,
        },
    )


def delay_line(size=8, last=20):
    """A shift register on white input: all of the last `size` inputs and nothing else."""
    lags = lag_grid(last).tolist()
    kept = [1.0 if lag < size else 0.0 for lag in lags]
    inference = [None, *([0.0] * (len(lags) - 1))]
    return make_report(
        lags, kept, inference=inference, tokens=False, unit="echo_identity", name="EchoState", hidden=size
    )


def nothing_kept():
    """A state that ignores its inputs."""
    values = [0.0004 * (-1) ** k for k in range(len(WORD_LAGS))]
    return make_report(retention=values, inference=[None] + [0.0] * 9, se=0.004, ceiling=0.0)


def few_blocks():
    """Too little data for standard errors."""
    return make_report(blocks=9, inference=[None] + [0.01] * 9, warnings=["9 blocks: no standard errors"])


def no_control():
    """As from a meter: the controls were skipped."""
    return make_report(warnings=["the controls need the whole data at once"])


def without_lag_zero():
    """Explicit lags that leave out the current token."""
    return make_report(
        lags=(5, 10, 20, 40), retention=(0.3, 0.2, 0.1, 0.001), inference=(0.01, 0.01, 0.01, 0.01)
    )


def one_lag():
    """The shortest report there can be."""
    return make_report(lags=(0,), retention=(0.5,), inference=(None,))


def with_nan():
    """Two lags had too few rows to be measured."""
    kept = [0.5, 0.3, 0.2, 0.1, 0.05, NAN, NAN, 0.01, 0.01, 0.01]
    return make_report(
        retention=kept, inference=[None] + [0.01] * 9, warnings=["lags [8, 12]: fewer than 3 ..."]
    )


HOSTILE = '<script>alert("1")</script> & $x_1$ _"\'é漢'


def hostile():
    """Names and warnings that would break a page or a figure that trusts them."""
    return trained_gru(unit=HOSTILE, name=HOSTILE, warnings=[HOSTILE], note=HOSTILE)


CASES = {
    case.__name__: case
    for case in (
        trained_gru,
        trained_lstm,
        trained_rnn,
        delay_line,
        nothing_kept,
        few_blocks,
        no_control,
        without_lag_zero,
        one_lag,
        with_nan,
        hostile,
    )
}


def three_units(trained=True, seeds=1, match="parameters"):
    """RNN, GRU and LSTM of equal parameters, both states."""
    makers = {"RNN": trained_rnn, "GRU": trained_gru, "LSTM": trained_lstm}
    reports = {
        name: {state: [make(state=state) for _ in range(seeds)] for state in ("output", "full")}
        for name, make in makers.items()
    }
    return Comparison(reports, match, dict.fromkeys(makers, trained), ["one seed a network"])
