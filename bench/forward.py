"""How fast is the forward pass of `rnnmem.nn` beside torch.nn and ONNX Runtime, and how far from the machine?

Layers of H units read H numbers, without gradients; each row is a unit, H, a number of streams B and of
threads, and what numbers are kept in. The programs take turns, their outputs are compared with torch.nn in
float64 first, and each row is the median of 5 processes of 7 rounds (fewer with `--processes`). No thread of
ONNX Runtime spins.

The floor of a row is the larger of two times: its operations at the rate that a core reaches, and, for each
step, the recurrent weights read at the bandwidth of the cache that holds a thread's share of them. Both are
measured first (`ceilings.cpp`). A row passes if the median of the processes reaches the ratio asked for to
each peer, and the worst of them 95 % of it; or with 80 % of its floor, unless it is of a single step. Under a
load above 0.5 no row is judged.

    python bench/forward.py                      # six minutes
    python bench/forward.py --rows 'LSTM 256' --processes 1
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import page
import torch
from floor import GATES, ceilings, floor
from torch import nn

import rnnmem

BENCH = Path(__file__).resolve().parent
PROCESSES, ROUNDS, CHECKED = 5, 7, 200
SECONDS = 0.03  # of a run of torch.nn, roughly
ENOUGH = 0.8  # of the floor
WORST = 0.95  # of the ratio asked for
PEERS = {"torch": "torch.nn", "onnxruntime": "ONNX Runtime", "float32": "our float32"}
# Peer time over ours: torch.nn, ONNX Runtime.
ONE = {
    ("RNN", 64): (15, 4), ("RNN", 128): (6, 3), ("RNN", 256): (3.5, 2.2),
    ("GRU", 64): (15, 2), ("GRU", 128): (5.5, 1.5), ("GRU", 256): (3.5, 1.3),
    ("LSTM", 64): (1.4, 1.25), ("LSTM", 128): (1.3, 1.25), ("LSTM", 256): (1.15, 1.1),
}  # fmt: skip
MANY = {"RNN": (2.2, 1.5), "GRU": (2.2, 1.1), "LSTM": (1.15, 1.1)}
TINY = {"RNN": 2, "GRU": 2.5, "LSTM": 5}
PAIRS, TILES = {"RNN": 2, "GRU": 2, "LSTM": 1.05}, 4  # over torch.nn in bfloat16: without AMX, and with it


@dataclass(frozen=True)
class Kind:
    """What numbers are kept in: how far outputs may be from float64, and what the floor counts.

    Attributes:
        agree: ours, against float64 on the same weights.
        peer_agrees: torch.nn.
        weight_bytes: of one weight.
        rate: of which instructions.
    """

    agree: float
    peer_agrees: float
    weight_bytes: int
    rate: str


KINDS = {
    "": Kind(1e-5, 1e-5, 4, "fma"),
    "bfloat16": Kind(2**-8, 2**-5, 2, "pairs"),
    "medium": Kind(1e-2, 1e-5, 2, "fma"),
}


@dataclass(frozen=True)
class Row:
    """A case and what it has to reach: the time of each peer over ours."""

    unit: str
    hidden: int
    streams: int
    threads: int
    wanted: tuple[tuple[str, float], ...]
    kind: str = ""
    needs: str = ""  # a flag that the CPU must have
    lacks: str = ""  # and one that it must not have
    steps: int | None = None  # None: as many as take a while

    @property
    def name(self):
        return (
            f"{self.unit} {self.hidden}, B={self.streams}, {self.threads} thread{'s' * (self.threads > 1)}"
            + ("" if self.steps is None else f", T={self.steps}")
            + (f", {self.kind}" if self.kind else "")
            + (", AMX" if self.needs == "amx_bf16" else "")
        )

    @property
    def runs_here(self):
        return self.needs in {"", *machine.flags()} and self.lacks not in machine.flags()

    def floor(self, ceilings):
        """Seconds a step that the machine cannot do without."""
        weights, kind = GATES[self.unit] * self.hidden**2, KINDS[self.kind]
        bytes_read = kind.weight_bytes * weights
        return floor(ceilings, 4 * weights * self.streams, bytes_read, self.threads, kind.rate).seconds


def both(wanted):
    return tuple(zip(("torch", "onnxruntime"), wanted, strict=True))


def rows():
    found = []
    for threads in (1, 2):
        for (unit, hidden), wanted in ONE.items():
            found.append(Row(unit, hidden, 1, threads, both(wanted)))
        for unit, wanted in MANY.items():
            found += [Row(unit, hidden, 16, threads, both(wanted)) for hidden in (128, 256, 512)]
    found.append(Row("LSTM", 512, 1, 2, both((1.15, 1.3))))
    found.append(Row("LSTM", 512, 1, 2, (("float32", 1.8),), "medium"))
    found += [Row(unit, 8, 1, 1, (("torch", wanted),), steps=1) for unit, wanted in TINY.items()]
    for threads in (1, 2):
        for unit, wanted in PAIRS.items():
            for hidden in (128, 256, 512):
                shape = unit, hidden, 16, threads
                found.append(Row(*shape, (("torch", wanted),), "bfloat16", "avx512_bf16", lacks="amx_bf16"))
                found.append(Row(*shape, (("torch", TILES),), "bfloat16", "amx_bf16"))
    return found


def onnx_session(module, unit, threads):
    """ONNX Runtime's session of a layer; its gates come in another order."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    order = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}[unit]
    h = module.hidden_size

    def stacked(name):
        blocks = getattr(module, name).detach().split(h)
        return torch.cat([blocks[each] for each in order])

    bias = torch.cat((stacked("bias_ih_l0"), stacked("bias_hh_l0")))
    given = {"W": stacked("weight_ih_l0"), "R": stacked("weight_hh_l0"), "B": bias}
    constants = [numpy_helper.from_array(value[None].numpy(), name) for name, value in given.items()]
    options = {"linear_before_reset": 1} if unit == "GRU" else {}
    node = helper.make_node(unit, ["X", *given], ["Y"], hidden_size=h, **options)
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["T", "B", module.input_size])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["T", 1, "B", h])
    graph = helper.make_graph([node], "layer", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])


def timed(program, calls):
    begun = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - begun) / calls


def layers(row):
    """torch.nn's layer, and ours with the same weights."""
    theirs = getattr(nn, row.unit)(row.hidden, row.hidden).eval()
    ours = getattr(rnnmem.nn, row.unit)(row.hidden, row.hidden).eval()
    ours.load_state_dict(theirs.state_dict())
    if row.kind == "bfloat16":
        return theirs.bfloat16(), ours.bfloat16()
    return theirs, ours


def at_medium(layer, x):
    torch.set_float32_matmul_precision("medium")
    try:
        return layer(x)
    finally:
        torch.set_float32_matmul_precision("highest")


def programs(row, theirs, ours):
    """By name: from inputs to outputs."""
    if row.kind == "medium":
        return {"ours": lambda x: at_medium(ours, x)[0], "float32": lambda x: ours(x)[0]}
    found = {"ours": lambda x: ours(x)[0], "torch": lambda x: theirs(x)[0]}
    if any(peer == "onnxruntime" for peer, _ in row.wanted):
        session = onnx_session(theirs, row.unit, row.threads)
        found["onnxruntime"] = lambda x: session.run(None, {"X": x.numpy()})[0]
    return found


def check(row, theirs, found, x):
    """Every program's outputs against torch.nn in float64."""
    wide = getattr(nn, row.unit)(row.hidden, row.hidden).double()
    wide.load_state_dict(theirs.state_dict())
    exact, kind = wide(x.double())[0], KINDS[row.kind]
    for name, program in found.items():
        outputs = torch.as_tensor(program(x)).double().view_as(exact)
        atol = kind.agree if name == "ours" else kind.peer_agrees
        torch.testing.assert_close(outputs, exact, rtol=0, atol=atol)


@torch.no_grad()
def run(row):
    """Seconds a step of each program, the median of the rounds."""
    torch.set_num_threads(row.threads)
    torch.manual_seed(0)
    theirs, ours = layers(row)
    short = torch.randn(row.steps or CHECKED, row.streams, row.hidden).to(theirs.weight_hh_l0.dtype)
    theirs(short)  # the first call is slower: it would make all others short
    begun = time.perf_counter()
    theirs(short)
    steps = row.steps or max(CHECKED, int(CHECKED * SECONDS / (time.perf_counter() - begun)))
    found = programs(row, theirs, ours)
    check(row, theirs, found, short)
    x = torch.randn(steps, row.streams, row.hidden).to(short.dtype)
    calls = 2000 if steps == 1 else 1
    for program in found.values():
        program(x)
    spent = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, program in found.items():
            spent[name].append(timed(lambda program=program: program(x), calls) / steps)
    return {name: statistics.median(each) for name, each in spent.items()}


def judged(row, processes, ceiling, load):
    """A row of results from what each process found."""
    spent = {name: statistics.median(each[name] for each in processes) for name in processes[0]}
    lowest = row.floor(ceiling)
    share, ratios, reached = lowest / spent["ours"], {}, True
    for peer, wanted in row.wanted:
        found = [each[peer] / each["ours"] for each in processes]
        ratios[peer] = {"ratio": statistics.median(found), "worst": min(found), "wanted": wanted}
        reached &= ratios[peer]["ratio"] >= wanted and ratios[peer]["worst"] >= WORST * wanted
    passes = reached or (share >= ENOUGH and row.steps is None)
    return {
        "row": row.name,
        "us": {name: round(seconds * 1e6, 3) for name, seconds in spent.items()},
        "over": {peer: {k: round(v, 2) for k, v in each.items()} for peer, each in ratios.items()},
        "floor_us": round(lowest * 1e6, 3),
        "share_of_floor": round(share, 2),
        "verdict": "disturbed" if load > page.QUIET else "pass" if passes else "miss",
    }


def table(results):
    lines = [
        "| row | ours, µs a step | peers, µs a step | ratios | wanted | floor, µs | share | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results["rows"]:
        if r["verdict"] == "not run here":
            lines.append(f"| {r['row']} | | | | | | | not run here |")
            continue
        peers = ", ".join(f"{PEERS[name]} {us:.2f}" for name, us in r["us"].items() if name != "ours")
        ratios = " / ".join(f"{each['ratio']:.2f}" for each in r["over"].values())
        wanted = " / ".join(f"{each['wanted']:g}" for each in r["over"].values())
        lines.append(
            f"| {r['row']} | {r['us']['ours']:.2f} | {peers} | {ratios} | {wanted} | {r['floor_us']:.2f} "
            f"| {r['share_of_floor']:.0%} | {r['verdict']} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="only rows whose names begin so")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chosen = [row for row in rows() if row.name.startswith(given.rows)]
    here = [row for row in chosen if row.runs_here]
    if given.child:
        print(json.dumps([run(row) for row in here]))
        return
    about, ceiling = machine.describe(2), ceilings()
    command = [sys.executable, __file__, "--child", "--rows", given.rows]
    processes = []
    for count in range(given.processes):
        processes.append(json.loads(subprocess.check_output(command, text=True)))
        print(f"{count + 1} of {given.processes} processes", file=sys.stderr, flush=True)
    times = dict(zip(here, zip(*processes, strict=True), strict=True))
    found = [
        judged(row, times[row], ceiling, about["load"])
        if row in times
        else {"row": row.name, "verdict": "not run here"}
        for row in chosen
    ]
    command = "python bench/forward.py" + f" --processes {given.processes}" * (given.processes != PROCESSES)
    results = {"command": command, "machine": about, "ceilings": ceiling, "rows": found}
    print(f"{page.heading(about)}\n\n{table(results)}")
    whole = chosen == rows()
    out = given.out or (BENCH / "results" / f"forward-{page.slug(about)}.json" if whole else None)
    if out:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if given.out is None and whole and given.processes == PROCESSES:
        page.write(page.PERFORMANCE, "forward", page.heading(about) + "\n\n" + table(results))


if __name__ == "__main__":
    main()
