"""What the commands do: files in, reports out. The parser is in `rnnmem.cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from torch import Tensor, nn

import rnnmem
from rnnmem.checkpoint import Checkpoint, load_checkpoint
from rnnmem.compare import assess_state, carries_output_only
from rnnmem.data import Data, find_array, load_data
from rnnmem.errors import expected
from rnnmem.report import MemoryReport

REPORTS = (".html", ".json", ".png", ".csv")
MOST_BYTES = 512  # rows of an embedding of bytes: some more may stand for other things
STATES = {"output": ("output",), "full": ("full",), "both": ("output", "full")}


def run_demo(arguments: argparse.Namespace) -> None:
    """Runs `rnnmem demo`."""
    check_out(arguments.out, (".html",))
    from rnnmem.demo import demo

    tables, result = demo(arguments.text, arguments.minutes, arguments.out)
    if arguments.json:
        print_json(result)
    else:
        print(tables)


def run_assess(arguments: argparse.Namespace) -> None:
    """Runs `rnnmem assess`: one report for each state that differs."""
    check_out(arguments.out, REPORTS)
    data = read_data(arguments)
    checkpoint = read_checkpoint(arguments, arguments.checkpoints[0])
    options = measuring_options(arguments, data, checkpoint)
    for option, given in (("--trained-window", arguments.trained_window), ("--targets", arguments.targets)):
        if given is not None and arguments.head is None:
            raise expected(option, "--head KEY beside it, which makes predictions of states", "none")
    reports: dict[str, MemoryReport] = {}
    for state in STATES[arguments.state]:
        if any(map(carries_output_only, reports.values())):
            break  # the full state is what was measured already
        before = next(iter(reports.values()), None)
        embedding = embedding_for(arguments, checkpoint, data)
        head = None if arguments.head is None else checkpoint.head(arguments.head)
        reports[state] = assess_state(before, state, checkpoint.model, data.inputs, embedding, head, options)
        if arguments.out:
            stem, suffix = os.path.splitext(arguments.out)
            reports[state].save(arguments.out if len(reports) == 1 else f"{stem}.{state}{suffix}")
        if not arguments.json:
            print("\n" * (len(reports) > 1) + str(reports[state]), flush=True)
    if arguments.json:
        print_json({state: report.to_dict() for state, report in reports.items()})


def run_compare(arguments: argparse.Namespace) -> None:
    """Runs `rnnmem compare`."""
    check_out(arguments.out, REPORTS)
    data = read_data(arguments)
    checkpoints = named(arguments)
    first = next(iter(checkpoints.values()))[0]
    comparison = rnnmem.compare(
        {name: [seed.model for seed in seeds] for name, seeds in checkpoints.items()},
        data.inputs,
        embedding={
            name: [embedding_for(arguments, seed, data) for seed in seeds]
            for name, seeds in checkpoints.items()
        },
        head=heads_for(arguments, checkpoints, data),
        match=arguments.match,
        states=STATES[arguments.state],
        **measuring_options(arguments, data, first),
    )
    if arguments.out:
        comparison.save(arguments.out)
    if arguments.json:
        print_json(comparison.to_dict())
    else:
        print(comparison.table)


def heads_for(
    arguments: argparse.Namespace, checkpoints: dict[str, list[Checkpoint]], data: Data
) -> dict[str, list[nn.Linear | None]] | None:
    """Finds the heads, which count among the parameters; None where not all networks have one.

    Nor where there is nothing to predict: numbers to read, and no targets.
    """
    if arguments.head is None and arguments.targets is None and not data.tokens:
        return None
    found = {}
    for name, seeds in checkpoints.items():
        sizes = [len(seed.embedding(arguments.embedding)) if data.tokens else None for seed in seeds]
        found[name] = [
            seed.head(arguments.head, tokens=size) for seed, size in zip(seeds, sizes, strict=True)
        ]
    return None if any(head is None for heads in found.values() for head in heads) else found


def run_info(arguments: argparse.Namespace) -> None:
    """Runs `rnnmem info`."""
    from rnnmem import info, tuning

    of = tuning if arguments.tune else info
    found = tuning.collect(*arguments.tune) if arguments.tune else info.collect()
    if arguments.json:
        print_json(found)
    else:
        print(of.show(found))


def named(arguments: argparse.Namespace) -> dict[str, list[Checkpoint]]:
    """Reads "lstm.pt" or "NAME=lstm.pt"; files of one NAME are seeds of one network."""
    found: dict[str, list[Checkpoint]] = {}
    for given in arguments.checkpoints:
        name, _, path = given.rpartition("=") if not os.path.exists(given) else ("", "", given)
        label = name or os.path.splitext(os.path.basename(path))[0]
        if not name and label in found:
            raise expected(
                "CHECKPOINT", "files of different names, or NAME=FILE", f"{path}, a second {label!r}"
            )
        found.setdefault(label, []).append(read_checkpoint(arguments, path))
    return found


def read_checkpoint(arguments: argparse.Namespace, path: str) -> Checkpoint:
    """Reads one network and says what had to be assumed."""
    checkpoint = load_checkpoint(path, prefix=arguments.prefix, nonlinearity=arguments.nonlinearity)
    if checkpoint.assumed:
        arguments.notes.append(f"{path}: {checkpoint.assumed}")
    return checkpoint


def read_data(arguments: argparse.Namespace) -> Data:
    """Reads the data and says how."""
    options = {name: getattr(arguments, name) for name in ("key", "tokens", "vocab", "streams")}
    data = load_data(arguments.data, **options)
    arguments.notes.extend(data.notes)
    return data


def embedding_for(arguments: argparse.Namespace, checkpoint: Checkpoint, data: Data) -> Tensor | None:
    """Finds what the network reads for each token, and checks that it can read this data at all."""
    if not data.tokens:
        check_floats(arguments, checkpoint, data)
        return None
    table = checkpoint.embedding(arguments.embedding)
    low, high = int(data.inputs.min()), int(data.inputs.max())
    if low < 0 or high >= len(table):
        raise expected(
            "--vocab" if arguments.vocab else "--data",
            f"tokens 0 ... {len(table) - 1}, the rows of the embedding in {checkpoint.path}",
            f"{low if low < 0 else high} in {arguments.vocab or data.path}",
        )
    if arguments.tokens == "byte" and len(table) > MOST_BYTES:
        what = f"'byte', of which there are 256, for the {len(table):,} rows of {checkpoint.path}"
        raise expected("--tokens", "the kind of token that the network was trained on", what)
    return table


def check_floats(arguments: argparse.Namespace, checkpoint: Checkpoint, data: Data) -> None:
    """Checks that float data is what this network reads."""
    if arguments.embedding is not None:
        raise expected("--embedding", "tokens (integers or text) as data", f"floats in {data.path}")
    model, features = checkpoint.model, data.inputs.shape[-1]
    if features != model.input_size:
        wanted = f"[T, {model.input_size}] or [T, B, {model.input_size}] for {checkpoint.path}"
        raise expected("--data", wanted, f"{features} features in {data.path}")
    wanted_dtype, dtype = (str(each).removeprefix("torch.") for each in (checkpoint.dtype, data.inputs.dtype))
    if wanted_dtype != dtype:
        raise expected(
            "--data", f"{wanted_dtype} like {checkpoint.path}", f"{dtype}; save x.astype({wanted_dtype!r})"
        )


def measuring_options(arguments: argparse.Namespace, data: Data, checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the options that go to `assess` and `compare` as they are."""
    options = {
        name: getattr(arguments, name)
        for name in ("lags", "layer", "fit", "split", "washout", "trained_window", "readout")
    }
    if arguments.semantics is not None:
        table = find_array("--semantics", arguments.semantics, data.path, checkpoint.tensors)
        beside = not data.tokens and table.ndim == 2 and data.inputs.shape[1] == 1
        options["semantics"] = table.unsqueeze(1) if beside else table  # [T, d] beside [T, I]
    if arguments.targets is not None:
        array = find_array("--targets", arguments.targets, data.path)
        options["targets"] = array.unsqueeze(1) if array.ndim == 1 else array
    if arguments.lengths is not None:
        options["lengths"] = find_array("--lengths", arguments.lengths, data.path)
    return options | {"progress": sys.stderr.isatty()}


def check_out(path: str | None, suffixes: tuple[str, ...]) -> None:
    """Refuses a place that cannot be written to before the work, not after it."""
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if os.path.splitext(path)[1] not in suffixes:
        raise expected("--out", f"a name ending in {', '.join(suffixes)}", path)
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise expected("--out", "a file in a folder that can be written to", path)


def print_json(value: Any) -> None:
    """Prints strict JSON."""
    json.dump(value, sys.stdout, allow_nan=False)
    print()


COMMANDS = {"demo": run_demo, "assess": run_assess, "compare": run_compare, "info": run_info}
