"""The worked example: what do an RNN, a GRU and an LSTM of equal size remember of real English?

Each step is one function, in the order in which `demo` calls them: a corpus, three networks of equal parameter
count, training, measuring, a table in plain words. Each would do as the start of a study of your own.
"""

from __future__ import annotations

import copy
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import rnnmem
from rnnmem.errors import expected
from rnnmem.text import Vocabulary, describe, embedded_english, semantic_vectors, streams, tokenize

WORDS = 4_000  # numbers, <unk> among them
WIDTH = 128  # of an embedded word
STREAMS = 32  # stretches of the text, read side by side
WINDOW = 35  # words through which the gradient is followed back
LEARNING_RATE = 6e-3
WARM_UP = 50  # steps until the learning rate is reached
VALIDATION = 0.1  # share of each stream that is never trained on
LSTM_UNITS = 128  # the others get as many parameters as this LSTM
TRAINING_SHARE = 0.75  # of the minutes; the rest is for measuring
LEAST_WORDS = 20_000  # below this the recall maps are all noise
LAGS = 32
SHOWN = (0, 1, 2, 4, 8, 16, 32)

UNITS: dict[str, Callable[[int, int], nn.RNNBase]] = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


@dataclass(frozen=True)
class Corpus:
    """A text as numbers, and what its words mean.

    Attributes:
        source: where it comes from, in words.
        words: how many words and marks it has.
        tokens: int64 [T, STREAMS].
        semantics: float32 [V, 32], PPMI-SVD of this text.
    """

    source: str
    words: int
    tokens: Tensor
    semantics: Tensor

    @property
    def vocabulary(self) -> int:
        """How many different words, `<unk>` included."""
        return len(self.semantics)


class NextWord(nn.Module):
    """A next-word model: the table of words both turns them into inputs and, transposed, scores the next one."""

    def __init__(self, unit: str, vocabulary: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.recurrent = UNITS[unit](WIDTH, units)
        self.head = nn.Sequential(nn.Linear(units, WIDTH), nn.Linear(WIDTH, vocabulary))
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        nn.init.zeros_(self.head[1].bias)
        self.head[1].weight = self.embedding.weight


@dataclass(frozen=True)
class Training:
    """How training went: optimiser steps, and the perplexity on words never trained on."""

    steps: int
    perplexity: float


def read_corpus(text: str | os.PathLike[str] | None = None) -> Corpus:
    """Reads a text (or the English that Python carries) and learns what its words mean.

    Raises:
        RnnMemError: the file is unreadable, no UTF-8, or too short.
    """
    if text is None:
        source, written = f"the documentation inside Python {platform.python_version()}", embedded_english()
    else:
        source = os.fspath(text)
        try:
            written = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise expected("--text", "a readable UTF-8 text", f"{source} ({describe(error)})") from error
    found = tokenize(written)
    if len(found) < LEAST_WORDS:
        raise expected("--text", f"at least {LEAST_WORDS:,} words", f"{len(found):,} in {source}")
    vocabulary = Vocabulary.build(found, WORDS)
    numbers = vocabulary.encode(found)
    return Corpus(source, len(found), streams(numbers, STREAMS), semantic_vectors(numbers, vocabulary.size))


def equal_sizes(vocabulary: int) -> dict[str, int]:
    """Finds how many units give each network the parameter count of an LSTM with 128.

    Example:
        >>> from rnnmem.demo import equal_sizes
        >>> equal_sizes(4_000)
        {'RNN': 278, 'GRU': 152, 'LSTM': 128}
    """
    goal = parameters("LSTM", vocabulary, LSTM_UNITS)
    return {
        unit: min(range(1, 4 * LSTM_UNITS), key=lambda size, unit=unit: abs(parameters(unit, vocabulary, size) - goal))
        for unit in UNITS
    }


def parameters(unit: str, vocabulary: int, units: int) -> int:
    """Counts what a `NextWord` learns, without building it."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in NextWord(unit, vocabulary, units).parameters())


def train(name: str, model: NextWord, tokens: Tensor, seconds: float) -> Training:
    """Trains for a fixed time: Adam, clipped gradients, truncated back-propagation through contiguous streams.

    Args:
        name: for the progress bar.
        model: trained in place.
        tokens: int64 [T, STREAMS]; the last tenth of each stream is kept for validation.
        seconds: how long; the learning rate falls to zero over that time.
    """
    steps = len(tokens) - max(2, int(VALIDATION * len(tokens)))
    training, validation = tokens[:steps], tokens[steps:]
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    state: Any = None
    start, done, place, perplexity = time.monotonic(), 0, 0, math.inf
    shown = 0.0
    with tqdm(total=round(seconds), desc=f"training {name:4s}", unit="s", disable=None, leave=True) as bar:
        while (share := (time.monotonic() - start) / seconds) < 1:
            rate = LEARNING_RATE * min(1.0, (done + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
            optimiser.param_groups[0]["lr"] = rate
            if place + 1 >= len(training):
                place, state = 0, None
            end = min(place + WINDOW, len(training) - 1)
            output, state = model.recurrent(model.embedding(training[place:end]), state)
            loss = cross_entropy(model.head(output).flatten(0, 1), training[place + 1 : end + 1].flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            done, place = done + 1, end
            if share >= shown:
                perplexity, shown = measure_perplexity(model, validation), shown + 0.2
            bar.n = min(round(time.monotonic() - start), bar.total)
            bar.set_postfix_str(f"perplexity {perplexity:.0f}, {done} steps")
        perplexity = measure_perplexity(model, validation)
        bar.n = bar.total
        bar.set_postfix_str(f"perplexity {perplexity:.0f}, {done} steps")
    return Training(done, perplexity)


@torch.no_grad()
def measure_perplexity(model: NextWord, tokens: Tensor) -> float:
    """Among how many equally likely words the model in effect chooses: exp of the mean loss in nats."""
    state, loss, count = None, 0.0, 0
    for place in range(0, len(tokens) - 1, 100):
        inputs, targets = tokens[place : place + 100][: len(tokens) - 1 - place], tokens[place + 1 : place + 101]
        output, state = model.recurrent(model.embedding(inputs), state)
        logits = model.head(output).flatten(0, 1)
        loss += cross_entropy(logits, targets.flatten(), reduction="sum").item()
        count += targets.numel()
    return math.exp(loss / count)


def measure(models: Mapping[str, NextWord], corpus: Corpus, *, trained: bool) -> rnnmem.Comparison:
    """Measures what each network keeps, against the same meanings for all."""
    return rnnmem.compare(
        {name: model.recurrent for name, model in models.items()},
        corpus.tokens,
        embedding={name: model.embedding for name, model in models.items()},
        head={name: model.head for name, model in models.items()},
        trained=trained,
        match="parameters",
        semantics=corpus.semantics,
        lags=LAGS,
        progress=sys.stderr.isatty(),
    )
