#!/usr/bin/env bash
# dbnet-mobile-words, from the data to the shipped file: engines/dbnet-mobile-words.sh DATA WORK
#
# It begins with dbnet-mobile, which finds lines. Started again, it goes on where it was stopped.
# What it needs is in prepare.sh.
source "$(dirname "$0")/prepare.sh" "$@"
prepare_words

# run OUTPUT STEPS REPEATS OPTIONS...: train, with so many crops of photos for one of scenes
run() {
    dbnet train --output "$1" --steps "$2" --preset quick --loss-preset official \
        --data "icdar2015:$data/icdar2015/train#train*$3" --data jsonl:words/samples.jsonl \
        --validation "$validation" --validate-every 700 --short-side 960 \
        --targets.shrink-ratio 0.5 --targets.min-text-side 6 --unclip-ratio 1.0 --average-decay 0.998 "${@:4}"
}

run small "${STEPS:-2800}" 3 --learning-rate 0.001 \
    --augmentation.crop-size 384 --augmentation.scale 1.5 3.6 --init dbnet-mobile
run large "${LARGE_STEPS:-2200}" 5 --learning-rate 0.0008 --batch-size 6 \
    --augmentation.crop-size 544 --augmentation.scale 1.3 2.3 --init small/last.safetensors

python "$here/ship.py" large/last.safetensors dbnet-mobile-words
dbnet eval dbnet-mobile-words --data "$validation"
python "$here/gallery.py" dbnet-mobile-words "$validation" gallery.png
