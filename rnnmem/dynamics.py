"""What is forgotten, learnable and used, beside what is kept: each on pieces of the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from rnnmem.chunks import Streams
from rnnmem.context import ContextUse, Used
from rnnmem.fit import FitOptions
from rnnmem.forgetting import Forgetting, Twins
from rnnmem.learning import REACH, Learnable, make_backward, measure_learning
from rnnmem.measures.lyapunov import largest_exponent
from rnnmem.network import Network
from rnnmem.pieces import Pieces
from rnnmem.runner import ChangedShape
from rnnmem.session import Session
from rnnmem.task import Task


def measure_dynamics(
    session: Session, options: FitOptions, measures: Sequence[str], task: Task | None
) -> tuple[dict[str, Any], list[str]]:
    """Measures what was asked for besides what is kept.

    Args:
        session: the network and all its data.
        options: lags, washout and seed.
        measures: "forgotten" and "learnable" are looked for.
        task: what the network predicts, or None where that is not known.

    Returns:
        Fields of the report, None where a measure could not be taken; and what a reader has to know.
    """
    lags = within_reach(session.data, options)
    longest = int(lags[-1])
    washout = 0 if options.split == "streams" else options.washout
    fields: dict[str, Any] = {}
    if "forgotten" in measures:
        twins = Twins(make_pieces(session, options.seed), longest, washout)
        fields["forgotten"] = attempt(twins.from_states)
        fields["forgotten_inputs"] = attempt(twins.from_inputs)
        fields["exponent"] = largest_exponent(session, washout)
    if "learnable" in measures:
        pieces = make_pieces(whole_network(session), options.seed)
        backward = make_backward(pieces.runner)
        fields["learnable"] = attempt(measure_learning, pieces, backward, longest, washout, task)
    if task is not None:
        pieces = make_pieces(whole_network(session), options.seed)
        fields["used"] = attempt(ContextUse(pieces, task, lags + 1, washout).measure)
    warnings = [f"{NAMES[name]}: not measured, {value}" for name, value in fields.items() if failed(value)]
    fields = {name: None if failed(value) else value for name, value in fields.items()}
    forgotten = [fields.get(name) for name in ("forgotten", "forgotten_inputs")]
    if longest < int(options.lags[-1]) and fields:
        given = [NAMES[name] for name in NAMES if fields.get(name) is not None]
        warnings.append(f"{', '.join(given)}: up to lag {longest}, which a quarter of the streams go beyond")
    warnings += few_pairs(forgotten) + exploding(fields.get("learnable")) + cold_start(fields.get("used"))
    return fields, warnings


COLD = 0.05  # bits
FEWEST_PAIRS = 10
NAMES = {
    "forgotten": "forgetting of states",
    "forgotten_inputs": "forgetting of inputs",
    "learnable": "reach of gradients",
    "used": "context used",
}


def within_reach(data: Streams, options: FitOptions) -> Tensor:
    """The lags that a quarter of the streams go beyond, where each is a sequence of its own; else all."""
    if options.split != "streams":
        return options.lags
    # A lag takes as many steps, one before them, one to predict at, and the one that is predicted.
    furthest = int(data.ends.sort(descending=True).values[data.batch // 4]) - 3
    return options.lags[: max(1, int((options.lags <= furthest).sum()))]


def attempt(measure: Callable[..., Any], *given: Any) -> Any:
    """A measure, or in words that states of different steps do not go together."""
    try:
        return measure(*given)
    except ChangedShape:
        return "the state changes its shape"


def failed(value: Any) -> bool:
    """Whether a measure came back with the reason why there is none."""
    return isinstance(value, str)


def about_whole_network(warnings: list[str]) -> list[str]:
    """The warnings about what is the same whichever layer and state is measured: gradients and context."""
    begins = (f"{NAMES['learnable']}:", "exploding gradients:", f"{NAMES['used']}:")
    return [line for line in warnings if line.startswith(begins)]


def few_pairs(twins: Sequence[Forgetting | None]) -> list[str]:
    """Says where quantiles over pairs are of next to nothing."""
    fewest = min((found.pairs for found in twins if found is not None), default=FEWEST_PAIRS)
    if fewest >= FEWEST_PAIRS:
        return []
    return [f"forgotten: only {fewest} pair(s) of twins: use a longer sequence, more streams or smaller lags"]


def exploding(learnable: Learnable | None) -> list[str]:
    """Says where gradients grow beyond 1 / eps."""
    at = None if learnable is None else learnable.explodes()
    if at is None:
        return []
    return [f"exploding gradients: {at} steps back the median gradient is over {1 / REACH:.0f} times as long"]


def cold_start(used: Used | None) -> list[str]:
    """Says where the used span is about starting from nothing as well."""
    if used is None or used.loss_after_unrelated is None:
        return []
    cost = float(used.loss[-1] - used.loss_after_unrelated[-1])
    if cost <= COLD:
        return []
    length = int(used.lengths[-1])
    return [
        f"context used: given {length} tokens, the model is still {cost:.2f} bit worse from its initial "
        "state than after an unrelated past: the used span counts what a start from nothing costs, too"
    ]


def make_pieces(session: Session, seed: int) -> Pieces:
    features = session.network.feature_size(session.full) or 1
    return Pieces(session.runner(), session.data, features, session.flops, seed)


def whole_network(session: Session) -> Session:
    """The session with all layers of the network in motion, whichever is measured, and its output."""
    network = session.network
    if not isinstance(network, Network):
        return replace(session, full=False)
    return replace(session, network=replace(network, layers=network.all_layers), full=False)
