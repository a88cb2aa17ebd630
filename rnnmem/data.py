"""Inputs from files: text through a vocabulary, and arrays from NumPy or safetensors files.

Nothing is cast or cut without a word: what was left out is in `Data.notes`, what does not fit raises.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.text import KINDS, Vocabulary, describe, encode_bytes, streams, tokenize

ARRAYS = (".npy", ".npz", ".safetensors")
ENOUGH_STEPS = 2_000  # a stream shorter than this spends too much of itself on washout


@dataclass(frozen=True)
class Data:
    """What a network is run on.

    Attributes:
        path: the file.
        inputs: float32 or float64 [T, B, I], or tokens int64 [T, B].
        notes: what a reader of the result should know about how the file was read.
    """

    path: str
    inputs: Tensor
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> bool:
        """Whether the inputs are tokens, which need an embedding."""
        return self.inputs.dtype == torch.int64


def load_data(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    tokens: str | None = None,
    vocab: str | os.PathLike[str] | None = None,
    streams: int | None = None,
) -> Data:
    """Reads a text or an array.

    Args:
        path: .txt, .npy, .npz or .safetensors. An array is float [T, I] or [T, B, I], or int [T] or [T, B].
        key: which array of a file that holds several.
        tokens: for text: "byte", "char" or "word".
        vocab: for characters and words: a JSON file, see `rnnmem.text.Vocabulary.load`.
        streams: for text: how many contiguous streams to cut it into, run side by side. None is the largest
            of 16, 8, 4, 2, 1 that leaves each at least 2,000 steps.

    Raises:
        RnnMemError: unreadable, empty, of another rank or dtype, or an option that is not for this file.

    Example:
        >>> import tempfile, numpy as np
        >>> from rnnmem.data import load_data
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.zeros((50, 3), dtype=np.float32))
        ...     load_data(f"{folder}/x.npy").inputs.shape
        torch.Size([50, 1, 3])
    """
    name = os.fspath(path)
    suffix = Path(name).suffix
    if suffix == ".txt":
        if key is not None:
            raise expected(
                "--key", f"no key for text, or a file ending in {', '.join(ARRAYS[1:])}", repr(key)
            )
        return _load_text(name, tokens, vocab, streams)
    if suffix not in ARRAYS:
        _check_file("--data", name)
        raise expected("--data", f"a file ending in .txt, {', '.join(ARRAYS)}", name)
    for option, given in (("--tokens", tokens), ("--vocab", vocab), ("--streams", streams)):
        if given is not None:
            raise expected(option, "a .txt as data (an array is used as it is)", f"{given!r} for {name}")
    return Data(name, _as_inputs(name, read_array("--data", name, key)))


def _load_text(name: str, kind: str | None, vocab: str | os.PathLike[str] | None, batch: int | None) -> Data:
    _check_file("--data", name)
    if kind not in KINDS:
        raise expected("--tokens", "byte, char or word, as the network was trained, for a .txt", repr(kind))
    notes: list[str] = []
    try:
        raw = Path(name).read_bytes()
        if kind == "byte":
            if vocab is not None:
                raise expected("--vocab", "none for bytes, which are their own numbers", os.fspath(vocab))
            sequence = encode_bytes(raw)
        else:
            if vocab is None:
                raise expected("--vocab", f"the JSON file with the number of each {kind}", "none")
            sequence = _encode(raw.decode("utf-8"), kind, Vocabulary.load(vocab), os.fspath(vocab), notes)
    except (OSError, UnicodeDecodeError) as error:
        raise expected(
            "--data", "a readable UTF-8 text (or --tokens byte)", f"{name} ({describe(error)})"
        ) from error
    if len(sequence) == 0:
        raise expected("--data", f"a text with at least one {kind}", f"{name}, which has none")
    if batch is None:
        batch = next((count for count in (16, 8, 4, 2) if len(sequence) >= count * ENOUGH_STEPS), 1)
    elif not 1 <= batch <= len(sequence):
        raise expected("--streams", f"between 1 and the text's {len(sequence):,} {kind}s", batch)
    left = len(sequence) % batch
    if batch > 1:
        steps = len(sequence) // batch
        rest = f"; the last {left} belong to none" if left else ""
        notes.append(f"{len(sequence):,} {kind}s of {name} cut into {batch} streams of {steps:,}{rest}")
    return Data(name, streams(sequence, batch), tuple(notes))


def _encode(text: str, kind: str, vocabulary: Vocabulary, vocab: str, notes: list[str]) -> Tensor:
    sequence = vocabulary.encode(tokenize(text, kind))
    if vocabulary.unknown is not None and len(sequence):
        share = (sequence == vocabulary.unknown).double().mean().item()
        if share == 1:
            raise expected("--vocab", f"a vocabulary of these {kind}s", f"{vocab}, which knows none of them")
        if share > 0.1:
            notes.append(f"{share:.0%} of the {kind}s are not in {vocab}")
    return sequence


def read_array(argument: str, path: str, key: str | None = None) -> Tensor:
    """Reads one array of a .npy, .npz or .safetensors file, in its own dtype (integers widened to int64).

    Args:
        argument: the name that an error gives.
        path: the file.
        key: which array; None where the file holds only one.

    Raises:
        RnnMemError: missing, unreadable or truncated; several arrays and no `key`, or no such `key` (the
            names are listed); a dtype that is neither float32, float64 nor an integer.
    """
    found = _arrays(argument, path)
    if Path(path).suffix == ".npy" and key is not None:
        raise expected("--key", "no key for a .npy, which holds one array", repr(key))
    if key is None and len(found) == 1:
        return _as_tensor(argument, path, next(iter(found.values())))
    if key is None or key not in found:
        listed = ", ".join(f"{name} {list(found[name].shape)}" for name in list(found)[:8]) or "nothing"
        given = f"{path} with {listed}" if key is None else f"{key!r}; {path} has {listed}"
        raise expected("--key", "the name of one array", given)
    return _as_tensor(argument, path, found[key])


def find_array(argument: str, given: str, data: str, others: Mapping[str, Tensor] | None = None) -> Tensor:
    """Finds what `--semantics` or `--lengths` names: a file, an array of the data file, or one of `others`.

    Args:
        argument: the option's name, for errors.
        given: what the user wrote.
        data: the data file.
        others: tensors by name, such as those of the checkpoint.

    Raises:
        RnnMemError: it is none of these, or unreadable; what there is is listed.
    """
    if Path(given).suffix in ARRAYS:
        return read_array(argument, given)
    beside = _arrays(argument, data) if Path(data).suffix in ARRAYS[1:] else {}
    if given in beside:
        return _as_tensor(argument, data, beside[given])
    if others and given in others:
        return _as_tensor(argument, given, others[given])
    known = ", ".join([*beside, *(others or {})][:8]) or "none"
    raise expected(
        argument, f"a file ending in {', '.join(ARRAYS)}, or a key", f"{given!r}; the keys are {known}"
    )


def _check_file(argument: str, path: str) -> None:
    if os.path.isdir(path):
        raise expected(argument, "a file", f"{path} (a directory)")
    if not os.path.exists(path):
        raise expected(argument, "a file", f"{path} (no such file)")


def _arrays(argument: str, path: str) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_file(argument, path)
    suffix = Path(path).suffix
    if suffix not in ARRAYS:
        raise expected(argument, f"a file ending in {', '.join(ARRAYS)}", path)
    try:
        if suffix == ".safetensors":
            return dict(load_file(path))
        with open(path, "rb") as file:  # numpy leaves a damaged file open that it opened itself
            found = np.load(file, allow_pickle=False)
            return (
                {"": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise expected(argument, f"a readable {suffix} file", f"{path} ({describe(error)})") from error


def _as_tensor(argument: str, path: str, array: Any) -> Tensor:
    kind = str(array.dtype).removeprefix("torch.")
    if isinstance(array, np.ndarray):
        if array.dtype.kind in "iu" and not (
            array.dtype == np.uint64 and array.size and array.max() >= 2**63
        ):
            return torch.from_numpy(array.astype(np.int64))
        if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
            return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    elif array.dtype in (torch.float32, torch.float64):
        return array
    elif not array.dtype.is_floating_point and not array.dtype.is_complex and array.dtype != torch.bool:
        return array.to(torch.int64)
    raise expected(argument, "float32, float64 or integers", f"{kind} in {path}")


def _as_inputs(name: str, array: Tensor) -> Tensor:
    if array.dtype == torch.int64:
        if array.ndim not in (1, 2):
            raise expected(
                "--data", "integers (tokens) of shape [T] or [T, B]", f"{list(array.shape)} in {name}"
            )
        array = array.unsqueeze(1) if array.ndim == 1 else array
    else:
        if array.ndim not in (2, 3):
            hint = "; save tokens as integers" if array.ndim == 1 else ""
            what = f"{list(array.shape)} in {name}{hint}"
            raise expected("--data", "floats of shape [T, I] or [T, B, I]", what)
        array = array.unsqueeze(1) if array.ndim == 2 else array
    if array.numel() == 0:
        raise expected("--data", "at least one step, stream and feature", f"{list(array.shape)} in {name}")
    return array
