"""What the machine cannot do without: the larger of the time for arithmetic and the time for reading weights.

Both rates are of one core, measured by a program that is compiled for this machine (`ceilings.cpp`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent / "ceilings.cpp"
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Floor:
    """Seconds that so many steps take at the least, for each of the two resources."""

    operations: float
    weights: float

    @property
    def seconds(self) -> float:
        return max(self.operations, self.weights)

    @property
    def binds(self) -> str:
        return "operations" if self.operations >= self.weights else "weights"


def ceilings(*flags: str) -> dict[str, Any]:
    """Of one core, a second: operations "fma" and of bfloat16 "pairs" (or None), bytes "read" by KiB.

    Args:
        flags: for the compiler, of which instructions there are; all of this machine's by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ceilings"
        instructions = flags or ("-march=native",)
        subprocess.run(["c++", "-O3", *instructions, "-std=c++20", SOURCE, "-o", program], check=True)
        found: dict[str, Any] = json.loads(subprocess.check_output([program], text=True))
    return found


def floor(
    ceiling: dict[str, Any], operations: float, weight_bytes: float, threads: int, rate: str = "fma"
) -> Floor:
    """The floor of a step that makes these operations and reads these weights once.

    Args:
        ceiling: see `ceilings`.
        operations: floating-point operations of the matrix products.
        weight_bytes: the recurrent weights; each thread reads its share from the cache that holds it.
        threads: that share the work.
        rate: of which instructions; "fma" where the machine has no others.
    """
    share = weight_bytes / threads
    levels = [(int(size) * 1024, rate) for size, rate in ceiling["read"].items()]
    read = next((found for size, found in levels if size >= share), levels[-1][1])
    return Floor(operations / ((ceiling[rate] or ceiling["fma"]) * threads), share / read)
