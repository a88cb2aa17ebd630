"""The worked example: what do an RNN, a GRU and an LSTM of equal size remember of real English?

Each step is one function, in the order in which `demo` calls them: a corpus, three networks of equal size,
training, measuring, a table in plain words. Each would do as the start of a study of your own.
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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import rnnmem
from rnnmem.errors import expected
from rnnmem.indicator_words import indicator_rows
from rnnmem.task import NONE as NO_TARGET
from rnnmem.text import Vocabulary, describe, embedded_english, semantic_vectors, streams, tokenize

if TYPE_CHECKING:
    from rnnmem.comparison import Comparison
    from rnnmem.report import MemoryReport

WORDS = 4_000  # numbers, <unk> among them
MEANING = 32  # dimensions of a semantic vector
WIDTH = 128  # of an embedded word
STREAMS = 32  # stretches of the text, read side by side
WINDOW = 35  # words through which the gradient is followed back
LEARNING_RATE = 6e-3
WARM_UP = 50  # steps until the learning rate is reached
VALIDATION = 0.1  # share of each stream that is never trained on
LAST_FIFTH, SETTLED = 0.8, 0.01  # bits that the loss may still fall by in the last fifth of the training
LSTM_UNITS = 128  # the others get as many parameters as this LSTM
TRAINING_SHARE = 0.6  # of the minutes; the rest is for measuring
LEAST_WORDS = 20_000  # below this the recall maps are all noise
WHOLE_TEXT_MINUTES = 4.0  # with fewer minutes, a share of the text is measured
LEAST_STEPS = 600  # of each stream that is measured
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
    """A next-word model: one table turns words into inputs and, transposed, scores the next word."""

    def __init__(self, unit: str, vocabulary: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.recurrent = UNITS[unit](WIDTH, units)
        scores = nn.Linear(WIDTH, vocabulary)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        nn.init.zeros_(scores.bias)
        scores.weight = self.embedding.weight
        self.head = nn.Sequential(nn.Linear(units, WIDTH), scores)


@dataclass(frozen=True)
class Training:
    """How training went.

    Attributes:
        steps: of the optimiser.
        perplexity: by network, on words never trained on.
        settled: whether no network's loss there fell by .01 bit or more in the last fifth of the time.
    """

    steps: int
    perplexity: dict[str, float]
    settled: bool


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
    if vocabulary.size <= MEANING:
        raise expected("--text", f"more than {MEANING} different words", f"{vocabulary.size - 1} in {source}")
    numbers = vocabulary.encode(found)
    meanings = semantic_vectors(numbers, vocabulary.size, dim=MEANING)
    return Corpus(source, len(found), streams(numbers, STREAMS), meanings)


def equal_sizes(vocabulary: int) -> dict[str, int]:
    """Finds how many units give each network the parameter count of an LSTM with 128.

    Example:
        >>> from rnnmem.demo import equal_sizes
        >>> equal_sizes(4_000)
        {'RNN': 277, 'GRU': 152, 'LSTM': 128}
    """
    goal = parameters("LSTM", vocabulary, LSTM_UNITS)

    def nearest(unit: str) -> int:
        return min(
            range(1, 4 * LSTM_UNITS), key=lambda units: abs(parameters(unit, vocabulary, units) - goal)
        )

    return {unit: nearest(unit) for unit in UNITS}


def parameters(unit: str, vocabulary: int, units: int) -> int:
    """Counts what a `NextWord` learns, without building it."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in NextWord(unit, vocabulary, units).parameters())


def train(models: Mapping[str, NextWord], tokens: Tensor, seconds: float) -> Training:
    """Trains all networks for a fixed time: Adam, clipped gradients, truncated back-propagation through time.

    They take turns step by step, so that each makes the same number of steps over the same words in the same
    order, however busy the machine is.

    Args:
        models: trained in place.
        tokens: int64 [T, STREAMS]; the last tenth of each stream is kept for validation.
        seconds: how long; the learning rate falls to zero over that time.
    """
    split = len(tokens) - kept_aside(tokens)
    training, validation = tokens[:split], tokens[split:]
    optimisers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}
    states: dict[str, Any] = dict.fromkeys(models)
    start, steps, place, next_look = time.monotonic(), 0, 0, 0.0
    before: dict[str, float] = {}
    with tqdm(total=round(seconds), desc="training", unit="s", disable=None) as bar:
        while (share := (time.monotonic() - start) / seconds) < 1:
            if place + 1 >= len(training):
                place, states = 0, dict.fromkeys(models)
            words = training[place : place + WINDOW + 1]
            rate = LEARNING_RATE * min(1.0, (steps + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
            for name, model in models.items():
                states[name] = train_step(model, optimisers[name], words, states[name], rate)
            steps, place = steps + 1, place + len(words) - 1
            bar.update(min(round(time.monotonic() - start), bar.total) - bar.n)
            if share >= LAST_FIFTH and not before:
                before = {name: perplexity(model, validation) for name, model in models.items()}
            if share >= next_look and not bar.disable:
                next_look += 0.1
                looks = [f"{name} {perplexity(model, validation):.0f}" for name, model in models.items()]
                bar.set_postfix_str(f"perplexity {', '.join(looks)}")
    after = {name: perplexity(model, validation) for name, model in models.items()}
    settled = bool(before) and all(math.log2(before[name] / after[name]) < SETTLED for name in models)
    return Training(steps, after, settled)


def kept_aside(tokens: Tensor) -> int:
    """Steps at the end of each stream that are never trained on."""
    return max(2, int(VALIDATION * len(tokens)))


def train_step(
    model: NextWord, optimiser: torch.optim.Optimizer, words: Tensor, state: Any, rate: float
) -> Any:
    """Makes one optimiser step on `words` [WINDOW + 1, STREAMS]; returns the state to go on from."""
    optimiser.param_groups[0]["lr"] = rate
    output, state = model.recurrent(model.embedding(words[:-1]), state)
    loss = cross_entropy(model.head(output).flatten(0, 1), words[1:].flatten())
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


@torch.no_grad()
def perplexity(model: NextWord, tokens: Tensor) -> float:
    """Among how many equally likely words the model in effect chooses: exp of the mean loss in nats."""
    state, loss, count = None, 0.0, 0
    for place in range(0, len(tokens) - 1, 100):
        targets = tokens[place + 1 : place + 101]
        inputs = tokens[place : place + len(targets)]
        output, state = model.recurrent(model.embedding(inputs), state)
        logits = model.head(output).flatten(0, 1)
        loss += cross_entropy(logits, targets.flatten(), reduction="sum").item()
        count += targets.numel()
    return math.exp(loss / count)


def measure(
    models: Mapping[str, NextWord],
    corpus: Corpus,
    *,
    trained: bool,
    share: float = 1.0,
    trained_window: int | None = None,
) -> Comparison:
    """Measures what each network keeps, forgets, learns from and uses of a share of the text.

    All against the same meanings; what it uses, on the words that were kept aside in training.

    Args:
        models: by name.
        corpus: what they read.
        trained: whether they are.
        share: of each stream, counted from its end.
        trained_window: words through which the gradient was followed back, if training has settled.
    """
    steps = max(LEAST_STEPS, int(share * len(corpus.tokens)))
    read = corpus.tokens[-steps:]
    following = torch.full_like(read, NO_TARGET)
    following[-kept_aside(corpus.tokens) : -1] = read[1:][-kept_aside(corpus.tokens) + 1 :]
    return rnnmem.compare(
        {name: model.recurrent for name, model in models.items()},
        read,
        embedding={name: model.embedding for name, model in models.items()},
        head={name: model.head for name, model in models.items()},
        trained=trained,
        match="parameters",
        semantics=corpus.semantics,
        lags=LAGS,
        targets=following,
        trained_window=trained_window,
        progress=sys.stderr.isatty(),
    )


def table(comparison: Comparison, title: str, perplexity: Mapping[str, float] | None = None) -> str:
    """Says what each network keeps of the words it has read, in words that need no paper."""
    reports = {name: by_state["output"][0] for name, by_state in comparison.reports.items()}
    lags = next(iter(reports.values())).lags.tolist()
    shown = [lags.index(lag) for lag in SHOWN if lag in lags]
    ago = "".join(f"{'now' if place == 0 else -lags[place]:>6}" for place in shown)
    lines = [
        title,
        f"{'':<15}{'next word':>10}    share kept of the word read now, 1, 2, 4, ... words ago",
        f"{'network':<8}{'units':>7}{'out of':>10}    {ago}   remembers",
    ]
    for name, report in reports.items():
        guess = f"{perplexity[name]:.0f}" if perplexity else "-"
        kept = "".join(f"{max(0.0, report.own_retention[place].item()):>6.1%}" for place in shown)
        lines.append(f"{name:<8}{report.model['hidden_size']:>7}{guess:>10}    {kept}   {words_back(report)}")
    return "\n".join(lines)


def words_back(report: MemoryReport) -> str:
    """Says how far back the network remembers."""
    if report.memory_horizon is None:
        return "not known"
    more = "at least " if report.memory_horizon == int(report.lags[-1]) else ""
    return f"{more}{report.memory_horizon} words"


def dynamics_table(comparison: Comparison) -> str:
    """Says what each network forgets, can learn and uses, and what to train it with."""
    lines = [
        f"{'':<11}{'two pasts are':>14}{'a gradient':>14}{'its guess profits':>20}{'train it on':>16}",
        f"{'network':<11}{'the same after':>14}{'reaches back':>14}{'from the last':>20}{'windows of':>16}",
    ]
    for name, by_state in comparison.reports.items():
        shown = {row.name: row.raw for row in indicator_rows(by_state["output"][0])}
        pasts, reach, span, window = (shown.get(key, "-") for key in DYNAMICS)
        lines.append(f"{name:<11}{pasts:>14}{reach:>14}{span:>20}{window:>16}")
    advice = next(iter(comparison.reports.values()))["output"][0].suitable_length("training")
    if advice.length is None:
        lines.append(NO_ADVICE)
    return "\n".join(lines)


DYNAMICS = ("convergence length", "reach", "used span", "training length")
NO_ADVICE = (
    "(in words; no advice on windows: it needs networks that are trained until they get no better, and these "
    "still did)"
)
EXPLANATION = """\
How to read this
- next word out of: for the next word the network hesitates, in effect, between so many (its perplexity, on
  words that it was not trained on). Fewer is better.
- share kept: the meaning of a word is a point, learnt from which words stand near each other. So much of the
  point of an earlier word can a linear map still read off the network's state; 100% is all of it. Only what
  the newer words do not give away counts.
- remembers: so many words back the state holds more than the network infers from the newer words alone.
- two pasts are the same after: so many words after which it makes no difference what was read before them.
- a gradient reaches back: so many words back 1% or more is left of what training would correct there.
- its guess profits from the last: with more words than these its guess of the next one gets no better.
- Keeping more is not being better: how much a network should keep depends on its task.
- One network of each kind (one seed): not ranked, since another start would change the numbers a little.
"""


def demo(
    text: str | None = None, minutes: float = 5.0, out: str = "memory.html"
) -> tuple[str, dict[str, Any]]:
    """Trains, measures and shows; see the functions above for each step.

    Args:
        text: a UTF-8 file; None takes the English that every Python carries.
        minutes: for everything, about; `TRAINING_SHARE` of it trains.
        out: the page to write.

    Returns:
        What to print, and the same as a dict: steps, perplexity by network, and the two comparisons.

    Raises:
        RnnMemError: a bad text, or minutes that are not positive.
    """
    if not 0 < minutes < math.inf:
        raise expected("--minutes", "a positive number", minutes)
    corpus = read_corpus(text)
    torch.manual_seed(0)
    sizes = equal_sizes(corpus.vocabulary)
    models = {name: NextWord(name, corpus.vocabulary, units) for name, units in sizes.items()}
    initial = copy.deepcopy(models)
    count = parameters("LSTM", corpus.vocabulary, LSTM_UNITS)
    say(f"{corpus.words:,} words of {corpus.source}; three networks of about {count:,} parameters each")
    training = train(models, corpus.tokens, TRAINING_SHARE * 60 * minutes)
    say(f"each network was trained for {training.steps:,} steps ({WINDOW} words of {STREAMS} streams each)")
    share = min(1.0, minutes / WHOLE_TEXT_MINUTES)
    say(f"measuring what each keeps of {share:.0%} of the text, trained and as initialised")
    window = WINDOW if training.settled else None
    trained = measure(models, corpus, trained=True, share=share, trained_window=window)
    untrained = measure(initial, corpus, trained=False, share=share)
    guesses = ", ".join(f"{name} {value:.0f}" for name, value in training.perplexity.items())
    about = (
        f"{corpus.words:,} words of {corpus.source}, {corpus.vocabulary:,} different ones kept. Each network "
        f"made {training.steps:,} training steps; perplexity on words kept aside: {guesses}. "
        "One seed: not ranked."
    )
    write_page(
        out, ("Trained", about, trained), ("Untrained, as initialised", "One seed: not ranked.", untrained)
    )
    tables = [
        table(trained, "TRAINED (one seed: not ranked)", training.perplexity),
        dynamics_table(trained),
        table(untrained, "UNTRAINED, as initialised (one seed: not ranked)"),
    ]
    result = {
        "source": corpus.source,
        "words": corpus.words,
        "steps": training.steps,
        "perplexity": training.perplexity,
        "trained": trained.to_dict(),
        "untrained": untrained.to_dict(),
    }
    return "\n\n".join([*tables, f"{EXPLANATION}\nThe whole report: {out}"]), result


def write_page(out: str, *sections: tuple[str, str, Comparison]) -> None:
    """Writes one page of several comparisons."""
    from rnnmem.page import comparison_page

    try:
        Path(out).write_text(comparison_page(sections), encoding="utf-8")
    except OSError as error:
        raise expected("--out", "a file that can be written to", f"{out} ({describe(error)})") from error


def say(line: str) -> None:
    """Tells on stderr what is going on, so that stdout holds the result alone."""
    print(line, file=sys.stderr, flush=True)
