#!/usr/bin/env bash
# The paper's network for lines of text, ResNet-18, on a GPU: engines/dbnet-r18.sh DATA WORK
#
# No weights of it come with the package yet. Started again, it goes on where it was stopped, so that
# it can be run a few minutes at a time. What it needs is in prepare.sh; no ImageNet weights.
source "$(dirname "$0")/prepare.sh" "$@"

# run OUTPUT STEPS OPTIONS...
run() {
    dbnet train --output "$1" --steps "$2" --preset finetune --loss-preset official \
        --optimizer adamw --warmup-steps 200 --clip-norm 10 --batch-size 16 \
        --precision "${PRECISION:-bf16}" --workers "${WORKERS:-12}" --validation "$validation" \
        --augmentation.quarter-turn-prob 0.1 --targets.shrink-ratio 0.7 --unclip-ratio 0.85 "${@:3}"
}

run r18/scenes "${STEPS:-15000}" --learning-rate 0.001 --data jsonl:scenes/samples.jsonl
run r18/taught "${TAUGHT_STEPS:-15000}" --learning-rate 0.0005 --init r18/scenes/last.safetensors \
    --data "jsonl:td500/taught.jsonl*2" --data jsonl:scenes/samples.jsonl --data jsonl:ic15/taught.jsonl

dbnet export r18/taught/last.safetensors dbnet-r18.onnx --precision fp16
dbnet eval dbnet-r18.onnx --data "$validation"
