#!/usr/bin/env bash
# Fuzz the C++ core with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer; needs clang
# (Debian: clang). Inputs that reach new code are kept in FOLDER, and one that fails is written there.
# Usage: tests/fuzz/core.sh FOLDER [option of libFuzzer, as -max_total_time=60]...
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1
shift
mkdir -p "$folder/corpus"
"${CXX:-clang++}" -std=c++20 -O1 -g -I"$root" \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    "$root"/tests/fuzz/core.cpp "$root"/csrc/{preprocess,components,geometry,postprocess,targets}.cpp \
    -o "$folder/core"
"$folder/core" -artifact_prefix="$folder/" -max_len=20000 -len_control=0 "$@" "$folder/corpus"
