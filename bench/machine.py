"""What a timing has to be read beside: the machine, its load, its rate, and what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

import rnnmem
from rnnmem.ops import isa_levels

ROOT = Path(__file__).resolve().parent.parent


def cpu_name() -> str:
    """The CPU's own name for itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


@cache
def flags() -> frozenset[str]:
    """What the CPU says it can do, in the kernel's words; none where it has other words for it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def commit() -> str:
    """The commit that is measured, with a mark if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def describe(threads: int) -> dict[str, object]:
    """Everything that a result is kept with."""
    return {
        "cpu": cpu_name(),
        "isa": isa_levels()[0],
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rnnmem": rnnmem.__version__,
        "commit": commit(),
    }
