"""How fast is the forward pass of `rnnmem.nn` beside torch.nn and ONNX Runtime, and how far from the machine?

Layers of H units read H numbers, float32, without gradients; each row is a unit, H, a number of streams B and
of threads. The three programs take turns, their outputs are compared with torch.nn in float64 first, and each
row is the median of 5 processes of 7 rounds (fewer with `--processes`). ONNX Runtime's threads do not spin.

The floor of a row is the larger of two times: its operations at the rate of fused multiply-adds that a core
reaches, and, for each step, the recurrent weights read at the bandwidth of the cache that holds a thread's
share of them. Both are measured first (`ceilings.cpp`). A row passes with the ratio asked for to each peer,
or with 80 % of its floor, unless it is of a single step.

    python bench/forward.py                      # about a quarter of an hour
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
AGREE = 1e-5
ENOUGH = 0.8  # of the floor
# Peer time over ours: torch.nn, ONNX Runtime.
ONE = {
    ("RNN", 64): (15, 4), ("RNN", 128): (6, 3), ("RNN", 256): (3.5, 2.2),
    ("GRU", 64): (15, 2), ("GRU", 128): (5.5, 1.5), ("GRU", 256): (3.5, 1.3),
    ("LSTM", 64): (1.4, 1.25), ("LSTM", 128): (1.3, 1.25), ("LSTM", 256): (1.15, 1.1),
}  # fmt: skip
MANY = {"RNN": (2.2, 1.5), "GRU": (2.2, 1.1), "LSTM": (1.15, 1.1)}
TINY = {"RNN": (2, None), "GRU": (2.5, None), "LSTM": (5, None)}


@dataclass(frozen=True)
class Row:
    """A case and what it has to reach."""

    unit: str
    hidden: int
    streams: int
    threads: int
    wanted: tuple[float, float | None]
    steps: int | None = None  # None: as many as take a while

    @property
    def name(self):
        return (
            f"{self.unit} {self.hidden}, B={self.streams}, {self.threads} thread{'s' * (self.threads > 1)}"
            + ("" if self.steps is None else f", T={self.steps}")
        )

    def floor(self, ceilings):
        """Seconds a step that the machine cannot do without."""
        weights = GATES[self.unit] * self.hidden**2
        return floor(ceilings, 4 * weights * self.streams, 4 * weights, self.threads).seconds


def rows():
    found = []
    for threads in (1, 2):
        for (unit, hidden), wanted in ONE.items():
            found.append(Row(unit, hidden, 1, threads, wanted))
        for unit, wanted in MANY.items():
            found += [Row(unit, hidden, 16, threads, wanted) for hidden in (128, 256, 512)]
    found.append(Row("LSTM", 512, 1, 2, (1.15, 1.3)))
    return found + [Row(unit, 8, 1, 1, wanted, steps=1) for unit, wanted in TINY.items()]


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


@torch.no_grad()
def run(row):
    """Seconds a step of each program, the median of the rounds."""
    torch.set_num_threads(row.threads)
    torch.manual_seed(0)
    theirs = getattr(nn, row.unit)(row.hidden, row.hidden).eval()
    ours = getattr(rnnmem.nn, row.unit)(row.hidden, row.hidden).eval()
    ours.load_state_dict(theirs.state_dict())
    session = onnx_session(theirs, row.unit, row.threads)
    short = torch.randn(row.steps or CHECKED, row.streams, row.hidden)
    theirs(short)  # the first call is slower: it would make all others short
    begun = time.perf_counter()
    theirs(short)
    steps = row.steps or max(CHECKED, int(CHECKED * SECONDS / (time.perf_counter() - begun)))
    wide = getattr(nn, row.unit)(row.hidden, row.hidden).double()
    wide.load_state_dict(theirs.state_dict())
    exact = wide(short.double())[0].float()
    for found in (ours(short)[0], torch.from_numpy(session.run(None, {"X": short.numpy()})[0]).squeeze(1)):
        torch.testing.assert_close(found, exact, rtol=0, atol=AGREE)
    x = torch.randn(steps, row.streams, row.hidden)
    array = x.numpy()
    programs = {
        "ours": lambda: ours(x),
        "torch": lambda: theirs(x),
        "onnxruntime": lambda: session.run(None, {"X": array}),
    }
    calls = 2000 if steps == 1 else 1
    for program in programs.values():
        program()
    spent = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            spent[name].append(timed(program, calls) / steps)
    return {name: statistics.median(each) for name, each in spent.items()}


def judged(row, processes, ceiling):
    """A row of results from what each process found."""
    spent = {name: statistics.median(each[name] for each in processes) for name in processes[0]}
    ratios = [spent["torch"] / spent["ours"], spent["onnxruntime"] / spent["ours"]]
    floor = row.floor(ceiling)
    share = floor / spent["ours"]
    reached = all(wanted is None or ratio >= wanted for ratio, wanted in zip(ratios, row.wanted, strict=True))
    return {
        "row": row.name,
        **{f"{name}_us": round(seconds * 1e6, 3) for name, seconds in spent.items()},
        "over_torch": round(ratios[0], 2),
        "over_onnxruntime": round(ratios[1], 2),
        "wanted": row.wanted,
        "floor_us": round(floor * 1e6, 3),
        "share_of_floor": round(share, 2),
        "pass": reached or (share >= ENOUGH and row.steps is None),
    }


def table(results):
    lines = [
        "| row | torch.nn | ONNX Runtime | ours, µs a step | ratios | wanted | floor, µs | share | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results["rows"]:
        wanted = " / ".join("–" if each is None else f"{each:g}" for each in r["wanted"])
        lines.append(
            f"| {r['row']} | {r['torch_us']:.2f} | {r['onnxruntime_us']:.2f} | {r['ours_us']:.2f} "
            f"| {r['over_torch']:.2f} / {r['over_onnxruntime']:.2f} | {wanted} | {r['floor_us']:.2f} "
            f"| {r['share_of_floor']:.0%} | {'pass' if r['pass'] else 'miss'} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="only rows whose names begin so")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chosen = [row for row in rows() if row.name.startswith(given.rows)]
    if given.one is not None:
        print(json.dumps(run(next(row for row in rows() if row.name == given.one))))
        return
    about, ceiling, found = machine.describe(2), ceilings(), []
    for row in chosen:
        command = [sys.executable, __file__, "--one", row.name]
        processes = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(given.processes)
        ]
        found.append(judged(row, processes, ceiling))
        print(table({"rows": found[-1:]}).splitlines()[-1], flush=True)
    out = given.out or BENCH / "results" / f"forward-{page.slug(about)}.json"
    command = "python bench/forward.py" + f" --processes {given.processes}" * (given.processes != PROCESSES)
    results = {"command": command, "machine": about, "ceilings": ceiling, "rows": found}
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if given.out is None and chosen == rows() and given.processes == PROCESSES:
        page.write(page.PERFORMANCE, "forward", page.heading(about) + "\n\n" + table(results))


if __name__ == "__main__":
    main()
