"""Several networks on the same inputs, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from torch import Tensor, nn

from rnnmem.assess import assess
from rnnmem.comparison import Comparison
from rnnmem.dynamics import about_whole_network
from rnnmem.errors import expected
from rnnmem.network import read_network
from rnnmem.options import read_choice
from rnnmem.ranking import FEWEST_SEEDS
from rnnmem.report import MemoryReport
from rnnmem.task import as_function
from rnnmem.units import UNITS

MATCHED = 0.05
SIZES = {"parameters": "parameters", "state": "state_floats"}


def compare(
    models: Mapping[str, Any],
    inputs: Tensor,
    *,
    embedding: Any = None,
    head: Any = None,
    trained: bool | Mapping[str, bool] | None = None,
    match: str | None = None,
    states: Sequence[str] = ("output", "full"),
    **assess_options: Any,
) -> Comparison:
    """Measures several networks on the same inputs.

    Args:
        models: name -> model, or name -> list of models (seeds); what a model may be, see `assess`.
        inputs: as in `assess`, the same for all.
        embedding: one for all, or a dict by name (of lists where there are seeds).
        head: one for all, or a dict by name: a module that makes logits (N, V) of the last layer's outputs
            (N, H), or its weight (V, H); counted among the parameters, and turns on "used" as in `assess`.
        trained: whether the networks are trained; the two are never mixed in one comparison.
        match: "parameters" or "state" where the networks are meant to be equal in it (to 5 %), else None.
        states: which states are measured.
        **assess_options: as in `assess`, the same for all.

    Returns:
        The comparison; print its `table`.

    Raises:
        RnnMemError: as in `assess`; networks that do not match as declared; trained mixed with untrained;
            `semantics=None` where the networks' embeddings differ, because they would be measured in
            different spaces.

    Example:
        >>> import torch, rnnmem
        >>> nets = {"GRU": torch.nn.GRU(2, 8), "RNN": torch.nn.RNN(2, 8)}
        >>> found = rnnmem.compare(nets, torch.randn(2000, 4, 2), lags=4, states=["output"], match="state")
        >>> sorted(found.reports)
        ['GRU', 'RNN']
    """
    if not isinstance(models, Mapping) or not models:
        raise expected("models", "a dict of name -> model or list of models", repr(models)[:60])
    if not all(isinstance(name, str) for name in models):
        raise expected("models", "names that are strings", sorted(map(repr, models)))
    named = {name: seeds_of(name, value) for name, value in models.items()}
    if match is not None:
        read_choice("match", match, tuple(SIZES))
    wanted = read_states(states)
    flags = read_trained(trained, list(named))
    unknown = set(assess_options) - set(signature(assess).parameters) | {"model"} & set(assess_options)
    if unknown:
        raise expected("assess_options", "options of assess", sorted(unknown))
    if isinstance(assess_options.get("measures"), Iterator):
        assess_options["measures"] = tuple(assess_options["measures"])
    if "state" in assess_options:
        raise expected("state", "states=[...] in its place", repr(assess_options["state"]))
    embeddings = {name: by_name("embedding", embedding, name, len(seeds)) for name, seeds in named.items()}
    heads = {name: by_name("head", head, name, len(seeds)) for name, seeds in named.items()}
    for given, argument in ((embedding, "embedding"), (head, "head")):
        if isinstance(given, Mapping) and set(given) - set(named):
            raise expected(argument, f"names out of {list(named)}", sorted(map(str, set(given) - set(named))))
    for last in (last for each in heads.values() for last in each):
        if last is not None and not isinstance(last, (nn.Module, Tensor)):
            raise expected("head", "an nn.Module, a Tensor or None", type(last).__name__)
    if assess_options.get("semantics") is None and differ([e for es in embeddings.values() for e in es]):
        what = "None, with embeddings that differ: distances would lie in different spaces"
        raise expected("semantics", "a table (V, d) common to all networks", what)
    layouts = {bool(getattr(model, "batch_first", False)) for seeds in named.values() for model in seeds}
    if len(layouts) > 1:
        what = "some batch_first and some not: they would read the same inputs along different axes"
        raise expected("models", "networks of one layout", what)
    if match is not None:
        check_match(match, named, embeddings, heads)
    reports: dict[str, dict[str, list[MemoryReport]]] = {}
    for name, seeds in named.items():
        reports[name] = {state: [] for state in wanted}
        for model, table, last in zip(seeds, embeddings[name], heads[name], strict=True):
            found: MemoryReport | None = None
            for state in wanted:
                found = assess_state(found, state, model, inputs, table, last, assess_options)
                reports[name][state].append(with_parameters(found, table, last))
    return Comparison(reports, match, flags, comparison_warnings(named))


def assess_state(
    before: MemoryReport | None,
    state: str,
    model: Any,
    inputs: Tensor,
    embedding: Any,
    head: Any,
    options: Mapping[str, Any],
) -> MemoryReport:
    """The report of one state of a network, of which `before` is that of another state, or None.

    What can be learned and what is used is about the whole network, and measured once.
    """
    if before is not None and carries_output_only(before):
        return replace(before, settings={**before.settings, "state": state})
    given = {"embedding": embedding, "state": state, **options}
    if before is None:
        return assess(model, inputs, head=as_function(head), **given)
    asked = options.get("measures", ("forgotten",))
    given["measures"] = ("kept", *(name for name in asked if name == "forgotten"))
    given |= {"targets": None, "trained_window": None}
    report = assess(model, inputs, **given)
    settings = {**report.settings, "trained_window": before.settings.get("trained_window")}
    warnings = [*report.warnings, *about_whole_network(before.warnings)]
    fields: dict[str, Any] = {"learnable": before.learnable, "used": before.used}
    return replace(report, **fields, settings=settings, warnings=warnings)


def seeds_of(name: str, value: Any) -> list[Any]:
    seeds = list(value) if isinstance(value, (list, tuple, nn.ModuleList)) else [value]
    if not seeds:
        raise expected("models", "at least one model by name", f"none for {name!r}")
    return seeds


def read_states(states: Sequence[str]) -> list[str]:
    if isinstance(states, str) or not isinstance(states, Sequence) or not states:
        raise expected("states", "a sequence of 'output' and 'full'", repr(states))
    wanted = [read_choice("states", state, ("output", "full")) for state in states]
    if len(set(wanted)) < len(wanted):
        raise expected("states", "each state once", wanted)
    return wanted


def read_trained(trained: bool | Mapping[str, bool] | None, names: list[str]) -> dict[str, bool | None]:
    if isinstance(trained, Mapping):
        unknown = sorted(map(str, set(trained) - set(names)))
        if unknown:
            raise expected("trained", f"names out of {names}", unknown)
        flags = {name: trained.get(name) for name in names}
    else:
        flags = dict.fromkeys(names, trained)
    for name, flag in flags.items():
        if flag is not None and not isinstance(flag, bool):
            raise expected(
                "trained", "True, False or None, or a dict of them by name", f"{flag!r} for {name!r}"
            )
    if {True, False} <= set(flags.values()):
        raise expected("trained", "networks that are all trained or all untrained", "both in one comparison")
    return flags


def by_name(argument: str, value: Any, name: str, count: int) -> list[Any]:
    """The values of one network's seeds."""
    if isinstance(value, Mapping):
        if name not in value:
            raise expected(argument, f"one for each network, {name!r} too", sorted(map(str, value)))
        value = value[name]
    if isinstance(value, (list, tuple)):
        if len(value) != count:
            raise expected(argument, f"{count} for the seeds of {name!r}", len(value))
        return list(value)
    return [value] * count


def differ(embeddings: list[Any]) -> bool:
    """Whether there are embeddings of different values."""
    tables = [e.weight if isinstance(e, nn.Embedding) else e for e in embeddings]
    first = tables[0]
    for table in tables[1:]:
        if table is first:
            continue
        if not isinstance(table, Tensor) or not isinstance(first, Tensor):
            return True
        if table.is_meta or first.is_meta:
            return False  # assess refuses it by its own name
        if table.shape != first.shape or not bool((table == first).all()):
            return True
    return len({renorm(e) for e in embeddings}) > 1


def renorm(embedding: Any) -> tuple[float, float] | None:
    """What an embedding cuts its vectors' lengths to as it reads them: (max_norm, norm_type), or None."""
    if not isinstance(embedding, nn.Embedding) or embedding.max_norm is None:
        return None
    return embedding.max_norm, embedding.norm_type


def carries_output_only(report: MemoryReport) -> bool:
    """Whether output and full state are the same numbers, so that one measurement serves for both."""
    return report.model.get("unit") in UNITS and len(UNITS[report.model["unit"]].state_parts) == 1


def with_parameters(report: MemoryReport, embedding: Any, head: Any) -> MemoryReport:
    """The report with embedding and head counted among the parameters."""
    own = report.model["parameters"]
    total = None if own is None else own + shared_parameters(embedding, head)
    return replace(report, model={**report.model, "recurrent_parameters": own, "parameters": total})


def shared_parameters(embedding: Any, head: Any) -> int:
    """Parameters of embedding and head, those that they share once."""
    found: dict[int, int] = {}
    for part in (embedding, head):
        tensors = part.parameters() if isinstance(part, nn.Module) else [part]
        found.update({t.data_ptr(): t.numel() for t in tensors if isinstance(t, Tensor)})
    return sum(found.values())


def check_match(
    match: str, named: dict[str, list[Any]], embeddings: dict[str, list[Any]], heads: dict[str, list[Any]]
) -> None:
    """Refuses networks that are not equal in what was declared."""
    sizes = {}
    for name, seeds in named.items():
        sizes[name] = [read_network(seed).describe()[SIZES[match]] for seed in seeds]
        if match == "parameters":
            shared = map(shared_parameters, embeddings[name], heads[name])
            sizes[name] = [
                None if own is None else own + extra for own, extra in zip(sizes[name], shared, strict=True)
            ]
    every = [size for seeds in sizes.values() for size in seeds]
    if None in every or max(every) > (1 + MATCHED) * min(every):
        raise expected("match", f"networks equal in {match} to {MATCHED:.0%}", sizes)


def comparison_warnings(named: dict[str, list[Any]]) -> list[str]:
    fewest = min(len(seeds) for seeds in named.values())
    if fewest < FEWEST_SEEDS:
        seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
        return [f"{seeds}: not ranked ({FEWEST_SEEDS} or more and a match are needed)"]
    return []
