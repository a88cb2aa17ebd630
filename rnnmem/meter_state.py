"""The state of a meter, read back from a dict: every part is held against what this meter would write."""

from __future__ import annotations

from operator import index
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import ENDED, Carry
from rnnmem.lags import LARGEST, is_int
from rnnmem.network import Network
from rnnmem.recall import RecallMaps
from rnnmem.runner import make_runner
from rnnmem.tally import COUNTS, MOST_BLOCKS, Tally
from rnnmem.tree import leaves, unflatten
from rnnmem.user_object import ObjectNetwork


def read_carry(maps: RecallMaps, dtype: torch.dtype, given: dict[str, Any]) -> Carry:
    """The history in a state_dict, as a copy."""
    step, age, vectors, tokens = (given[name] for name in ("step", "age", "vectors", "tokens"))
    if not is_int(step) or not 0 <= index(step) <= LARGEST:
        raise ValueError(f"carry: step {step!r}")
    streams, history = len(age), maps.history
    check_like("carry: age", age, torch.empty(streams, dtype=torch.int64))
    check_like("carry: vectors", vectors, torch.empty(history, streams, maps.dimension, dtype=dtype))
    band = maps.token_band
    if (tokens is not None) != (band is not None):
        raise ValueError("carry: tokens")
    if tokens is not None and band is not None:
        check_like("carry: tokens", tokens, torch.empty(history, streams, dtype=torch.int64))
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(band):
            raise ValueError(f"carry: tokens beyond the {len(band)} of the maps")
    return Carry(index(step), age.clone(), vectors.clone(), None if tokens is None else tokens.clone())


def read_state(network: Network | ObjectNetwork, given: list[Tensor], age: Tensor) -> Any:
    """The network's state in a state_dict, as a copy.

    Args:
        network: whose state it is.
        given: its tensors, in order.
        age: of the streams [B]; one that has ended may have left any state behind.
    """
    with torch.random.fork_rng(devices=[]):  # an object may draw numbers
        template = make_runner(network, "reference", None, full=True).init_state(len(age))
    parts = list(leaves(template))
    if len(given) != len(parts):
        raise ValueError(f"state: {len(given)} tensors, not {len(parts)}")
    for leaf, part in zip(given, parts, strict=True):
        if isinstance(network, ObjectNetwork):  # a step may give its state another size than it began with
            part = leaf.new_empty(len(age), *leaf.shape[1:])
        check_like("state", leaf, part, finite=not bool((age == ENDED).any()))
    return unflatten(template, iter([leaf.clone() for leaf in given]))


def read_tally(maps: RecallMaps, given: dict[str, Any]) -> Tally:
    """The sums in a state_dict, as a copy."""
    counts = [given[name] for name in COUNTS]
    if not all(is_int(count) and 0 <= index(count) <= LARGEST for count in counts):
        raise ValueError(f"tally: counts {counts}")
    streams, first, width, joins = counts
    if width < 1 or joins > 62 or len(given["groups"]) > MOST_BLOCKS:
        raise ValueError("tally: groups of streams")
    if streams and first + (streams - 1) // width >> joins >= len(given["groups"]):
        raise ValueError("tally: groups of streams")
    tally = Tally(maps)
    template = tally.state_dict()
    columns = template["groups"].shape[1]
    for name, part in template.items():
        if name in ("blocks", "positions"):
            bins = given[name]
            if not is_int(bins["width"]) or index(bins["width"]) < 1:
                raise ValueError(f"tally: width of {name}")
            count = len(bins["index"])
            check_like(f"tally: {name}", bins["index"], part["index"].new_empty(count))
            check_like(f"tally: {name}", bins["sums"], part["sums"].new_empty(count, columns))
            if count and (int(bins["index"].min()) < 0 or len(bins["index"].unique()) < count):
                raise ValueError(f"tally: index of {name}")
        elif name == "groups":
            check_like("tally: groups", given[name], part.new_empty(len(given[name]), columns))
        elif isinstance(part, Tensor):
            check_like(f"tally: {name}", given[name], part)
    tally.load_state_dict(given)
    return tally


def check_like(name: str, value: Any, like: Tensor, finite: bool = True) -> None:
    """Raises ValueError for what is not a tensor with values of this shape and dtype, all finite."""
    if not isinstance(value, Tensor) or value.dtype != like.dtype or value.shape != like.shape:
        what = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name}: {what}, not {like.dtype} {tuple(like.shape)}")
    if value.is_meta or (finite and not bool(value.isfinite().all())):
        raise ValueError(f"{name}: NaN, Inf or no values")


def check_equal(name: str, value: Tensor, wanted: Tensor) -> None:
    check_like(name, value, wanted)
    if not torch.equal(value, wanted):
        raise ValueError(f"{name}: {value.tolist()}, not {wanted.tolist()}")
