"""Next-word models of a text: RNN, GRU and LSTM of equal parameter count, before and after training.

The demo trains for a time, which suits an impatient reader; this example trains for one passage through the
text, so that its saved figures do not hang on how busy the machine was.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from tqdm import tqdm

from rnnmem import demo
from rnnmem.demo import LEARNING_RATE, VALIDATION, WARM_UP, WINDOW, NextWord


@dataclass(frozen=True)
class Trained:
    """One network before and after, and how well it names the next word.

    Attributes:
        units: hidden units.
        parameters: learnt numbers, embedding and head included.
        untrained: the network as initialised.
        trained: the same network afterwards.
        perplexity: on the last tenth of each stream, which training never saw.
    """

    units: int
    parameters: int
    untrained: NextWord
    trained: NextWord
    perplexity: float


def train_all(corpus: demo.Corpus, cache: Path, seed: int = 0) -> dict[str, Trained]:
    """Trains each network on one passage through nine tenths of each stream.

    The weights are kept in the cache, so that measuring again needs no training; delete them to train anew.

    Args:
        corpus: the text as numbers.
        cache: folder that keeps the trained weights.
        seed: of the initial weights.

    Returns:
        Unit -> network before and after.
    """
    split = len(corpus.tokens) - max(2, int(VALIDATION * len(corpus.tokens)))
    done: dict[str, Trained] = {}
    for unit, size in demo.equal_sizes(corpus.vocabulary).items():
        torch.manual_seed(seed)
        untrained = NextWord(unit, corpus.vocabulary, size)
        trained = copy.deepcopy(untrained)
        weights = cache / f"next-word-{unit}-{size}.safetensors"
        if weights.exists():
            load_model(trained, weights)
        else:
            train_once(unit, trained, corpus.tokens[:split])
            save_model(trained, str(weights))
        score = demo.perplexity(trained, corpus.tokens[split:])
        count = demo.parameters(unit, corpus.vocabulary, size)
        done[unit] = Trained(size, count, untrained, trained, score)
    return done


def train_once(unit: str, model: NextWord, tokens: Tensor) -> None:
    """Trains on every word once, in order, the learning rate falling to zero along a cosine.

    Args:
        unit: for the progress bar.
        model: trained in place.
        tokens: int64 [T, streams].
    """
    optimiser = torch.optim.Adam(model.parameters())
    state: Any = None
    places = range(0, len(tokens) - 1, WINDOW)
    for step, place in enumerate(tqdm(places, desc=f"training {unit:4s}", unit="step", disable=None)):
        rate = (
            LEARNING_RATE
            * min(1.0, (step + 1) / WARM_UP)
            * (0.5 + 0.5 * math.cos(math.pi * step / len(places)))
        )
        state = demo.train_step(model, optimiser, tokens[place : place + WINDOW + 1], state, rate)
