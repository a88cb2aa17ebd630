"""Tensors by name from a file: safetensors, or torch.save without running code from the file."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError, expected
from rnnmem.text import describe

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
NESTED = ("state_dict", "model_state_dict", "model")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads tensors by name from .safetensors, .pt, .pth, .ckpt or .bin, without running code from the file.

    Args:
        path: the file; its state_dict may be nested under "state_dict", "model_state_dict" or "model".

    Returns:
        The tensors on the CPU; `module.` in front and `_orig_mod.` anywhere are stripped from their names.

    Raises:
        RnnMemError: missing, unreadable or truncated; a pickled object; no tensors in it.

    Example:
        >>> import tempfile, torch
        >>> from rnnmem.state_dict import read_state_dict
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": torch.nn.GRU(1, 2).state_dict()}, f"{folder}/gru.ckpt")
        ...     sorted(read_state_dict(f"{folder}/gru.ckpt"))[-1]
        'weight_ih_l0'
    """
    name = os.fspath(path)
    suffix = Path(name).suffix
    if os.path.isdir(name) or not os.path.exists(name):
        raise expected(
            "checkpoint", "a file", f"{name} ({'a directory' if os.path.isdir(name) else 'no such file'})"
        )
    if suffix not in SUFFIXES:
        raise expected("checkpoint", f"a file ending in {', '.join(SUFFIXES)}", name)
    found = _read_safetensors(name) if suffix == ".safetensors" else _read_torch(name)
    while isinstance(found, Mapping) and not any(isinstance(value, Tensor) for value in found.values()):
        inner = next((key for key in NESTED if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            keys = ", ".join(map(str, list(found)[:8])) or "nothing"
            raise expected("checkpoint", "tensors by name, or a state_dict inside", f"{name} with {keys}")
        found = found[inner]
    if not isinstance(found, Mapping):
        raise expected(
            "checkpoint", "a state_dict (tensors by name)", f"{name} with a {type(found).__name__}"
        )
    tensors: dict[str, Tensor] = {}
    for key, value in found.items():
        if isinstance(value, Tensor):
            clean = str(key).replace("_orig_mod.", "").removeprefix("module.")
            if clean in tensors:
                raise expected(
                    "checkpoint", "each tensor once", f"{name} with {clean} with and without `module.`"
                )
            tensors[clean] = value
    return tensors


def _read_safetensors(name: str) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(name)
    except (SafetensorError, OSError) as error:
        raise expected("checkpoint", "a readable .safetensors file", f"{name} ({describe(error)})") from error


def _read_torch(name: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about the very archives that are refused below
            return torch.load(name, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # the unpickler meets arbitrary bytes: any of a dozen types comes out of rubbish
        pickled = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", str(error))
        if pickled or "TorchScript" in str(error):
            raise _pickled(name, pickled.group(1) if pickled else "torch.jit") from error
        raise expected("checkpoint", "a readable file by torch.save", f"{name} (damaged, or none)") from error


def _pickled(name: str, what: str) -> RnnMemError:
    load = f"torch.load({name!r}, weights_only=False)"
    if what == "torch.jit":
        load = f"torch.jit.load({name!r})"
    inner = "['state_dict']" if name.endswith(".ckpt") else ".state_dict()"
    target = f"{Path(name).stem}_state.pt"
    return expected(
        "checkpoint",
        "a state_dict",
        f"{name}, which pickles {what}; if you trust it, save that: torch.save({load}{inner}, {target!r})",
    )
