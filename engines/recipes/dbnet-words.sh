#!/usr/bin/env bash
# Train dbnet-words, from the data to the shipped file: engines/recipes/dbnet-words.sh DATA WORK
#
# The initial weights are those of ppocrv6-small, a detector of lines. Started again, it resumes
# where it was stopped. prepare.sh lists the requirements; DATA must also contain icdar2003 and
# icdar2015/test_open. --precision bf16 needs a CPU or GPU that has it.
source "$(dirname "$0")/prepare.sh" "$@"
draw scenes "${SCENES:-2000}" word 22 --size 640 --chinese 0.05 --text-height 9 60

# run OUTPUT STEPS OPTIONS...: train on words
run() {
    dbnet train --output "$1" --steps "$2" --preset quick --loss-preset official --model.no-db \
        --data "icdar2015:$data/icdar2015/train?stretch*8" \
        --data "icdar2015:$data/icdar2003?by-position#train" --data jsonl:scenes/samples.jsonl*1.5 \
        --validation "icdar2015:$data/icdar2003?by-position#val" --validate-every 1500 \
        --batch-size 4 --ema-decay 0.999 \
        --augmentation.crop-size 480 --augmentation.scale 1.3 2.6 --augmentation.flip-prob 0.1 \
        --augmentation.sharpen-prob 0.4 --augmentation.degrade-prob 0.3 --targets.min-text-side 6 \
        --text-level word --short-side 960 --binary-threshold 0.4 --score-threshold 0.5 \
        --unclip-ratio 1.4 --num-threads "${THREADS:-1}" "${@:3}"
}
run run "${STEPS:-4400}" --init ppocrv6-small --precision bf16 --learning-rate 0.0004 --warmup-steps 150
run run2 "${MORE_STEPS:-1600}" --init run/last.safetensors --learning-rate 0.00025 --warmup-steps 100 \
    --seed 1 --compile
run run3 "${LAST_STEPS:-2600}" --init run2/last.safetensors --precision bf16 --learning-rate 0.0003 \
    --warmup-steps 100 --seed 2 --compile

python "$here/ship.py" run3/last.safetensors dbnet-words

# int8: calibrated, and distilled from fp32
dbnet-build dbnet-words --target cpu --precision int8 --calibration "icdar2015:$data/icdar2015/train?stretch" --distill-steps 150
python "$here/ship.py" dbnet-words.int8.onnx dbnet-words
for val in icdar2015/test_open 'icdar2003?by-position#val'; do
    dbnet eval dbnet-words --data "icdar2015:$data/$val" --precision fp32
done
python "$here/gallery.py" dbnet-words "icdar2015:$data/icdar2015/test_open" gallery.png
