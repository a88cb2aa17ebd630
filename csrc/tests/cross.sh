#!/usr/bin/env bash
# Compiles the kernels and their driver for aarch64, and runs the driver where qemu's user emulation is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-g++
command -v "$compiler" >/dev/null || { echo "no $compiler: apt-get install g++-aarch64-linux-gnu" >&2; exit 1; }
out=../build/cross
mkdir -p "$out"

objects=()
for source in tests/*.cpp scratch.cpp cpu/isa_*.cpp; do
  objects+=("$out/$(basename "$source" .cpp).o")
  level=$([[ $source == tests/* ]] && echo -O1 || echo -O3)
  "$compiler" -c "$level" -std=c++20 -fvisibility=hidden -Wall -Werror -I. "$source" -o "${objects[-1]}"
done
"$compiler" -static "${objects[@]}" -pthread -o "$out/driver"

if qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64); then
  "$qemu" "$out/driver"
else
  echo "compiled for aarch64, not run: apt-get install qemu-user-static runs it here too"
fi
