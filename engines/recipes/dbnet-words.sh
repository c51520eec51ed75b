#!/usr/bin/env bash
# Fine-tune PP-OCRv4 mobile, a detector of lines, for words: engines/recipes/dbnet-words.sh DATA WORK
#
# Not shipped: after 2100 steps it does not beat dbnet-mobile-words (benchmarks/results/training).
# DATA must contain icdar2015/train, icdar2015/test_open and icdar2003. It needs pip install
# '.[train]' and a C++ compiler. A run that was stopped continues.
source "$(dirname "$0")/prepare.sh" "$@"

# PaddleOCR's weights (Apache-2.0), from a package that ships them
if [ ! -d ppocrv4 ]; then
    pip download -q --no-deps -d wheelv4 rapidocr-onnxruntime==1.4.4
    unzip -qo wheelv4/*.whl -d ppocrv4
fi

dbnet train --output words --steps "${STEPS:-2100}" --preset quick --loss-preset official --model.no-db \
    --init ppocrv4/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx --init-card paddleocr \
    --data "icdar2015:$data/icdar2015/train?stretch*8" \
    --data "icdar2015:$data/icdar2003?by-position#train" \
    --batch-size 4 --learning-rate 0.0005 --warmup-steps 100 --ema-decay 0.999 --compile \
    --augmentation.crop-size 480 --augmentation.scale 1.4 2.6 --augmentation.flip-prob 0.2 \
    --augmentation.sharpen-prob 0.4 --augmentation.degrade-prob 0.4 --targets.min-text-side 6 \
    --text-level word --short-side 960 --binary-threshold 0.4 --score-threshold 0.5 \
    --unclip-ratio 1.0 --num-threads "${THREADS:-1}"

dbnet export words/last.safetensors
dbnet eval words/last.onnx --data "icdar2015:$data/icdar2015/test_open" --precision fp32
