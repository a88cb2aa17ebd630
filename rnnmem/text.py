"""Text into tokens, tokens into semantic vectors, and English that every Python carries.

A semantic vector says what a token means. Here it is learnt from the text alone: how much more often two
tokens stand near each other than chance would have it (positive pointwise mutual information).
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rnnmem.errors import RnnMemError, expected

KINDS = ("byte", "char", "word")
UNKNOWN = "<unk>"
UNKNOWN_NAMES = (UNKNOWN, "<UNK>", "[UNK]", "<oov>", "<OOV>", "unk")

_WORD = re.compile(r"""[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[.,;:!?()"'-]""")
_RUN_OF_MARKS = re.compile(r"([^\w\s])\1+")  # a line of 70 dashes is one mark, not 70 easily guessed words

# Left out so that the text hardly depends on how a Python was packaged: not every system ships these.
_NOT_EVERYWHERE = {
    *("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "pydoc_data"),
    *("idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "distutils", "venv"),
}


def tokenize(text: str, kind: str = "word") -> list[str]:
    """Cuts a text into tokens.

    Args:
        text: any text.
        kind: "word" (lower-cased words, numbers and the marks `.,;:!?()"'-`, a run of one mark counted once;
            everything else only separates) or "char". Bytes need no cutting: see `encode_bytes`.

    Returns:
        The tokens in order.

    Raises:
        RnnMemError: `kind` is neither.

    Example:
        >>> from rnnmem.text import tokenize
        >>> tokenize("Don't panic: 42!")
        ["don't", 'panic', ':', '42', '!']
    """
    if kind == "char":
        return list(text)
    if kind == "word":
        return _WORD.findall(_RUN_OF_MARKS.sub(r"\1", text.lower()))
    raise expected("kind", "'char' or 'word'", repr(kind))


def encode_bytes(raw: bytes) -> torch.Tensor:
    """Returns the bytes as tokens 0 … 255, int64 [tokens].

    Example:
        >>> from rnnmem.text import encode_bytes
        >>> encode_bytes(b"AB").tolist()
        [65, 66]
    """
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).astype(np.int64))


@dataclass(frozen=True)
class Vocabulary:
    """Which number stands for which token.

    Attributes:
        ids: token -> number.
        unknown: the number that every other token gets, or None if there is none.
    """

    ids: dict[str, int]
    unknown: int | None

    @classmethod
    def build(cls, tokens: Sequence[str], size: int) -> Vocabulary:
        """Keeps the `size - 1` most frequent tokens (ties alphabetically) and `<unk>`, which is number 0.

        Args:
            tokens: the text's tokens.
            size: how many numbers there may be, `<unk>` included; at least 2. Fewer where the text has fewer.

        Raises:
            RnnMemError: no tokens, or `size` below 2.

        Example:
            >>> from rnnmem.text import Vocabulary
            >>> Vocabulary.build(["b", "a", "b", "c"], size=3).ids
            {'<unk>': 0, 'b': 1, 'a': 2}
        """
        if size < 2:
            raise expected("size", "at least 2 (<unk> and one token)", size)
        if not tokens:
            raise expected("tokens", "at least one token", "none: is the text empty?")
        counts = Counter(tokens)
        counts.pop(UNKNOWN, None)
        kept = sorted(counts, key=lambda token: (-counts[token], token))[: size - 1]
        return cls({token: number for number, token in enumerate([UNKNOWN, *kept])}, unknown=0)

    @property
    def size(self) -> int:
        """One more than the largest number: how many rows an embedding needs."""
        return max(self.ids.values()) + 1

    def encode(self, tokens: Sequence[str]) -> torch.Tensor:
        """Turns tokens into numbers, int64 [tokens].

        Raises:
            RnnMemError: a token is not in the vocabulary, which has no `<unk>`; the first such is named.

        Example:
            >>> from rnnmem.text import Vocabulary
            >>> Vocabulary({"<unk>": 0, "a": 1}, unknown=0).encode(["a", "b"]).tolist()
            [1, 0]
        """
        if self.unknown is None:
            for place, token in enumerate(tokens):
                if token not in self.ids:
                    raise expected(
                        "vocab",
                        f"every token, or {UNKNOWN}",
                        f"neither for {token!r} (token {place}): add {UNKNOWN}",
                    )
        other = -1 if self.unknown is None else self.unknown
        return torch.tensor([self.ids.get(token, other) for token in tokens], dtype=torch.int64)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `{token: number}` as JSON."""
        Path(path).write_text(json.dumps(self.ids, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads a JSON object `{token: number}`, or a JSON list of tokens in the order of their numbers.

        A token called `<unk>` (`<UNK>`, `[UNK]`, `<oov>`, `<OOV>`, `unk`) stands for all that are not listed.

        Raises:
            RnnMemError: the file is missing, no JSON, or not such a vocabulary.
        """
        name = os.fspath(path)
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise expected("vocab", "a readable JSON file", f"{name} ({describe(error)})") from error
        if isinstance(found, list):
            if not all(isinstance(token, str) for token in found):
                raise expected("vocab", "a JSON list of strings", f"{name} with other things in the list")
            if len(set(found)) < len(found):
                raise expected("vocab", "each token once", f"{name} with some token twice")
            found = {token: number for number, token in enumerate(found)}
        if not isinstance(found, dict) or not found:
            raise expected("vocab", "a JSON object {token: number} or list of tokens", f"{name} with neither")
        for token, number in found.items():
            if type(number) is not int or number < 0:
                raise expected(
                    "vocab", "a number of 0 or more for each token", f"{token!r}: {number!r} in {name}"
                )
        if len(set(found.values())) < len(found):
            raise expected("vocab", "a number of its own for each token", f"{name} with one number twice")
        unknown = next((found[token] for token in UNKNOWN_NAMES if token in found), None)
        return cls(found, unknown)


def describe(error: Exception) -> str:
    """Says in a few words why a file could not be read: "no such file", or the error's own words."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a directory"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text: byte {error.object[error.start]:#04x} at position {error.start}"
    return " ".join(str(error).split()) or type(error).__name__


def streams(tokens: torch.Tensor, batch: int) -> torch.Tensor:
    """Cuts one long sequence into `batch` contiguous streams of equal length, side by side.

    Args:
        tokens: [N].
        batch: how many streams, 1 … N. The last N mod `batch` tokens belong to none.

    Returns:
        [N // batch, batch]; column b is the b-th stretch of the sequence.

    Raises:
        RnnMemError: fewer tokens than streams.

    Example:
        >>> import torch
        >>> from rnnmem.text import streams
        >>> streams(torch.arange(7), 2).tolist()
        [[0, 3], [1, 4], [2, 5]]
    """
    if batch < 1 or len(tokens) < batch:
        raise expected("batch", f"between 1 and the number of tokens ({len(tokens)})", batch)
    steps = len(tokens) // batch
    return tokens[: steps * batch].reshape(batch, steps).t().contiguous()


def embedded_english() -> str:
    """Gathers English that every Python carries: its language topics and the standard library's docstrings.

    About 390,000 words and marks; the order is fixed (topics by name, then modules by path, then as written),
    the text is that of the running Python version.

    Raises:
        RnnMemError: this Python came without its own sources.

    Source: `pydoc_data.topics`, and the standard library's .py files read with `ast`.
    """
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    root = Path(sysconfig.get_paths()["stdlib"])
    parts = [topics[name] for name in sorted(topics)]
    docstrings = [text for path in _modules(root) for text in _docstrings(path)]
    if not docstrings:
        raise RnnMemError(
            f"no standard library sources under {root}: give a text of your own with --text FILE"
        )
    return "\n\n".join([*parts, *docstrings])


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _NOT_EVERYWHERE:
            yield from _modules(path)
        elif path.suffix == ".py" and not path.name.startswith("_sysconfigdata"):
            yield path


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (
        SyntaxError,
        ValueError,
        OSError,
    ):  # a template or a file that only another Python reads: no English lost
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def semantic_vectors(tokens: torch.Tensor, size: int, *, dim: int = 32, window: int = 4) -> torch.Tensor:
    r"""What each token means, from the company it keeps: PPMI-SVD.

    With n_ij how often token j stands within `window` places of token i,
    PPMI_ij = max(0, log(n_ij · Σ_j n_j^0.75 / (n_i · n_j^0.75))), and the vectors are U·√S of its `dim`
    largest singular triples, with the largest entry of each column positive: one text, one answer.

    Args:
        tokens: int64 [N], in order, 0 … `size` - 1.
        size: V, how many tokens there are.
        dim: d, dimensions of a vector; below V.
        window: places to either side that count as company.

    Returns:
        float32 [V, d]; the row of a token that never occurs is 0.

    Raises:
        RnnMemError: too short a text, a token out of range, or `dim` not below V.

    Source: Levy, Goldberg, Dagan 2015 (context smoothing 0.75, eigenvalue weight 0.5).

    Example:
        >>> import torch
        >>> from rnnmem.text import semantic_vectors
        >>> v = semantic_vectors(torch.tensor([0, 1, 2, 3] * 50), 4, dim=2, window=1)
        >>> torch.cosine_similarity(v[0], v[1:], dim=1).round(decimals=1).tolist()  # 0 and 2: same company
        [0.0, 1.0, 0.0]
    """
    from scipy import sparse

    if tokens.ndim != 1 or tokens.dtype != torch.int64:
        raise expected("tokens", "int64 [N]", f"{tokens.dtype} {list(tokens.shape)}")
    if not 1 <= dim < size:
        raise expected("dim", f"1 … {size - 1} (below the number of tokens)", dim)
    if window < 1 or len(tokens) <= window:
        raise expected("tokens", f"more than window = {window} of them", len(tokens))
    sequence: npt.NDArray[np.int64] = tokens.numpy()
    if sequence.min() < 0 or sequence.max() >= size:
        bad = int(sequence.min()) if sequence.min() < 0 else int(sequence.max())
        raise expected("tokens", f"0 … {size - 1}", bad)
    counts = sparse.csr_matrix((size, size), dtype=np.float64)
    for gap in range(1, window + 1):
        pairs = np.ones(len(sequence) - gap)
        near = sparse.coo_matrix((pairs, (sequence[:-gap], sequence[gap:])), shape=(size, size)).tocsr()
        counts = counts + near + near.T
    return torch.from_numpy(_ppmi_svd(sparse.coo_matrix(counts), dim))


def _ppmi_svd(counts: object, dim: int) -> npt.NDArray[np.float32]:
    from scipy import sparse
    from scipy.sparse.linalg import svds

    table = sparse.coo_matrix(counts)
    total = np.asarray(table.sum(axis=1)).ravel()
    smooth = total**0.75
    mutual = np.log(table.data * smooth.sum() / (total[table.row] * smooth[table.col]))
    keep = mutual > 0
    positive = sparse.csr_matrix((mutual[keep], (table.row[keep], table.col[keep])), shape=table.shape)
    start = np.random.default_rng(0).standard_normal(table.shape[0])
    left, strength, _ = svds(positive, k=dim, v0=start)
    order = np.argsort(-strength)
    left, strength = left[:, order], strength[order]
    largest = left[np.abs(left).argmax(axis=0), np.arange(dim)]
    return np.asarray(left * np.where(largest < 0, -1.0, 1.0) * np.sqrt(strength), dtype=np.float32)
