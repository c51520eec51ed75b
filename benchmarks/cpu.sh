#!/usr/bin/env bash
# Run the benchmarks of the CPU, in less than ten minutes on two cores: benchmarks/cpu.sh [RESULTS]
#
# Numbers, plots and printed output go to the folder RESULTS. Runs are shorter than those of the
# single commands in README.md, and its three longest are left out: --paper, memory.py over 10,000
# detections, and ablation.py.
set -euo pipefail
here=$(dirname "$0") results=${1:-benchmark-results}
mkdir -p "$results"

# run NAME SCRIPT OPTIONS...: run a script, and store its numbers and output under NAME
run() {
    printf '\n== %s (%ss)\n' "$1" "$SECONDS"
    python "$here/$2.py" "${@:3}" --json "$results/$1.json" | tee "$results/$1.txt"
}
picture() { run "$@" --plot "$results/$1.png"; }

picture fps fps --repeats 8
picture compare fps --compare --repeats 6
picture density fps --sweep density --repeats 8
picture size fps --sweep size --repeats 3
picture concurrency fps --sweep concurrency --repeats 6
picture threads fps --sweep threads --repeats 8
picture start fps --start --repeats 5
picture postprocess postprocess --repeats 4
picture accuracy accuracy --limit 5
run roofline roofline ppocrv6-small untrained-mobilenetv2 --measure
picture training training --seconds 3 --repeats 10 --size 320
picture memory memory --backend onnxruntime --detections 1000
printf '\n== done (%ss)\n' "$SECONDS"
