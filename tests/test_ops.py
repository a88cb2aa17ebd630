"""The compiled operators as torch sees them, and what they do with arguments that do not fit."""

from __future__ import annotations

import importlib
import resource
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnmem import ops
from rnnmem.errors import RnnMemError
from rnnmem.scan import Projection
from rnnmem.units import UNITS, Unit, Weights

HIDDEN, INPUTS, BATCH, STEPS, HISTORY, MAPS, D = 10, 3, 5, 6, 4, 7, 2
DTYPES = [pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64")]
NAMES = ["rnn_tanh", "gru", "lstm"]


def make_layer(name: str, dtype: torch.dtype, tokens: bool = False) -> ops.CpuScan:
    rows = UNITS[name].gates * HIDDEN
    weights = Weights(
        torch.randn(rows, INPUTS, dtype=dtype),
        torch.randn(rows, HIDDEN, dtype=dtype) / HIDDEN,
        torch.randn(rows, dtype=dtype),
        torch.randn(rows, dtype=dtype),
    )
    return ops.CpuScan(UNITS[name], weights, torch.randn(9, INPUTS, dtype=dtype) if tokens else None)


def make_chunk(unit: Unit, dtype: torch.dtype, tokens: bool = False) -> dict[str, Any]:
    return {
        "inputs": torch.randint(0, 9, (STEPS, BATCH))
        if tokens
        else torch.randn(STEPS, BATCH, INPUTS, dtype=dtype),
        "state": torch.randn(len(unit.state_parts), BATCH, HIDDEN, dtype=dtype),
        "reset": torch.rand(STEPS, BATCH) < 0.2,
        "full": False,
    }


def make_projection(dtype: torch.dtype) -> Projection:
    return Projection(
        weight=torch.randn(MAPS, D, HIDDEN, dtype=dtype),
        bias=torch.randn(MAPS, D, dtype=dtype),
        targets=torch.randn(2, HISTORY + STEPS, BATCH, D, dtype=dtype),
        buffer=torch.randint(0, 2, (MAPS,)),
        lag=torch.randint(0, HISTORY + 1, (MAPS,)),
        age=torch.randint(-1, 5, (STEPS, BATCH)),
        min_age=torch.randint(0, 3, (MAPS,)),
        step=5,
        moment_every=1,
        directions=torch.randn(3, D, dtype=dtype),
        coordinate_maps=4,
        coordinate_every=2,
    )


def project_arguments(scan: ops.CpuScan, chunk: dict[str, Any], p: Projection) -> tuple[Any, ...]:
    """The operator's own arguments for what CpuScan.project is given."""
    tail = (p.targets, p.buffer, p.lag, p.age, p.min_age, p.step, p.moment_every, p.directions)
    return (*scan._arguments(**chunk), *scan._maps(p), *tail, p.coordinate_maps, p.coordinate_every)


def make_pull(scan: ops.CpuScan, dtype: torch.dtype) -> dict[str, Any]:
    """What CpuScan.pull is given beside inputs and state."""
    parts = len(scan.unit.state_parts)
    return {
        "states": torch.randn(STEPS, BATCH, parts * HIDDEN, dtype=dtype),
        "gradient": torch.randn(parts, BATCH, HIDDEN, dtype=dtype),
        "above": torch.randn(STEPS, BATCH, HIDDEN, dtype=dtype),
        "sides": True,
    }


@pytest.mark.parametrize("tokens", [False, True], ids=["floats", "tokens"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, dtype: torch.dtype, tokens: bool) -> None:
    scan = make_layer(name, dtype, tokens)
    chunk, p = make_chunk(scan.unit, dtype, tokens), make_projection(dtype)
    rnnmem = torch.ops.rnnmem
    torch.library.opcheck(rnnmem.store.default, scan._arguments(**chunk))
    torch.library.opcheck(rnnmem.store.default, scan._arguments(**{**chunk, "reset": None, "full": True}))
    torch.library.opcheck(rnnmem.project.default, project_arguments(scan, chunk, p))
    layer = scan._arguments(**{**chunk, "reset": None, "full": True})
    for some in ({}, {"above": None, "sides": False}):
        given = {**make_pull(scan, dtype), **some}
        torch.library.opcheck(rnnmem.pull.default, (*layer, scan._back, *given.values()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_opcheck_of_packing(gates: int, dtype: torch.dtype) -> None:
    for isa in ops.isa_levels():
        weight = torch.randn(2, gates * 35, 3, dtype=dtype)
        torch.library.opcheck(torch.ops.rnnmem.pack.default, (weight, gates, isa))
    layer = make_layer({1: "rnn_tanh", 3: "gru", 4: "lstm"}[gates], dtype)
    _, ih, bias_ih, hh, bias_hh, _ = layer._layer
    rows = (layer.unit.name, layer.isa, torch.randn(6, INPUTS, dtype=dtype), ih, bias_ih, hh, bias_hh)
    torch.library.opcheck(torch.ops.rnnmem.gate_rows.default, rows)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_into_one_graph(name: str) -> None:
    scan = make_layer(name, torch.float32)
    chunk = make_chunk(scan.unit, torch.float32)
    arguments = scan._arguments(**chunk)

    def doubled(inputs: Tensor) -> Tensor:
        features, _ = torch.ops.rnnmem.store(*arguments[:2], 2 * inputs, *arguments[3:])
        return features + 1

    compiled = torch.compile(doubled, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(chunk["inputs"]), doubled(chunk["inputs"]))


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_no_call_leaks() -> None:
    """torch's own conversion of a string argument leaks one a call."""
    scan = make_layer("gru", torch.float32)
    arguments = scan._arguments(**make_chunk(scan.unit, torch.float32))
    weights = [weight.contiguous() for weight in (scan.weights.ih, scan.weights.hh)]
    layer = (arguments[2], None, None, *weights, scan.weights.bias_ih, scan.weights.bias_hh)

    def call(times: int) -> None:
        for _ in range(times):
            torch.ops.rnnmem.store(*arguments)
            torch.ops.rnnmem.layer("gru", *layer)

    call(2_000)
    before = resident()
    call(30_000)
    assert resident() - before < 1 << 20  # 48 bytes a string would be 4 MB


def test_releases_the_interpreter() -> None:
    scan = make_layer("gru", torch.float32)
    inputs = torch.randn(400_000, 1, INPUTS)
    state = torch.zeros(1, 1, HIDDEN)
    ticks, done = [], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    scan.store(inputs, state, None, False)
    end = time.perf_counter()
    done.set()
    thread.join()
    inside = sum(start < t < end for t in ticks)
    assert inside >= 5, f"{inside} ticks of another thread in {end - start:.3f} s"


BAD_CHUNKS = {
    "inputs rank": {"inputs": torch.zeros(STEPS, BATCH)},
    "inputs size": {"inputs": torch.zeros(STEPS, BATCH, INPUTS + 1)},
    "inputs streams": {"inputs": torch.zeros(STEPS, BATCH + 1, INPUTS)},
    "inputs dtype": {"inputs": torch.zeros(STEPS, BATCH, INPUTS, dtype=torch.float64)},
    "inputs half": {"inputs": torch.zeros(STEPS, BATCH, INPUTS, dtype=torch.float16)},
    "state rank": {"state": torch.zeros(BATCH, HIDDEN)},
    "state parts": {"state": torch.zeros(2, BATCH, HIDDEN)},
    "state size": {"state": torch.zeros(1, BATCH, HIDDEN + 1)},
    "state dtype": {"state": torch.zeros(1, BATCH, HIDDEN, dtype=torch.float64)},
    "reset shape": {"reset": torch.zeros(STEPS + 1, BATCH, dtype=torch.bool)},
    "reset dtype": {"reset": torch.zeros(STEPS, BATCH)},
}


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_bad_chunks_raise(bad: dict[str, Tensor]) -> None:
    scan = make_layer("gru", torch.float32)
    chunk = {**make_chunk(scan.unit, torch.float32), **bad}
    with pytest.raises(RuntimeError, match=f"{next(iter(bad))}: expected"):
        scan.store(**chunk)
    with pytest.raises(RuntimeError, match=f"{next(iter(bad))}: expected"):
        scan.project(**chunk, projection=make_projection(torch.float32))


BAD_PULLS = {
    "states shape": {"states": torch.zeros(STEPS + 1, BATCH, HIDDEN)},
    "states dtype": {"states": torch.zeros(STEPS, BATCH, HIDDEN, dtype=torch.float64)},
    "gradient shape": {"gradient": torch.zeros(2, BATCH, HIDDEN)},
    "gradient dtype": {"gradient": torch.zeros(1, BATCH, HIDDEN, dtype=torch.float64)},
    "above shape": {"above": torch.zeros(STEPS, BATCH, HIDDEN - 1)},
    "above dtype": {"above": torch.zeros(STEPS, BATCH, HIDDEN, dtype=torch.float64)},
}


@pytest.mark.parametrize("bad", BAD_PULLS.values(), ids=BAD_PULLS)
def test_bad_pulls_raise(bad: dict[str, Tensor]) -> None:
    scan = make_layer("gru", torch.float32)
    chunk = make_chunk(scan.unit, torch.float32)
    with pytest.raises(RuntimeError, match=f"{next(iter(bad))}: expected"):
        scan.pull(chunk["inputs"], chunk["state"], **{**make_pull(scan, torch.float32), **bad})


def test_a_pull_through_resets_or_with_another_matrix_raises() -> None:
    scan = make_layer("gru", torch.float32)
    chunk, given = make_chunk(scan.unit, torch.float32), make_pull(scan, torch.float32).values()
    with_resets, without = scan._arguments(**chunk), scan._arguments(**{**chunk, "reset": None})
    shorter = scan._back[:, :, 1:].contiguous()
    with pytest.raises(RuntimeError, match="reset: expected none"):
        torch.ops.rnnmem.pull(*with_resets, scan._back, *given)
    with pytest.raises(RuntimeError, match="back: expected shape"):
        torch.ops.rnnmem.pull(*without, shorter, *given)


BAD_PROJECTIONS = {
    "weight features": ("maps", {"weight": torch.zeros(MAPS, D, HIDDEN + 1)}),
    "weight dimension": (
        "maps",
        {"weight": torch.zeros(MAPS, 40 * D, HIDDEN), "bias": torch.zeros(MAPS, 40 * D)},
    ),
    "weight dtype": ("maps", {"weight": torch.zeros(MAPS, D, HIDDEN, dtype=torch.float64)}),
    "bias dtype": ("map_bias", {"bias": torch.zeros(MAPS, D, dtype=torch.float64)}),
    "targets rank": ("targets", {"targets": torch.zeros(HISTORY + STEPS, BATCH, D)}),
    "targets steps": ("targets", {"targets": torch.zeros(2, STEPS - 1, BATCH, D)}),
    "targets streams": ("targets", {"targets": torch.zeros(2, HISTORY + STEPS, BATCH - 1, D)}),
    "targets dimension": ("targets", {"targets": torch.zeros(2, HISTORY + STEPS, BATCH, 0)}),
    "targets dtype": ("targets", {"targets": torch.zeros(2, HISTORY + STEPS, BATCH, D, dtype=torch.float64)}),
    "buffer range": ("buffer", {"buffer": torch.full((MAPS,), 2)}),
    "buffer negative": ("buffer", {"buffer": torch.full((MAPS,), -1)}),
    "buffer size": ("buffer", {"buffer": torch.zeros(MAPS + 1, dtype=torch.int64)}),
    "buffer dtype": ("buffer", {"buffer": torch.zeros(MAPS, dtype=torch.int32)}),
    "lag range": ("lag", {"lag": torch.full((MAPS,), HISTORY + 1)}),
    "lag negative": ("lag", {"lag": torch.full((MAPS,), -1)}),
    "age shape": ("age", {"age": torch.zeros(STEPS, BATCH - 1, dtype=torch.int64)}),
    "age dtype": ("age", {"age": torch.zeros(STEPS, BATCH)}),
    "min_age size": ("min_age", {"min_age": torch.zeros(MAPS - 1, dtype=torch.int64)}),
    "step": ("step", {"step": -1}),
    "step beyond": ("step", {"step": 2**63 - 2}),
    "moment_every": ("moment_every", {"moment_every": 0}),
    "directions shape": ("directions", {"directions": torch.zeros(3, D + 1)}),
    "directions dtype": ("directions", {"directions": torch.zeros(3, D, dtype=torch.float64)}),
    "coordinate_maps many": ("coordinate_maps", {"coordinate_maps": MAPS + 1}),
    "coordinate_maps negative": ("coordinate_maps", {"coordinate_maps": -1}),
    "coordinate_every": ("coordinate_every", {"coordinate_every": 0}),
}


@pytest.mark.parametrize(("argument", "bad"), BAD_PROJECTIONS.values(), ids=BAD_PROJECTIONS)
def test_bad_projections_raise(argument: str, bad: dict[str, Any]) -> None:
    scan = make_layer("gru", torch.float32)
    projection = replace(make_projection(torch.float32), **bad)
    with pytest.raises(RuntimeError, match=f"{argument}: expected"):
        scan.project(**make_chunk(scan.unit, torch.float32), projection=projection)


@pytest.mark.parametrize("over_budget", [False, True], ids=["gates", "rows"])
@pytest.mark.parametrize("token", [-1, 9, 2**40])
def test_tokens_out_of_range_raise(token: int, over_budget: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if over_budget:
        monkeypatch.setattr(ops, "GATE_TABLE_BYTES", 0)
    scan = make_layer("gru", torch.float32, tokens=True)
    chunk = make_chunk(scan.unit, torch.float32, tokens=True)
    chunk["inputs"][3, 2] = token
    with pytest.raises(RuntimeError, match=rf"inputs: expected values in \[0, 8\], got {token}"):
        scan.store(**chunk)


def test_weights_that_do_not_fit_raise() -> None:
    scan = make_layer("gru", torch.float32)
    chunk = make_chunk(scan.unit, torch.float32)
    good = scan._arguments(**chunk)
    names = ["unit", "isa", "inputs", "table", "ih", "bias_ih", "hh", "bias_hh"]
    small = torch.zeros(1, 1, 1, 3, 4)
    for name, value in (("unit", "gru2"), ("isa", "avx1024"), ("ih", None), ("ih", small), ("hh", small)):
        bad = [value if name == each else old for each, old in zip(names, good[:8], strict=True)]
        with pytest.raises(RuntimeError, match=f"{name}: "):
            torch.ops.rnnmem.store(*bad, *good[8:])
    for name in ("bias_ih", "bias_hh"):
        bad = [small if name == each else old for each, old in zip(names, good[:8], strict=True)]
        with pytest.raises(RuntimeError, match=f"{name}: expected shape"):
            torch.ops.rnnmem.store(*bad, *good[8:])
    for gates in (0, 2, -1):
        with pytest.raises(RuntimeError, match="gates: expected"):
            torch.ops.rnnmem.pack(torch.zeros(1, 9, 2), gates, scan.isa)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layers_without_inputs_or_units_raise(dtype: torch.dtype) -> None:
    for inputs, hidden in ((0, 4), (3, 0)):
        given = torch.zeros(9, 2, inputs), torch.zeros(3 * hidden, inputs), torch.zeros(3 * hidden, hidden)
        x, ih, hh = (each.to(dtype) for each in given)
        with pytest.raises(RuntimeError, match="input and hidden size of at least 1"):
            torch.ops.rnnmem.layer("gru", x, None, None, ih, hh, None, None)


def test_empty_chunks() -> None:
    for name in NAMES:
        scan = make_layer(name, torch.float32)
        chunk, p = make_chunk(scan.unit, torch.float32), make_projection(torch.float32)
        none = {**chunk, "inputs": chunk["inputs"][:0], "reset": chunk["reset"][:0]}
        features, state = scan.store(**none)
        assert features.shape == (0, BATCH, HIDDEN)
        assert torch.equal(state, chunk["state"])
        no_streams = {key: x if key == "full" else x[:, :0] for key, x in chunk.items()}
        p = replace(p, targets=p.targets[:, :, :0], age=p.age[:, :0])
        projected, state = scan.project(**no_streams, projection=p)
        assert projected.distance.shape == (STEPS, 0, MAPS)
        assert torch.equal(projected.moment, torch.zeros(MAPS, D, D, dtype=torch.float64))
        assert state.shape == (len(scan.unit.state_parts), 0, HIDDEN)


def test_an_isa_that_this_machine_lacks_raises() -> None:
    with pytest.raises(RnnMemError, match=r"isa: expected one of .*, got 'avx1024'"):
        ops.CpuScan(UNITS["gru"], make_weights(), isa="avx1024")


def test_a_missing_extension_is_said_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(ops, "_extension", None)
    monkeypatch.setattr(ops, "_missing", None)
    monkeypatch.setattr(importlib, "import_module", fail)
    assert "pip install --no-build-isolation ." in str(ops.missing())
    with pytest.raises(RnnMemError, match=r"backend: expected the compiled extension rnnmem\._C") as raised:
        ops.CpuScan(UNITS["gru"], make_weights())
    assert "\n" not in str(raised.value)


def make_weights() -> Weights:
    return Weights(torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))


def test_every_field_of_a_projection_is_tried() -> None:
    assert {name.split()[0] for name in BAD_PROJECTIONS} == {field.name for field in fields(Projection)}
