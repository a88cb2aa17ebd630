"""Nested tuples, lists and dicts of tensors: the states that users' own objects carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from rnnmem.errors import expected


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies `function` to the tensors of trees of one shape."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {key: tree_map(function, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, (tuple, list)):
        mapped = [tree_map(function, *parts) for parts in zip(tree, *others, strict=True)]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    raise expected("state", "tensors in tuples, lists and dicts", type(tree).__name__)


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from leaves(value)
    else:
        raise expected("state", "tensors in tuples, lists and dicts", type(tree).__name__)


def unflatten(tree: Any, values: Iterator[Tensor]) -> Any:
    """A tree shaped like `tree` with `values` for its tensors."""
    return tree_map(lambda _: next(values), tree)
