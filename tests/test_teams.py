"""Threads that share a step: the plan that deals units to them, and bits that do not depend on it."""

from __future__ import annotations

import pytest
import torch
from test_cpu_scan import DTYPES, LEVELS, Case, threads

from rnnmem import ops, tuning
from rnnmem.units import UNITS

# Hidden units, inputs, streams, steps. One stream whose input product goes beside its steps, and one with too
# few inputs for that; streams in two passes.
SHAPES = [(150, 40, 1, 200), (130, 3, 1, 70), (100, 9, 3, 90), (250, 5, 20, 40)]


def test_few_streams_share_units_and_many_have_threads_of_their_own() -> None:
    assert ops.plan("lstm", 256, 256, 1, 2000, 2)[:2] == (1, 2)
    assert ops.plan("lstm", 256, 256, 16, 2000, 2)[:2] == (2, 1)
    assert ops.plan("lstm", 256, 256, 16, 2000, 8)[:2] == (2, 4)
    assert ops.plan("lstm", 256, 256, 24, 2000, 2)[:2] == (1, 2)  # not 16 streams beside 8
    assert ops.plan("rnn_tanh", 16, 16, 1, 2000, 2)[:2] == (1, 1)
    assert ops.plan("lstm", 256, 256, 1, 1, 1)[:2] == (1, 1)


@pytest.mark.parametrize("unit", tuning.SHOWN)
@pytest.mark.parametrize("hidden", [1, 17, 64, 1000])
@pytest.mark.parametrize("streams", [1, 7, 8, 100])
def test_more_threads_are_never_modelled_slower(unit: str, hidden: int, streams: int) -> None:
    times = []
    for count in range(1, 9):
        teams, members, seconds, tile_steps = ops.plan(unit, hidden, hidden, streams, 2000, count)
        assert teams >= 1
        assert members >= 1
        assert teams * members <= count
        assert tile_steps == min(64, 128 // min(streams, 16))
        times.append(seconds)
    assert times == sorted(times, reverse=True)


def test_a_plan_of_nothing_is_refused() -> None:
    for sizes in ((1, 0, 1, 1, 1), (1, 1, 0, 1, 1), (1, 1, 1, 0, 1), (1, 1, 1, 1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            ops.plan("gru", *sizes)
    with pytest.raises(ValueError, match="expected a unit"):
        ops.plan("gruu", 1, 1, 1, 1, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["rnn_tanh", "gru", "lstm", "echo_tanh"])
def test_same_bits_in_a_team(
    name: str, shape: tuple[int, int, int, int], isa: str, dtype: torch.dtype
) -> None:
    hidden, inputs, streams, steps = shape
    assert ops.plan(name, inputs, hidden, streams, steps, 2)[1] > 1
    one = Case(name, dtype, shape, len(UNITS[name].state_parts) > 1)
    features, _, state = one.expected()
    with threads(1):
        alone, last = one.store(isa)
        projected, _ = one.project(isa)
    one.check(alone, features)
    one.check(last, state)
    for count in (2, 3):
        with threads(count):
            shared, shared_last = one.store(isa)
            again, _ = one.project(isa)
        assert torch.equal(shared, alone)
        assert torch.equal(shared_last, last)
        for field in ("distance", "moment", "coordinates"):
            assert torch.equal(getattr(again, field), getattr(projected, field))
