#!/usr/bin/env bash
# Builds the kernels with their driver under AddressSanitizer with UBSan, then under ThreadSanitizer, and runs both.
set -euo pipefail
cd "$(dirname "$0")/.."
out=../build/sanitize
mkdir -p "$out"

build() { # name, flags...
  local name=$1 objects=() jobs=()
  shift
  for source in tests/*.cpp scratch.cpp cpu/isa_*.cpp; do
    objects+=("$out/$name-$(basename "$source" .cpp).o")
    "${CXX:-c++}" -c -O1 -g -DRNNMEM_SCRATCH_KEPT=0 -fno-omit-frame-pointer -std=c++20 -Wall "$@" -I. "$source" -o "${objects[-1]}" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
  "${CXX:-c++}" "$@" "${objects[@]}" -pthread -o "$out/$name"
}

echo "AddressSanitizer and UndefinedBehaviorSanitizer"
build memory -fsanitize=address,undefined -fno-sanitize-recover=all
ASAN_OPTIONS=detect_stack_use_after_return=1 "$out/memory"

echo "ThreadSanitizer"
build threads -fsanitize=thread
# ThreadSanitizer needs the addresses where it expects them; setarch keeps the kernel from shuffling them.
TSAN_OPTIONS=halt_on_error=1 setarch "$(uname -m)" -R "$out/threads"
