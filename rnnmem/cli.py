"""The command line: rnnmem demo, assess, compare, info.

This file reads the arguments and says what is wrong with them; rnnmem/commands.py does the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rnnmem.errors import RnnMemError

BAD_INPUT = 2
TYPED = {"inputs": "data", "batch": "streams"}
INTERRUPTED = 130
CLOSED_PIPE = 141

ABOUT = """\
Measures what a recurrent network (RNN, GRU, LSTM) remembers of what it has read: how much of the meaning of
the token seen 1, 2, 4, ... steps ago can still be read off its hidden state.
"""

EXAMPLES = """\
to see it work, without a network or data of your own (about five minutes):
  rnnmem demo

to measure a network that you have saved with torch.save(model.state_dict(), "model.pt"):
  rnnmem assess model.pt --data text.txt --tokens word --vocab vocab.json --out memory.html
  rnnmem assess model.pt --data signals.npy --lags 64

to set several side by side:
  rnnmem compare rnn.pt gru.pt lstm.pt --data ids.npy --semantics vectors.npy --out memory.html

rnnmem COMMAND --help explains the options of a command. What each number means: docs/definitions.md.
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose error is one line."""

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with code 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `rnnmem` with all its commands."""
    parser = Parser(
        "rnnmem", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"rnnmem {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    add_demo(
        commands.add_parser("demo", help="train RNN, GRU and LSTM on English and show what each remembers")
    )
    add_measuring(commands.add_parser("assess", help="measure one saved network"), several=False)
    add_measuring(
        commands.add_parser("compare", help="measure several saved networks side by side"), several=True
    )
    info = commands.add_parser("info", help="this build: versions, CPU, backends, what was verified where")
    info.add_argument(
        "--tune",
        nargs=2,
        type=int,
        metavar=("H", "B"),
        help="how a layer of H units would be dealt to threads for B streams, and why",
    )
    add_json(info)
    return parser


def version() -> str:
    """Returns the installed version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("rnnmem")
    except PackageNotFoundError:
        return "(not installed)"


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rnnmem demo`."""
    parser.description = (
        "Trains an RNN, a GRU and an LSTM of equal size to guess the next word, measures what each remembers "
        "before and after, prints two tables and writes a page. Needs no download and no files."
    )
    parser.add_argument(
        "--text", metavar="FILE", help="UTF-8 text to use (default: English that Python carries)"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="for everything, about (default: 5)")
    parser.add_argument(
        "--out", metavar="FILE", default="memory.html", help="page to write (default: memory.html)"
    )
    add_json(parser)


def add_measuring(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Adds the options that `assess` and `compare` share."""
    parser.description = (
        "Rebuilds the recurrent network from a state_dict (unit, size and depth are told from the shapes), "
        "runs it on the data and measures what its state keeps."
    )
    if several:
        parser.add_argument(
            "checkpoints",
            metavar="[NAME=]CHECKPOINT",
            nargs="+",
            help="state_dicts, as for assess; the same NAME again is another seed of that network",
        )
        parser.add_argument(
            "--match", choices=("parameters", "state"), help="what the networks are equal in, to 5 %%"
        )
    else:
        parser.add_argument(
            "checkpoints",
            metavar="CHECKPOINT",
            nargs=1,
            help="a state_dict: .safetensors, .pt, .pth, .bin or .ckpt",
        )
    network = parser.add_argument_group("the network")
    network.add_argument("--prefix", metavar="NAME", help="where its keys start, if the file holds several")
    network.add_argument("--nonlinearity", choices=("tanh", "relu"), help="of an RNN (default: tanh)")
    network.add_argument("--embedding", metavar="KEY", help="the table that turns tokens into inputs")
    network.add_argument(
        "--head",
        metavar="KEY",
        help="the weight that turns states into logits: turns on how much context the model uses, and counts "
        "among the parameters in compare (which looks for one by itself)",
    )
    network.add_argument(
        "--layer", type=int, default=-1, help="which layer to measure (default: -1, the last)"
    )
    network.add_argument(
        "--state",
        choices=("output", "full", "both"),
        default="both",
        help="h, all that the layer carries, or both (default)",
    )
    data = parser.add_argument_group("the data")
    data.add_argument(
        "--data",
        metavar="FILE",
        required=True,
        help=".txt, or .npy, .npz, .safetensors with floats [T, I] or [T, B, I], or tokens [T] or [T, B]",
    )
    data.add_argument("--key", help="which array of the file")
    data.add_argument(
        "--tokens",
        choices=("byte", "char", "word"),
        help="how a .txt is cut; word: lower-cased words, numbers and marks, as rnnmem.text.tokenize does",
    )
    data.add_argument("--vocab", metavar="FILE.json", help="{token: number}, or a list of tokens in order")
    data.add_argument(
        "--streams", type=int, help="into how many parallel streams a .txt is cut (default: up to 16)"
    )
    data.add_argument(
        "--semantics",
        metavar="KEY|FILE",
        help="what a token means: [V, d], or beside the data [T, B, d] (default: what the network reads)",
    )
    data.add_argument(
        "--lengths", metavar="KEY|FILE", help="integers [B]: how many steps of each stream are real"
    )
    data.add_argument(
        "--targets",
        metavar="KEY|FILE",
        help="integers [T] or [T, B]: what --head predicts at each step, -100 for nothing (default: the next "
        "token)",
    )
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--lags", type=lags, default=128, help="the largest lag, or a list such as 0,1,2,4,8 (default: 128)"
    )
    measuring.add_argument(
        "--fit",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of the data that fits, in (0, 1) (default: 0.5)",
    )
    measuring.add_argument(
        "--washout", type=int, default=100, metavar="STEPS", help="left out at the start (default: 100)"
    )
    measuring.add_argument(
        "--trained-window",
        type=int,
        metavar="STEPS",
        help="the window it was trained at until its validation loss settled: for an advice on length",
    )
    measuring.add_argument(
        "--split",
        choices=("time", "streams"),
        default="time",
        help="the first steps fit, or the first streams",
    )
    measuring.add_argument(
        "--readout",
        choices=("linear", "features"),
        default="linear",
        help="recall by a linear map, or from random features of the state too (default: linear)",
    )
    measuring.add_argument("--out", metavar="FILE", help="also write the report: .html, .json, .png or .csv")
    add_json(parser)


def lags(text: str) -> int | list[int]:
    """Reads "128" or "0,1,2,4"."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected an integer or a list such as 0,1,2,4, got {text!r}"
        ) from None
    return numbers if "," in text else numbers[0]


def as_typed(message: str, arguments: argparse.Namespace) -> str:
    """The message with the option that was typed where it names the library's argument."""
    name, colon, rest = message.partition(":")
    name = TYPED.get(name, name)
    return f"--{name.replace('_', '-')}{colon}{rest}" if colon and hasattr(arguments, name) else message


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after the program's name; None takes the process's.

    Returns:
        0; 2 after bad input, with one line on stderr; 130 after Ctrl-C.

    Example:
        >>> from rnnmem.cli import main
        >>> main(["info"])  # doctest: +ELLIPSIS
        rnnmem ...
        0
    """
    arguments = build_parser().parse_args(argv)
    arguments.notes = []  # what was assumed; said after the result, so that an error stays one line
    try:
        from rnnmem import commands

        commands.COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        for line in arguments.notes:
            print(f"note: {line}", file=sys.stderr)
    except RnnMemError as error:
        print(f"rnnmem {arguments.command}: {as_typed(str(error), arguments)}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains once more at exit
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print(f"rnnmem {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
