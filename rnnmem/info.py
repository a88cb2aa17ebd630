"""What this installation is and what it runs on: the lines behind `rnnmem info`."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import rnnmem
from rnnmem.backends import BACKENDS, PREFERENCE
from rnnmem.ops import isa_levels, missing

# What a user can rely on; each line changes with the test or the record that it speaks of.
VERIFIED = {
    "reference": "against independent NumPy computations and closed forms, in every test run",
    "cpu": "against reference, at each instruction set of the testing machine; aarch64 is compiled, not run",
    "triton": "not built yet",
    "cuda": "not built yet: nothing is verified on a device",
}


def collect() -> dict[str, Any]:
    """Returns versions, the machine, and which backend can run here.

    Example:
        >>> from rnnmem.info import collect
        >>> collect()["backends"]["reference"]["runs_here"]
        True
    """
    built = missing() is None
    return {
        "rnnmem": rnnmem.__version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in ("torch", "numpy", "scipy")},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "isa": isa_levels()[0] if built else None,
        "isa_levels": isa_levels() if built else [],
        "default_backends": list(PREFERENCE),
        "backends": {
            name: {
                "runs_here": backend.missing() is None,
                "why_not": backend.missing(),
                "units": list(backend.units),
                "verified": VERIFIED[name],
            }
            for name, backend in BACKENDS.items()
        },
    }


def cpu_name() -> str:
    """Returns the processor's own name for itself, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def show(info: dict[str, Any]) -> str:
    """Lays out what `collect` returned for a terminal."""
    versions = ", ".join(f"{name} {version}" for name, version in info["packages"].items())
    lines = [
        f"rnnmem {info['rnnmem']} on Python {info['python']}, {versions}",
        f"{info['system']}, {info['cpu']}, {info['threads']} threads",
        f"instruction set: {info['isa'] or 'none built'} (of {', '.join(info['isa_levels']) or 'none'})",
        f'backend="auto" takes the first that can run of: {", ".join(info["default_backends"])}',
        "",
    ]
    for name, backend in info["backends"].items():
        runs = "runs here" if backend["runs_here"] else f"does not run here: {backend['why_not']}"
        lines.append(f"{name:<10} {runs}")
        if backend["units"]:
            lines.append(f"{'':<10} units: {', '.join(backend['units'])}")
        if backend["runs_here"]:
            lines.append(f"{'':<10} verified: {backend['verified']}")
    return "\n".join(lines)
