"""Reads the arrays and counts that the measures are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.options import read_count


def read_positive(name: str, value: Any) -> int:
    """An int >= 1."""
    count = read_count(name, value)
    if count == 0:
        raise expected(name, "an int >= 1", count)
    return count


def read_floats(name: str, value: Any, shape: str, rank: int) -> Tensor:
    """A finite float32 or float64 Tensor of so many dimensions, none of them empty, as float64."""
    if not isinstance(value, Tensor):
        raise expected(name, f"a Tensor {shape}", type(value).__name__)
    if value.dtype not in (torch.float32, torch.float64):
        raise expected(name, "a float32 or float64 Tensor", value.dtype)
    if value.layout != torch.strided or value.is_nested or value.is_meta:
        raise expected(
            name, "a dense Tensor with values", value.layout if not value.is_meta else "a meta one"
        )
    if value.dim() != rank or 0 in value.shape:
        raise expected(name, f"shape {shape}", tuple(value.shape))
    if not bool(value.isfinite().all()):
        raise expected(name, "finite numbers", "NaN or Inf")
    return value.detach().double()
