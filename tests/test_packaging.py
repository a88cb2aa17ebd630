"""What is shipped: version, stable ABI, the source package's files, and the build's one-line errors."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rnnmem
from rnnmem import _C

ROOT = Path(__file__).parents[1]
SHIM = re.compile(r"aoti_torch_\w+|torch_\w+")  # the C functions of the LibTorch stable ABI
PYTHON = re.compile(r"_?Py\w+")  # which of them are stable, Python's headers see to under Py_LIMITED_API
SYSTEM = re.compile(r"\w+@(GLIBC|GLIBCXX|CXXABI|GCC|GOMP|OMP)_[\w.]+")


def run(*code: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs lines of Python in the repository root."""
    environment = {name: value for name, value in os.environ.items() if name not in {"CXX", "PYTHONPATH"}}
    if path is not None:
        environment["PATH"] = path
    command = [sys.executable, "-c", "\n".join(code)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def setup_py(*arguments: str) -> str:
    """The line that runs setup.py as `python setup.py ARGUMENTS` would."""
    return (
        f"import runpy, sys; sys.argv = {['setup.py', *arguments]!r}; "
        "runpy.run_path('setup.py', run_name='__main__')"
    )


def test_version_is_the_one_installed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", rnnmem.__version__)
    assert importlib.metadata.version("rnnmem") == rnnmem.__version__, "installed before the version changed"


def test_imports_without_triton() -> None:
    done = run(
        "import sys; sys.modules['triton'] = None",
        "import rnnmem, rnnmem.kernels; print(rnnmem.kernels.__name__)",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "rnnmem.kernels\n", "")


def test_extension_is_for_the_stable_python_abi() -> None:
    assert Path(_C.__file__).name == "_C.abi3.so"


def test_extension_asks_only_for_stable_symbols() -> None:
    command = ["nm", "--dynamic", "--undefined-only", "--format=posix", _C.__file__]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    strong = [name for name, kind in (line.split()[:2] for line in lines) if kind == "U"]
    assert "torch_library_impl" in strong
    allowed = [SHIM, PYTHON, SYSTEM]
    assert [name for name in strong if not any(kind.fullmatch(name) for kind in allowed)] == []


def test_source_package_holds_every_source_and_needs_no_torch(tmp_path: Path) -> None:
    done = run(
        "import sys; sys.modules['torch'] = None",
        "from setuptools.command.sdist import sdist",
        "sdist.make_distribution = lambda self: sys.exit(print(*self.filelist.files, sep='\\n'))",
        setup_py("-q", "egg_info", "--egg-base", str(tmp_path), "sdist"),
    )
    assert done.returncode == 0, done.stderr
    packed = {line for line in done.stdout.splitlines() if (ROOT / line).is_file()}
    sources = [
        path.relative_to(ROOT).as_posix()
        for room in ("csrc", "rnnmem", "kernels", "tests")
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".h", ".cpp", ".cu", ".cuh", ".py", ".typed", ".sh"}
    ]
    assert "csrc/ops.cpp" in sources
    assert sorted(set(sources) - packed) == []
    assert {"LICENSE", "Makefile", "pyproject.toml", "setup.py", "requirements/build.txt"} <= packed
    assert not [name for name in packed if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize("command", ["egg_info", "build_ext", "bdist_wheel"])
@pytest.mark.parametrize(
    ("missing", "path", "line"),
    [
        pytest.param(
            "import sys; sys.modules['torch'] = None",
            None,
            "rnnmem builds against PyTorch: pip install torch==2.13.0 first, "
            "then pip install --no-build-isolation .",
            id="torch",
        ),
        pytest.param(
            "",
            "/nowhere",
            "rnnmem compiles C++ and found no compiler: apt-get install g++ (or set CXX)",
            id="compiler",
        ),
        pytest.param(
            "import platform; platform.system = lambda: 'Darwin'; platform.machine = lambda: 'arm64'",
            None,
            "rnnmem runs on Linux x86-64 and aarch64, not on Darwin arm64",
            id="system",
        ),
        pytest.param(
            "import platform; platform.machine = lambda: 'riscv64'",
            None,
            "rnnmem runs on Linux x86-64 and aarch64, not on Linux riscv64",
            id="machine",
        ),
    ],
)
def test_build_says_in_one_line_what_is_missing(
    command: str, missing: str, path: str | None, line: str
) -> None:
    done = run(missing, setup_py(command), path=path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line + "\n")


def test_setup_says_the_pinned_torch() -> None:
    pin = re.search(r"^torch==[\d.]+$", (ROOT / "requirements/build.txt").read_text(), re.MULTILINE)
    assert pin is not None
    assert f"pip install {pin[0]} first" in (ROOT / "setup.py").read_text()
