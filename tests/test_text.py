"""Tokens, vocabularies, and semantic vectors from text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnmem import text
from rnnmem.errors import RnnMemError
from rnnmem.text import Vocabulary


@pytest.mark.parametrize(
    ("written", "kind", "tokens"),
    [
        ("Don't panic: 42!", "word", ["don't", "panic", ":", "42", "!"]),
        ("snake_case(x) -- ok", "word", ["snake", "case", "(", "x", ")", "-", "ok"]),
        ("Übermut\u2019s Äpfel", "word", ["übermut\u2019s", "äpfel"]),
        ("=====\n\t", "word", []),
        ("Ab\n", "char", ["A", "b", "\n"]),
    ],
    ids=["marks", "code", "umlaut", "no-words", "char"],
)
def test_tokenize(written: str, kind: str, tokens: list[str]) -> None:
    assert text.tokenize(written, kind) == tokens


def test_bytes_are_their_own_numbers() -> None:
    assert text.encode_bytes(b"\x00A\xff").tolist() == [0, 65, 255]
    assert text.encode_bytes(b"").tolist() == []


def test_vocabulary_keeps_the_frequent_and_breaks_ties_by_name() -> None:
    vocabulary = Vocabulary.build(["b", "c", "a", "b", "c", "d", "<unk>"], size=4)
    assert vocabulary.ids == {"<unk>": 0, "b": 1, "c": 2, "a": 3}
    assert vocabulary.encode(["a", "d", "b", "<unk>"]).tolist() == [3, 0, 1, 0]
    assert vocabulary.size == 4


def test_vocabulary_file_round_trip(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["the", "cat", "saw", "the", "dög"], size=10)
    vocabulary.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == vocabulary


def test_vocabulary_as_a_list_with_another_name_for_unknown(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(["a", "[UNK]", "b"]))
    vocabulary = Vocabulary.load(path)
    assert vocabulary.encode(["b", "zebra", "a"]).tolist() == [2, 1, 0]


def test_a_token_without_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(["a", "b"]))
    with pytest.raises(RnnMemError, match=r"vocab: expected .* got neither for 'c' \(token 2\)"):
        Vocabulary.load(path).encode(["a", "b", "c"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "Expecting property name"),
        ("[1, 2]", "with other things in the list"),
        ('["a", "a"]', "some token twice"),
        ("3", "with neither"),
        ("{}", "with neither"),
        ('{"a": -1}', "'a': -1"),
        ('{"a": true}', "'a': True"),
        ('{"a": 1, "b": 1}', "one number twice"),
    ],
    ids=["missing", "broken", "numbers", "double", "scalar", "empty", "negative", "bool", "shared"],
)
def test_bad_vocabulary_file(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RnnMemError, match=f"^vocab: expected .*{said}") as caught:
        Vocabulary.load(path)
    assert "\n" not in str(caught.value)


def test_bad_arguments_say_what_was_expected() -> None:
    with pytest.raises(RnnMemError, match="kind: expected 'char' or 'word', got 'bpe'"):
        text.tokenize("x", "bpe")
    with pytest.raises(RnnMemError, match=r"size: expected at least 2 .*, got 1"):
        Vocabulary.build(["a"], 1)
    with pytest.raises(RnnMemError, match="tokens: expected at least one token, got none"):
        Vocabulary.build([], 10)
    with pytest.raises(RnnMemError, match=r"batch: expected between 1 and the number of tokens \(2\), got 3"):
        text.streams(torch.tensor([1, 2]), 3)
    with pytest.raises(RnnMemError, match=r"tokens: expected 0 … 3, got 7"):
        text.semantic_vectors(torch.tensor([0, 1, 7, 2, 3, 1]), 4, dim=2)
    with pytest.raises(RnnMemError, match="dim: expected 1 … 3"):
        text.semantic_vectors(torch.tensor([0, 1, 2, 3] * 5), 4, dim=4)
    with pytest.raises(RnnMemError, match="tokens: expected int64"):
        text.semantic_vectors(torch.zeros(10), 4, dim=2)


def test_streams_are_contiguous_stretches() -> None:
    table = text.streams(torch.arange(11), 3)
    assert table.t().tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert table.is_contiguous()


def test_embedded_english_is_long_fixed_and_english() -> None:
    written = text.embedded_english()
    assert written == text.embedded_english()
    words = text.tokenize(written)
    assert len(words) > 250_000
    assert 0.03 < words.count("the") / len(words) < 0.08
    assert len(set(words)) > 7_000


def test_semantic_vectors_against_dense_numpy() -> None:
    size, dim, window = 12, 5, 3
    tokens = torch.randint(size, (4_000,), generator=torch.Generator().manual_seed(1)) ** 2 // size
    sequence = tokens.tolist()
    counts = np.zeros((size, size))
    for place, token in enumerate(sequence):
        for other in sequence[max(0, place - window) : place] + sequence[place + 1 : place + 1 + window]:
            counts[token, other] += 1
    seen = counts.sum(1) > 0
    smooth = counts.sum(0) ** 0.75
    chance = np.outer(counts.sum(1), smooth / smooth.sum())
    ratio = np.divide(counts, chance, out=np.ones_like(counts), where=counts > 0)
    left, strength, _ = np.linalg.svd(np.maximum(np.log(ratio), 0))
    wanted = left[:, :dim] * np.sqrt(strength[:dim])
    vectors = text.semantic_vectors(tokens, size, dim=dim, window=window)
    assert vectors.dtype == torch.float32
    np.testing.assert_allclose(vectors.double() @ vectors.double().T, wanted @ wanted.T, atol=1e-5)
    assert (vectors[torch.from_numpy(~seen)] == 0).all()
    largest = vectors.abs().argmax(0)
    assert (vectors[largest, torch.arange(dim)] > 0).all()
    assert torch.equal(vectors, text.semantic_vectors(tokens, size, dim=dim, window=window))
