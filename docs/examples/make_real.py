"""`make real`: measures a published network and three trained on real text; writes the reports beside it.

python docs/examples/make_real.py             # everything, about six minutes on two cores
python docs/examples/make_real.py encoder     # only the spelling-to-sound encoder; or: shakespeare
python docs/examples/make_real.py tables      # only the tables and the picture, from the saved reports
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from real_fetch import G2P, SHAKESPEARE, RealInputError, fetch, shakespeare_text
from real_g2p import load, prove
from real_page import fill
from real_tables import blocks
from real_train import train_all
from real_words import distinct_words, word_streams
from torch import Tensor, nn

import rnnmem
from rnnmem import demo, drawing, plot

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "memory.png"  # what the project's README shows
CACHE = HERE.parents[1] / ".cache" / "real"
LETTER_LAGS = range(9)  # dense, so that every indicator is defined; words of ten letters and more are rare
SEED = 0


def letter_semantics(embedding: Tensor) -> Tensor:
    """Turns a table of vectors onto the few directions that it spans.

    V rows span at most V directions, however many dimensions they stand in. With E = U S Wᵀ, the rows of U S
    lie as far from each other as those of E: every distance stays, at a fraction of the work.

    Args:
        embedding: [V, d].

    Returns:
        [V, min(V, d)].
    """
    left, strength, _ = torch.linalg.svd(embedding.detach(), full_matrices=False)
    vectors: Tensor = left * strength
    return vectors


def measure_encoder(text: str) -> dict[str, Any]:
    """Loads the published encoder, proves that it is loaded right, and measures it on words.

    Beside it stands an encoder that reads the same letter vectors with recurrent weights as initialised.

    Args:
        text: where the words come from.

    Returns:
        What the page tells and the reports do not hold.
    """
    network = load(fetch(G2P, CACHE)[0])
    said = prove(network)
    for word, phonemes in said.items():
        print(f"{word}: {phonemes}")
    letters, lengths = word_streams(distinct_words(text, SEED))
    torch.manual_seed(SEED)
    untrained = nn.GRU(network.encoder.input_size, network.encoder.hidden_size)
    for name, gru in (("encoder", network.encoder), ("encoder-untrained", untrained)):
        report = rnnmem.assess(
            gru,
            letters,
            embedding=network.letters,
            semantics=letter_semantics(network.letters.weight),
            lengths=lengths,
            split="streams",
            lags=LETTER_LAGS,
            progress=sys.stderr.isatty(),
        )
        save(report, name)
    return {
        "pronunciations": said,
        "words": len(lengths),
        "letters": int(lengths.sum()),
        "longest": len(letters),
    }


def measure_shakespeare(text: str) -> dict[str, Any]:
    """Trains an RNN, a GRU and an LSTM of equal parameter count on the text; measures each before and after.

    Args:
        text: what to read.

    Returns:
        What the page tells and the reports do not hold.
    """
    text_file = CACHE / "shakespeare.txt"
    text_file.write_text(text, encoding="ascii")
    corpus = demo.read_corpus(text_file)
    found = train_all(corpus, CACHE, SEED)
    before = {unit: networks.untrained for unit, networks in found.items()}
    after = {unit: networks.trained for unit, networks in found.items()}
    save(demo.measure(before, corpus, trained=False), "shakespeare-untrained")
    save(demo.measure(after, corpus, trained=True), "shakespeare-trained")
    units = {
        unit: {"units": n.units, "parameters": n.parameters, "perplexity": n.perplexity}
        for unit, n in found.items()
    }
    return {"words": corpus.words, "vocabulary": corpus.vocabulary, "units": units}


def save(report: rnnmem.MemoryReport | rnnmem.Comparison, name: str) -> None:
    """Saves a report as the figures and as a page to read, and prints it."""
    for ending in (".json", ".html"):
        report.save(HERE / f"{name}{ending}")
    print(report)


def run(parts: list[str]) -> None:
    """Does the parts asked for, and remakes the tables and the picture.

    Args:
        parts: out of "encoder", "shakespeare" and "tables".
    """
    facts_file, page = HERE / "run.json", HERE / "README.md"
    facts = json.loads(facts_file.read_text(encoding="utf-8")) if facts_file.exists() else {}
    measures = {"encoder": measure_encoder, "shakespeare": measure_shakespeare}
    for part in (part for part in measures if part in parts):
        facts[part] = measures[part](shakespeare_text(fetch(SHAKESPEARE, CACHE)))
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        facts[part] |= versions | {"rnnmem": rnnmem.__version__, "threads": torch.get_num_threads()}
        facts_file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    page.write_text(fill(page.read_text(encoding="utf-8"), blocks(HERE)), encoding="utf-8")
    trained = json.loads((HERE / "shakespeare-trained.json").read_text(encoding="utf-8"))
    PICTURE.write_bytes(drawing.png(plot.comparison_figure(rnnmem.Comparison.from_dict(trained), ["output"])))


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make_real.py", description=(__doc__ or "").partition("\n")[0])
    names = ["encoder", "shakespeare", "tables"]
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"out of {', '.join(names)}; all if none is named"
    )
    parts = parser.parse_args(arguments).parts
    try:
        unknown = sorted(set(parts) - set(names))
        if unknown:
            raise RealInputError(f"PART: expected one of {', '.join(names)}, got {unknown[0]}")
        run(parts or names)
    except (RealInputError, rnnmem.RnnMemError) as error:
        print(f"make_real.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
