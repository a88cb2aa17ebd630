"""Adds up the sums of meters on many processes, over torch.distributed, in a binomial tree.

In round i, process k + 2^i sends what it holds to process k, which adds it to its own; then the first one
sends the sum to all. So a process sends and receives at most log2(P) times and holds three tallies at most
(its meter's, the sum so far, and what came), whatever the number P of processes; and the order of the
additions, hence every bit of the sum, depends on P alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from rnnmem.errors import expected
from rnnmem.meter_state import read_tally
from rnnmem.recall import RecallMaps

if TYPE_CHECKING:
    from rnnmem.tally import Tally


def check_group(group: Any) -> tuple[int, int]:
    """This process's rank in the group, and its size.

    Raises:
        RnnMemError: torch.distributed is not initialised, something else than a group of it, or one that this
            process is not in.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        call = "a process group: call torch.distributed.init_process_group first"
        raise expected("group", call, "none")
    if group is not None and not isinstance(group, distributed.ProcessGroup):
        wanted = "a group of torch.distributed, or None for all processes"
        raise expected("group", wanted, type(group).__name__)
    return distributed.get_rank(group), distributed.get_world_size(group)


def check_alike(group: Any, ranks: int, described: dict[str, Any], ran: set[str]) -> set[str]:
    """Refuses, on every rank alike, meters that are not of the same model and maps.

    Args:
        group: of processes.
        ranks: how many.
        described: what has to be the same on all.
        ran: the backends that ran here.

    Returns:
        The backends that ran on any of them.
    """
    found: list[Any] = [None] * ranks
    distributed.all_gather_object(found, (described, ran), group=group)
    first = found[0][0]
    for rank, (other, _) in enumerate(found):
        wrong = [name for name in first if other.get(name) != first[name]]
        if wrong:
            what = f"rank {rank} with another {wrong[0]} than rank 0"
            raise expected("group", "meters of the same model and maps on every rank", what)
    return {name for _, names in found for name in names}


def added_up(maps: RecallMaps, tally: Tally | None, group: Any, rank: int, ranks: int) -> Tally | None:
    """The sum of the ranks' tallies, the same on every rank; None where none has measured anything."""
    held = None if tally is None else read_tally(maps, tally.state_dict())
    reach = 1
    while reach < ranks:
        if rank % (2 * reach) == reach:
            send(held, rank - reach, group)
            break
        if rank % (2 * reach) == 0 and rank + reach < ranks:
            other = receive(maps, rank + reach, group)
            if held is None:
                held = other
            elif other is not None:
                held.merge(other)
        reach *= 2
    parcel = [None if held is None else held.state_dict()] if rank == 0 else [None]
    distributed.broadcast_object_list(parcel, group=group, group_src=0)
    return None if parcel[0] is None else read_tally(maps, parcel[0])


def send(tally: Tally | None, to: int, group: Any) -> None:
    parcel = [None if tally is None else tally.state_dict()]
    distributed.send_object_list(parcel, group=group, group_dst=to)


def receive(maps: RecallMaps, source: int, group: Any) -> Tally | None:
    parcel: list[Any] = [None]
    distributed.recv_object_list(parcel, group=group, group_src=source)
    return None if parcel[0] is None else read_tally(maps, parcel[0])


def digest(maps: RecallMaps) -> str:
    """A short one of all that the maps are made of."""
    tensors, plain = maps.contents()
    found = hashlib.blake2b(repr(sorted(plain.items())).encode(), digest_size=16)
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
