"""A trained spelling-to-sound network as torch modules, and the proof that its weights are where they belong.

The network reads a word letter by letter, then an end mark, with one GRU of 256 units; a second GRU starts
from the state that the first ended in, and names one phoneme a step. All that it knows of the word has to
pass through that one state, which is what makes it worth measuring.
"""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import torch
from real_fetch import RealInputError
from torch import Tensor, nn

END = 2
"""The end mark's number among the letters. The encoder reads it after the last letter, and the state behind
it is the one that the decoder starts from, so that it belongs to every word."""

LETTERS = ("<pad>", "<unk>", "</s>", *string.ascii_lowercase)

_STRESSED = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
# The network's table has "UW" once more without a stress.
_PLAIN = (*"BDFGKLMNPRSTVWYZ", "CH", "DH", "HH", "JH", "NG", "SH", "TH", "UW", "ZH")
_PHONEMES = {*_PLAIN, *(f"{vowel}{stress}" for vowel in _STRESSED for stress in "012")}
PHONEMES = ("<pad>", "<unk>", "<s>", "</s>", *sorted(_PHONEMES))

PRONUNCIATIONS = {
    "activationist": "AE2 K T IH0 V EY1 SH AH0 N IH0 S T",
    "memory": "M EH1 M ER0 IY0",
    "close": "K L OW1 Z",
}
"""What the network itself says (in the package, a dictionary speaks first)."""


class SpellingToSound(nn.Module):
    """Encoder GRU over letters, decoder GRU over phonemes, a linear layer that names the next phoneme.

    Args:
        letters: rows of the encoder's embedding.
        phonemes: rows of the decoder's embedding, and outputs.
        size: hidden units, and width of both embeddings.
    """

    def __init__(self, letters: int = len(LETTERS), phonemes: int = len(PHONEMES), size: int = 256) -> None:
        super().__init__()
        self.letters = nn.Embedding(letters, size)
        self.encoder = nn.GRU(size, size)
        self.phonemes = nn.Embedding(phonemes, size)
        self.decoder = nn.GRUCell(size, size)
        self.name = nn.Linear(size, phonemes)

    @torch.no_grad()
    def pronounce(self, word: str, longest: int = 20) -> str:
        """Decodes greedily.

        Args:
            word: lower-case letters a-z.
            longest: phonemes after which decoding stops at the latest.

        Returns:
            ARPAbet phonemes, blanks between.
        """
        _, last = self.encoder(self.letters(spell(word)).unsqueeze(1))  # [1, 1, H]
        state, said = last[0], PHONEMES.index("<s>")
        phonemes: list[str] = []
        while len(phonemes) < longest:
            state = self.decoder(self.phonemes(torch.tensor([said])), state)
            said = int(self.name(state).argmax())
            if PHONEMES[said] == "</s>":
                break
            phonemes.append(PHONEMES[said])
        return " ".join(phonemes)


def spell(word: str) -> Tensor:
    """Turns a word into the numbers that the encoder reads.

    Args:
        word: lower-case letters a-z.

    Returns:
        Letter numbers with the end mark last, int64 [len(word) + 1].

    Raises:
        RealInputError: the word has another character, which the network would read as unknown.
    """
    if not word or set(word) - set(string.ascii_lowercase):
        raise RealInputError(f"word: expected lower-case letters a-z, got {word!r}")
    return torch.tensor([*(LETTERS.index(letter) for letter in word), END])


def load(path: Path) -> SpellingToSound:
    """Reads the published weights into torch modules.

    The file's gates are in torch's own order (reset, update, new), its arrays only need new names.

    Args:
        path: checkpoint20.npz.

    Returns:
        The network, in eval mode.

    Raises:
        RealInputError: arrays are missing, or have other shapes than the network's.
    """
    names = {
        "letters.weight": "enc_emb",
        "phonemes.weight": "dec_emb",
        "name.weight": "fc_w",
        "name.bias": "fc_b",
    }
    for module, prefix, suffix in (("encoder", "enc", "_l0"), ("decoder", "dec", "")):
        for kind, short in (("weight", "w"), ("bias", "b")):
            for gate in ("ih", "hh"):
                names[f"{module}.{kind}_{gate}{suffix}"] = f"{prefix}_{short}_{gate}"
    with np.load(path, allow_pickle=False) as arrays:
        missing = sorted(set(names.values()) - set(arrays.files))
        if missing:
            raise RealInputError(f"{path.name}: expected array {missing[0]}, got {', '.join(arrays.files)}")
        state = {ours: torch.from_numpy(arrays[theirs]) for ours, theirs in names.items()}
    network = SpellingToSound(len(state["letters.weight"]), *state["phonemes.weight"].shape)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RealInputError(f"{path.name}: {' '.join(str(error).split())}") from None
    return network.eval()


def prove(network: SpellingToSound) -> dict[str, str]:
    """Lets the network pronounce the proof words; a gate in the wrong place makes noise of them.

    Args:
        network: the loaded network.

    Returns:
        Word -> phonemes.

    Raises:
        RealInputError: a word comes out otherwise.
    """
    said = {word: network.pronounce(word) for word in PRONUNCIATIONS}
    for word, expected in PRONUNCIATIONS.items():
        if said[word] != expected:
            raise RealInputError(
                f"{word}: expected the pronunciation {expected}, got {said[word] or 'nothing'}"
            )
    return said
