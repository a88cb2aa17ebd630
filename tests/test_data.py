"""Texts and arrays from files, and the one line that each wrong one gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rnnmem.data import find_array, load_data, read_array
from rnnmem.errors import RnnMemError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each kind."""
    (tmp_path / "text.txt").write_text("The cat saw the dog. The dog ran.\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Café au lait".encode("latin-1"))
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "the": 1, "dog": 2, "cat": 3, ".": 4}))
    (tmp_path / "other.json").write_text(json.dumps({"<unk>": 0, "der": 1, "hund": 2}))
    (tmp_path / "letters.json").write_text(json.dumps(["<unk>", *"abcdefghijklmnopqrstuvwxyzT. \n"]))
    np.save(tmp_path / "floats.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    np.savez(tmp_path / "two.npz", x=np.ones((5, 3, 2)), ids=np.arange(10, dtype=np.int16).reshape(5, 2))
    np.savez(tmp_path / "one.npz", x=np.ones((5, 3, 2)))
    save_file({"x": torch.ones(4, 1, 3), "half": torch.ones(4, 3).bfloat16()}, tmp_path / "t.safetensors")
    return tmp_path


def test_words_through_the_vocabulary(folder: Path) -> None:
    data = load_data(folder / "text.txt", tokens="word", vocab=folder / "vocab.json")
    assert data.tokens
    assert data.inputs.tolist() == [[1], [3], [0], [1], [2], [4], [1], [2], [0], [4]]
    assert data.notes == (f"20% of the words are not in {folder / 'vocab.json'}",)


def test_streams_are_cut_and_what_is_left_is_said(folder: Path) -> None:
    data = load_data(folder / "text.txt", tokens="word", vocab=folder / "vocab.json", streams=3)
    assert data.inputs.t().tolist() == [[1, 3, 0], [1, 2, 4], [1, 2, 0]]
    said = f"10 words of {folder / 'text.txt'} cut into 3 streams of 3; the last 1 belong to none"
    assert data.notes[-1] == said


@pytest.mark.parametrize(("length", "streams"), [(3_999, 1), (4_000, 2), (31_999, 8), (90_000, 16)])
def test_long_text_is_cut_into_as_many_streams_as_stay_long(
    tmp_path: Path, length: int, streams: int
) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"x" * length)
    assert load_data(path, tokens="byte").inputs.shape == (length // streams, streams)


def test_bytes_and_characters(folder: Path) -> None:
    assert load_data(folder / "latin.txt", tokens="byte").inputs[:5, 0].tolist() == [67, 97, 102, 233, 32]
    data = load_data(folder / "text.txt", tokens="char", vocab=folder / "letters.json")
    assert data.inputs[:4, 0].tolist() == [27, 8, 5, 29]


@pytest.mark.parametrize(
    ("name", "key", "shape", "dtype"),
    [
        ("floats.npy", None, (6, 1, 2), torch.float32),
        ("one.npz", None, (5, 3, 2), torch.float64),
        ("two.npz", "ids", (5, 2), torch.int64),
        ("t.safetensors", "x", (4, 1, 3), torch.float32),
    ],
    ids=["npy", "npz", "ids", "safetensors"],
)
def test_arrays(folder: Path, name: str, key: str | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    data = load_data(folder / name, key=key)
    assert data.inputs.shape == shape
    assert data.inputs.dtype == dtype
    assert data.inputs.flatten()[-1].item() == {"floats.npy": 11, "two.npz": 9}.get(name, 1)


def test_any_integer_and_byte_order_keeps_its_values(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", np.array([3, 250], dtype=np.uint8))
    np.save(tmp_path / "big.npy", np.array([[1.5, -2.25]], dtype=">f4"))
    assert load_data(tmp_path / "u.npy").inputs.tolist() == [[3], [250]]
    assert load_data(tmp_path / "big.npy").inputs.tolist() == [[[1.5, -2.25]]]


WORDS = {"tokens": "word", "vocab": "vocab.json"}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "missing": ("tex.txt", WORDS, r"--data: expected a file, got .*tex.txt \(no such file\)"),
    "missing-npy": ("x.npy", {}, r"--data: expected a file, got .*x.npy \(no such file\)"),
    "folder": ("", {}, r"--data: expected a file, got .* \(a directory\)"),
    "ending": ("vocab.json", {}, r"--data: expected a file ending in .txt, .npy, .npz, .safetensors, got"),
    "no-tokens": ("text.txt", {}, "--tokens: expected byte, char or word, .* got None"),
    "bpe": ("text.txt", {"tokens": "bpe"}, "--tokens: expected byte, char or word, .* got 'bpe'"),
    "no-vocab": ("text.txt", {"tokens": "word"}, "--vocab: expected the JSON file .* of each word, got none"),
    "no-such-vocab": ("text.txt", {"tokens": "word", "vocab": "v.json"}, r"vocab: .* \(no such file\)"),
    "byte-vocab": ("text.txt", {"tokens": "byte", "vocab": "vocab.json"}, "--vocab: expected none for bytes"),
    "foreign-vocab": ("text.txt", {"tokens": "word", "vocab": "other.json"}, "which knows none of them"),
    "latin": ("latin.txt", WORDS, r"readable UTF-8 text \(or --tokens byte\), got .*byte 0xe9 at position 3"),
    "empty": ("empty.txt", WORDS, "a text with at least one word, got .*which has none"),
    "empty-bytes": ("empty.txt", {"tokens": "byte"}, "a text with at least one byte, got"),
    "streams": ("text.txt", {**WORDS, "streams": 11}, "--streams: .* 1 and the text's 10 words, got 11"),
    "no-streams": ("text.txt", {**WORDS, "streams": 0}, "--streams: expected between 1 .* got 0"),
    "text-key": ("text.txt", {"key": "x"}, "--key: expected no key for text"),
    "npy-key": ("floats.npy", {"key": "x"}, "--key: expected no key for a .npy"),
    "npy-tokens": ("floats.npy", {"tokens": "word"}, "--tokens: expected a .txt as data"),
    "npy-streams": ("floats.npy", {"streams": 2}, "--streams: expected a .txt as data"),
    "which": ("two.npz", {}, r"--key: expected the name of one array, got .* x \[5, 3, 2\], ids \[5, 2\]"),
    "no-such-key": ("two.npz", {"key": "y"}, r"--key: .* one array, got 'y'; .* has x \[5, 3, 2\]"),
    "half": ("t.safetensors", {"key": "half"}, "--data: expected float32, float64 or integers, got bfloat16"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "said"), WRONG.values(), ids=WRONG)
def test_one_line_for(folder: Path, name: str, options: dict[str, Any], said: str) -> None:
    if "vocab" in options:
        options = options | {"vocab": folder / options["vocab"]}
    with pytest.raises(RnnMemError, match=said) as caught:
        load_data(folder / name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"PK\x03\x04" * 9, bytes(range(256)) * 9])
def test_unreadable_arrays(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(RnnMemError, match=rf"--data: expected a readable {suffix} file, got .*bad") as caught:
        load_data(path)
    assert "\n" not in str(caught.value)


def test_truncated_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100, 3)))
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((100, 3)))
    for name in ("x.npy", "x.npz"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(RnnMemError, match="a readable"):
            load_data(path)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5), r"floats of shape \[T, I\] or \[T, B, I\], got \[5\]"),
        (np.zeros((2, 2, 2, 2)), r"floats of shape .* got \[2, 2, 2, 2\]"),
        (np.zeros((2, 2, 2), dtype=int), r"integers \(tokens\) of shape \[T\] or \[T, B\], got \[2, 2, 2\]"),
        (np.zeros((0, 3)), r"at least one step, stream and feature, got \[0, 1, 3\]"),
        (np.zeros((3, 0)), "at least one step"),
        (np.array(["a", "b"]), "float32, float64 or integers, got <U1"),
        (np.zeros((3, 2), dtype=bool), "float32, float64 or integers, got bool"),
        (np.zeros((3, 2), dtype=np.float16), "float32, float64 or integers, got float16"),
        (np.zeros((3, 2), dtype=complex), "float32, float64 or integers, got complex128"),
        (np.array([2**63], dtype=np.uint64), "float32, float64 or integers, got uint64"),
    ],
    ids=["1d", "4d", "int-3d", "no-steps", "no-features", "str", "bool", "half", "complex", "uint64"],
)
def test_arrays_that_no_network_takes(tmp_path: Path, array: np.ndarray[Any, Any], said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(RnnMemError, match=f"--data: expected {said}"):
        load_data(tmp_path / "x.npy")


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RnnMemError, match=r"a readable \.npy file"):
        load_data(tmp_path / "x.npy")


def test_a_table_from_a_file_a_key_or_the_checkpoint(folder: Path) -> None:
    npz, others = str(folder / "two.npz"), {"words": torch.full((3, 2), 7.0)}
    assert find_array("--semantics", str(folder / "floats.npy"), npz).shape == (6, 2)
    assert find_array("--semantics", "ids", npz).dtype == torch.int64
    assert torch.equal(find_array("--semantics", "words", npz, others), others["words"])
    with pytest.raises(
        RnnMemError, match=r"--semantics: expected .* or a key, got 'wrods'; the keys are x, ids, words"
    ):
        find_array("--semantics", "wrods", npz, others)
    with pytest.raises(RnnMemError, match=r"--lengths: expected a file, got lengths.npy \(no such file\)"):
        find_array("--lengths", "lengths.npy", npz)
    assert read_array("--lengths", npz, "ids").shape == (5, 2)
