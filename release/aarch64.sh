#!/usr/bin/env bash
# Run the wheel for aarch64 Linux in qemu: the core's tests, then release/installed.py. Its Python
# and libraries are Debian's for arm64, unpacked into a folder; nothing of this machine changes.
# Usage: release/aarch64.sh dist/*cp311*aarch64.whl FOLDER, on Debian 12 with qemu-user-static.
set -euo pipefail
wheel=$(realpath "$1")
work=$(mkdir -p "$2" && realpath "$2")
cd "$(dirname "$0")/.."

# Debian's packages for arm64, by an apt with folders of its own.
if [ ! -e "$work/root/usr/bin/python3.11" ]; then
    mkdir -p "$work"/{lists/partial,cache/archives/partial} "$work"/root/usr/{bin,lib,sbin}
    for name in bin lib sbin; do ln -sfn "usr/$name" "$work/root/$name"; done
    cat >"$work/apt.conf" <<END
Dir::State "$work"; Dir::State::lists "$work/lists"; Dir::State::status "/dev/null"; Dir::Cache "$work/cache";
APT::Architecture "arm64"; APT::Architectures {"arm64";};
END
    export APT_CONFIG=$work/apt.conf
    apt-get -qq update
    apt-get -qq -y install --download-only --no-install-recommends \
        python3.11-minimal libpython3.11-stdlib libstdc++6
    for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
fi

# The wheel, its dependencies and pytest, without running any of their code here. ONNX Runtime 1.32
# crashes in qemu 7.2 as it is imported.
rm -rf "$work/site"
platforms=(--platform=manylinux_2_{28,27,17}_aarch64 --platform=manylinux2014_aarch64)
python -m pip install -q --target "$work/site" --no-compile --only-binary=:all: --implementation cp \
    --python-version 3.11 "${platforms[@]}" \
    numpy opencv-python-headless pyclipper onnx onnxruntime==1.20.1 cyclopts rich pytest hypothesis
python -m pip install -q --target "$work/site" --no-compile --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --platform manylinux2014_aarch64 "$wheel"

run() {
    PYTHONPATH="$work/site" OPENBLAS_NUM_THREADS=1 \
        qemu-aarch64-static -L "$work/root" "$work/root/usr/bin/python3.11" -P "$@"
}
# OpenCV's builds for ARM resize by other code (KleidiCV, Carotene), up to 2 gray levels off ours.
run -m pytest -q -p no:cacheprovider -k "not preprocess_equals_opencv" \
    tests/pipeline/test_preprocess.py tests/pipeline/test_postprocess.py
run release/installed.py
