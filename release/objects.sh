#!/usr/bin/env bash
# Compile the C++ core for systems that are not here. Objects only: nothing is linked or run.
# Usage: release/objects.sh [TARGET...], in an environment that has the extra `release`.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
targets=("${@:-aarch64-macos x86_64-macos x86_64-windows-gnu aarch64-windows-gnu}")

for target in ${targets[*]}; do
    for source in preprocess components geometry postprocess targets pipeline_none; do
        python -m ziglang c++ -target "$target" -std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Werror \
            -I. -c "csrc/$source.cpp" -o "$work/$source.o"
    done
    echo "$target: $(ls "$work" | wc -l) objects, $(du -cb "$work"/*.o | tail -n 1 | cut -f 1) bytes"
    rm "$work"/*.o
done
