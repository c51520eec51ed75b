# Sourced by the recipes with DATA and WORK: goes to WORK, and makes there what they train on.
#
# DATA holds icdar2015/train, msra_td500/train, backgrounds and words. Needs
# pip install '.[pretrained,train]' and, for Chinese in the synthetic scenes, a CJK font (Debian:
# fonts-noto-cjk). What is there already is not made again.
set -euo pipefail
data=$(realpath "$1") here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
mkdir -p "$2"
cd "$2"
validation="td500:$data/msra_td500/train#val"

# td500: lines of text, and what the teacher sees; ic15: lines where ICDAR 2015 has words
[ -f td500/taught.jsonl ] ||
    python "$here/teach.py" ppocrv6-small "td500:$data/msra_td500/train#train" td500 own
[ -f ic15/taught.jsonl ] ||
    python "$here/teach.py" ppocrv6-small "icdar2015:$data/icdar2015/train" ic15 teacher
[ -f scenes/samples.jsonl ] || dbnet synth scenes "${SCENES:-3000}" --outlines lines --seed 1 \
    --words "$data/words/wamerican/american-english" --backgrounds "$data/backgrounds"
