"""How the cpu backend would deal a layer to threads, and why: the lines behind `rnnmem info --tune H B`."""

from __future__ import annotations

from typing import Any

import torch

from rnnmem.errors import expected
from rnnmem.ops import isa_levels, plan
from rnnmem.units import UNITS

SHOWN = ("rnn_tanh", "gru", "lstm")
STEPS = 2000
LARGEST = 1 << 20


def collect(hidden: int, streams: int) -> dict[str, Any]:
    """What would be picked for a float32 layer of as many inputs as units, at torch's number of threads.

    Args:
        hidden: H, units of the layer.
        streams: B, streams side by side.

    Returns:
        The shape, and for each unit: teams, threads in each, weights that a thread reads in a step, in
        bytes, and the model's microseconds a step, so dealt and on one thread alone.

    Raises:
        RnnMemError: a size below 1 or above 2^20; the compiled extension is missing.

    Example:
        >>> from rnnmem.tuning import collect
        >>> collect(8, 1)["units"]["gru"]["teams"]
        1
    """
    for name, size in (("H", hidden), ("B", streams)):
        if not 1 <= size <= LARGEST:
            raise expected(f"--tune {name}", f"1 to {LARGEST:,}", size)
    threads, units = torch.get_num_threads(), {}
    for unit in SHOWN:
        teams, members, seconds, tile_steps = plan(unit, hidden, hidden, streams, STEPS, threads)
        alone = plan(unit, hidden, hidden, streams, STEPS, 1)[2]
        units[unit] = {
            "teams": teams,
            "threads_a_team": members,
            "weight_bytes_a_thread": UNITS[unit].gates * hidden * hidden * 4 // members,
            "microseconds_a_step": seconds / STEPS * 1e6,
            "microseconds_a_step_on_one_thread": alone / STEPS * 1e6,
        }
    return {
        "hidden": hidden,
        "streams": streams,
        "threads": threads,
        "isa": isa_levels()[0],
        "tile_steps": tile_steps,
        "units": units,
    }


def reason(unit: dict[str, Any], threads: int) -> str:
    """Why a layer is dealt so, in a few words."""
    if threads == 1:
        return "there is one thread"
    words = []
    if unit["teams"] > 1:
        words.append("teams have streams of their own and never wait")
    if unit["threads_a_team"] > 1:
        words.append("a team shares the units of each step and meets after it: saves more than meeting costs")
    return "; ".join(words) or "too little work in a step to share it"


def show(found: dict[str, Any]) -> str:
    """Lays out what `collect` returned for a terminal."""
    lines = [
        f"{found['hidden']:,} units, as many inputs, {found['streams']:,} streams, float32, {STEPS:,} steps, "
        f"{found['threads']} threads, {found['isa']}: time in tiles of {found['tile_steps']} steps",
        "",
        f"{'unit':<9} {'teams x threads':>15} {'weights a thread':>17} {'model, µs a step':>17} {'alone':>9}",
    ]
    for name, unit in found["units"].items():
        dealt = f"{unit['teams']} x {unit['threads_a_team']}"
        weights = f"{unit['weight_bytes_a_thread'] / 1024:,.1f} KiB"
        model, alone = unit["microseconds_a_step"], unit["microseconds_a_step_on_one_thread"]
        lines.append(f"{name:<9} {dealt:>15} {weights:>17} {model:>17,.2f} {alone:>9,.2f}")
        lines.append(f"{'':<9} {reason(unit, found['threads'])}")
    lines += ["", "From the shapes and the number of threads alone; no choice shows in a bit of any result."]
    return "\n".join(lines)
