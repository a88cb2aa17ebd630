"""What the tokens alone would score: the memoryless and the window control.

Both are scored like retention, from "states" that are the tokens themselves: h = e_t, and h = the last p
tokens. Whatever a network scores up to these needs no memory of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import Chunk
from rnnmem.reference import project
from rnnmem.scan import Projected, Projection


class WindowRunner:
    """A `Runner` whose state is the last `size` tokens' vectors, newest first."""

    stream_dim = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def init_state(self, streams: int) -> Tensor:
        return torch.empty(streams, 0)

    def store(self, chunk: Chunk, state: Any) -> tuple[Tensor, Any]:
        return torch.cat([chunk.lagged(lag) for lag in range(self.size)], dim=-1), state

    def project(self, chunk: Chunk, state: Any, projection: Projection) -> tuple[Projected, Any]:
        features, state = self.store(chunk, state)
        return project(features, projection), state
