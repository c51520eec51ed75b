# SPDX-License-Identifier: Apache-2.0
"""Build the page that finds text in the browser, into build/web, for the documentation site.

The page is the server's, with web/page.js after it; web/detector.js runs the default model in ONNX
Runtime Web, and the C++ core as WebAssembly. It needs em++ (Debian: emscripten) and npm, which
fetches ONNX Runtime Web.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import dbnet_trt
from dbnet_trt.pipeline.polygons import MIN_SIDE_PX
from dbnet_trt.zoo import DEFAULT_MODEL, MODELS

WEB = Path(__file__).parent
ROOT = WEB.parent
PACKAGE = Path(dbnet_trt.__file__).parent

RUNTIME = "onnxruntime-web@1.30.0"
"""ONNX Runtime Web on npm."""

SCRIPT, CODE = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
"""Its files that the page takes: those for WebAssembly alone."""

SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    CODE: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}

SOURCES = ("preprocess", "components", "geometry", "postprocess")
EXPORTS = "_resize_pixels,_to_bgr,_make_input,_resize_map,_find_text,_found_text"
FLAGS = (
    *("-std=c++20", "-O3", "-msimd128", "-fno-exceptions", "-Wall", "-Wextra", "-Werror"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),  # as in CMakeLists.txt
    *("--no-entry", "-sSTANDALONE_WASM", "-sALLOW_MEMORY_GROWTH", "-sMAXIMUM_MEMORY=2GB"),
)

MAX_SHORT_SIDE = 2048
"""Largest short side that the page offers, in pixels."""


class MissingError(Exception):
    """A tool or a download that the build needs is not there; the message says which."""


def build(target: Path) -> None:
    """Build the page into a folder.

    Raises:
        MissingError: em++, npm or its package is not there.
        subprocess.CalledProcessError: The core does not compile.
    """
    missing = [tool for tool in ("em++", "npm") if shutil.which(tool) is None]
    if missing:
        raise MissingError(
            f"{' and '.join(missing)} not found; on Debian: apt install emscripten npm"
        )
    target.mkdir(parents=True, exist_ok=True)
    fetch_runtime(target)
    compile_core(target / "core.wasm")
    model = MODELS[DEFAULT_MODEL]
    shutil.copyfile(PACKAGE / model.file, target / "model.onnx")
    for name in ("page.js", "detector.js"):
        shutil.copyfile(WEB / name, target / name)
    (target / "index.html").write_text(page_html(), "utf-8")


def fetch_runtime(target: Path) -> None:
    """Fetch ONNX Runtime Web by npm, unless it is there: onnxruntime.js, and its code packed.

    Many hosts of static pages do not compress WebAssembly, 14 MB of it; the page unpacks it.

    Raises:
        MissingError: npm cannot fetch it, or its files are not those of the version.
    """
    script, code = target / "onnxruntime.js", target / "onnxruntime.bin"
    if script.is_file() and code.is_file():
        found = (script.read_bytes(), gzip.decompress(code.read_bytes()))
        if [hashlib.sha256(each).hexdigest() for each in found] == [*SHA256.values()]:
            return
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--prefer-offline", RUNTIME]
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise MissingError(f"npm cannot fetch {RUNTIME}: {done.stderr.strip()[-300:]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as files:
            script.write_bytes(_member(files, SCRIPT))
            code.write_bytes(gzip.compress(_member(files, CODE), mtime=0))


def _member(files: tarfile.TarFile, name: str) -> bytes:
    member = files.extractfile(f"package/dist/{name}")
    data = member.read() if member else b""
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise MissingError(f"{name} of {RUNTIME} is not the file of that version")
    return data


def compile_core(path: Path) -> None:
    """Compile the core's resizing and post-processing to WebAssembly."""
    sources = [WEB / "core.cpp", *(ROOT / "csrc" / f"{name}.cpp" for name in SOURCES)]
    exports = f"-sEXPORTED_FUNCTIONS={EXPORTS}"
    command = ["em++", *FLAGS, exports, f"-I{ROOT}", *map(str, sources), "-o", str(path)]
    subprocess.run(command, check=True)


def page_html() -> str:
    """Return the page: the server's, with the model's settings and this page's own script."""
    html = (PACKAGE / "serving" / "page.html").read_text("utf-8")
    settings = json.dumps(page_settings()).replace("<", "\\u003c")
    html = html.replace("SETTINGS", settings, 1)
    html = html.replace("</body>", '<script src="page.js"></script>\n</body>')
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        f"script-src 'self' '{_hash(script)}'; style-src '{_hash(style)}'; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{meta}', 1)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def page_settings() -> dict[str, Any]:
    """Return what the page and its worker must know of the model."""
    card = MODELS[DEFAULT_MODEL].card
    normalization = card.normalization
    return {
        "model": card.name,
        "short_side": card.short_side,
        "max_short_side": MAX_SHORT_SIDE,
        "binary_threshold": card.binary_threshold,
        "score_threshold": card.score_threshold,
        "unclip_ratio": card.unclip_ratio,
        "polygons": False,
        "network": {
            "name": card.name,
            "long_side_limit": card.long_side_limit,
            "max_candidates": card.max_candidates,
            "min_side": MIN_SIDE_PX,
            "logits": card.output == "logit",
            "multiplier": normalization.multiplier.tolist(),
            "offset": normalization.offset.tolist(),
            "swap_red_blue": normalization.swap_red_blue,
        },
    }


def main() -> None:
    """Build the page from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--target", type=Path, default=ROOT / "build" / "web", help="folder")
    parser.add_argument(
        "--if-possible", action="store_true", help="end well where a tool or download is missing"
    )
    arguments = parser.parse_args()
    try:
        build(arguments.target)
    except MissingError as error:
        print(f"the page for browsers is not built: {error}", file=sys.stderr)
        sys.exit(0 if arguments.if_possible else 1)


if __name__ == "__main__":
    main()
