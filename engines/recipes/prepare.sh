# Sourced by the recipes with DATA and WORK: change to WORK, and define functions that prepare data.
#
# DATA must contain icdar2015/train, msra_td500/train, backgrounds and words. The recipes need
# pip install '.[pretrained,train]' and, for Chinese in the synthetic scenes, a CJK font (Debian:
# fonts-noto-cjk). Data that exist already are kept.
set -euo pipefail
data=$(realpath "$1") here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
mkdir -p "$2"
cd "$2"

# draw FOLDER COUNT line|word SEED: draw synthetic scenes
draw() {
    [ -f "$1/samples.jsonl" ] || dbnet synth "$1" "$2" --text-level "$3" --seed "$4" \
        --words "$data/words/wamerican/american-english" --backgrounds "$data/backgrounds"
}

# td500: lines of text, with the teacher's maps; ic15: the teacher's lines, as ICDAR 2015 has words
prepare_lines() {
    validation="td500:$data/msra_td500/train?by-position#val"
    [ -f td500/distilled.jsonl ] ||
        python "$here/distill.py" ppocrv6-small "td500:$data/msra_td500/train?by-position#train" td500 own
    [ -f ic15/distilled.jsonl ] ||
        python "$here/distill.py" ppocrv6-small "icdar2015:$data/icdar2015/train?stretch" ic15 teacher
    draw scenes "${SCENES:-3000}" line 1
}

prepare_words() {
    validation="icdar2015:$data/icdar2015/train?stretch&by-position#val"
    draw words "${SCENES:-2000}" word 2
}
