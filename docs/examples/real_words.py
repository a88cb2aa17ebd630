"""English words as the streams that the spelling-to-sound encoder is measured on."""

from __future__ import annotations

import random
import string

import torch
from real_g2p import spell
from torch import Tensor

from rnnmem.text import tokenize


def distinct_words(text: str, seed: int = 0, longest: int = 15) -> list[str]:
    """Lists each word of a text once, in an order that is random and always the same.

    The streams that fit the recall maps are the first ones and the streams measured are the others: shuffled,
    both are samples of the same words, and in alphabetical order they would not be.

    Args:
        text: any text.
        seed: of the order.
        longest: letters of the longest word taken. A stream is as long as the longest word, so that one
            *honorificabilitudinitatibus* would double the work for all.

    Returns:
        Words of lower-case letters a-z alone (*o'er* and numbers are left out).
    """
    found = {token for token in tokenize(text) if len(token) <= longest}
    words = sorted(token for token in found if not set(token) - set(string.ascii_lowercase))
    random.Random(seed).shuffle(words)
    return words


def word_streams(words: list[str]) -> tuple[Tensor, Tensor]:
    """Puts one word into each stream, its end mark included, padded at the end.

    The end mark is a token like any other here: the encoder reads it, and the state behind it, the only one
    that the decoder ever sees, is measured like the states behind the letters.

    Args:
        words: lower-case letters a-z.

    Returns:
        Letter numbers int64 [longest + 1, len(words)], padded with `<pad>` (0); lengths int64 [len(words)].
    """
    spelt = [spell(word) for word in words]
    lengths = torch.tensor([len(letters) for letters in spelt])
    return torch.nn.utils.rnn.pad_sequence(spelt), lengths
