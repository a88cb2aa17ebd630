"""Builds the extension module rnnmem._C; all else about the package is in pyproject.toml."""

import os
import platform
import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

sources = [p for p in Path("csrc").rglob("*.cpp") if not {"cuda", "tests"} & set(p.parts)]
extension = {
    "sources": sorted(map(str, sources)),
    "depends": sorted(str(p) for p in Path("csrc").rglob("*") if p.suffix in {".h", ".cu", ".cuh"}),
    "include_dirs": [str(Path("csrc").resolve())],
    "define_macros": [("TORCH_TARGET_VERSION", "0x020a000000000000")],
    "extra_compile_args": ["-O3", "-g0", "-std=c++20", "-fvisibility=hidden", "-Wall"],
    "libraries": ["stdc++"],  # ahead of libtorch, which exports a private copy of parts of it
    "py_limited_api": True,
}
packages = [*find_packages(include=["rnnmem", "rnnmem.*"]), "rnnmem.kernels"]
packages += [f"rnnmem.kernels.{name}" for name in find_packages("kernels")]

if "sdist" in sys.argv:  # the one command that compiles nothing
    modules, commands = [Extension("rnnmem._C", **extension)], {}
else:  # says what is missing before pip draws any dependency
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "aarch64"}:
        sys.exit(f"rnnmem runs on Linux x86-64 and aarch64, not on {platform.system()} {platform.machine()}")
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        sys.exit("rnnmem compiles C++ and found no compiler: apt-get install g++ (or set CXX)")
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ModuleNotFoundError:
        then = "pip install torch==2.13.0 first, then pip install --no-build-isolation ."
        sys.exit(f"rnnmem builds against PyTorch: {then}")
    modules, commands = [CppExtension("rnnmem._C", **extension)], {"build_ext": BuildExtension}

options = {"build_ext": {"build_temp": "build/objects"}, "bdist_wheel": {"py_limited_api": "cp310"}}
setup(packages=packages, ext_modules=modules, cmdclass=commands, options=options)
