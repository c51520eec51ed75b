# Sourced by the recipes with DATA and WORK: change to WORK, and define functions that prepare data.
#
# DATA must contain icdar2015/train, msra_td500/train, backgrounds and words. The recipes need
# pip install -e '.[pretrained,train,int8]' -e ./models (-e, as the files that are shipped into the
# clone are then quantized and evaluated) and, for Chinese in the synthetic scenes, a CJK font
# (Debian: fonts-noto-cjk). Data that exist already are kept.
set -euo pipefail
data=$(realpath "$1") here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
mkdir -p "$2"
cd "$2"

# draw FOLDER COUNT line|word SEED [OPTIONS...]: draw synthetic scenes
draw() {
    [ -f "$1/samples.jsonl" ] || dbnet synth "$1" "$2" --text-level "$3" --seed "$4" \
        --words "$data/words/wamerican/american-english" --backgrounds "$data/backgrounds" "${@:5}"
}

# distill OUTPUT FORMAT:PATH own|teacher: label photos with the maps of the default model
distill() {
    [ -f "$1/distilled.jsonl" ] || dbnet distill ppocrv6-small --data "$2" --output "$1" \
        --outlines "$3" --shrink-ratio 0.7 --score-threshold 0.62 --ignore-threshold 0.4
}

# td500: lines of text, with the teacher's maps; ic15: the teacher's lines, as ICDAR 2015 has words
prepare_lines() {
    validation="td500:$data/msra_td500/train?by-position#val"
    distill td500 "td500:$data/msra_td500/train?by-position#train" own
    distill ic15 "icdar2015:$data/icdar2015/train?stretch" teacher
    draw scenes "${SCENES:-3000}" line 1
}
