#!/usr/bin/env bash
# Train dbnet-mobile-words, from the data to the shipped file:
# engines/recipes/dbnet-mobile-words.sh DATA WORK
#
# The initial weights are those of dbnet-mobile, which finds lines. Started again, it resumes where
# it was stopped. prepare.sh lists the requirements.
source "$(dirname "$0")/prepare.sh" "$@"
prepare_words

# run OUTPUT STEPS REPEATS MIN_TEXT_SIDE OPTIONS...: train, with REPEATS crops of photos per crop of
# scenes
run() {
    dbnet train --output "$1" --steps "$2" --preset quick --loss-preset official \
        --data "icdar2015:$data/icdar2015/train?stretch&by-position#train*$3" --data jsonl:words/samples.jsonl \
        --validation "$validation" --validate-every 700 --short-side 960 \
        --targets.shrink-ratio 0.5 --targets.min-text-side "$4" --unclip-ratio 1.0 --ema-decay 0.998 "${@:5}"
}

run small "${STEPS:-2800}" 3 6 --learning-rate 0.001 \
    --augmentation.crop-size 384 --augmentation.scale 1.5 3.6 --init dbnet-mobile
run large "${LARGE_STEPS:-2200}" 5 6 --learning-rate 0.0008 --batch-size 6 \
    --augmentation.crop-size 544 --augmentation.scale 1.3 2.3 --init small/last.safetensors
run again "${AGAIN_STEPS:-4000}" 8 5 --learning-rate 0.001 --batch-size 6 \
    --augmentation.crop-size 544 --augmentation.scale 1.15 2.0 --init large/last.safetensors

python "$here/ship.py" again/last.safetensors dbnet-mobile-words
dbnet eval dbnet-mobile-words --data "$validation" --precision fp32
python "$here/gallery.py" dbnet-mobile-words "$validation" gallery.png
