# SPDX-License-Identifier: Apache-2.0
"""Run the snippets of README.md and docs/: python -m pytest -p docs.snippets README.md docs

A plug-in of its own rather than a conftest.py: the other tests do not need Sybil.

Each page is one document: its Python and shell snippets run in order, in a folder of its own that
holds the files they name. `<!-- skip: next "reason" -->` before a snippet leaves it out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parents[1]
CACHE = tempfile.TemporaryDirectory(prefix="dbnet-cache-")
"""Compiled models of all pages; the user's cache folder is left alone."""

TIMEOUT = 300
"""Seconds that one shell snippet may take."""


def run_shell(example: Example) -> None:
    """Run a shell snippet; any command that fails ends it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
    )
    if done.returncode:
        pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)


def make_folder(namespace: dict[str, Any]) -> None:
    """Enter a folder with the files that the snippets name, all drawn from one picture."""
    import cv2
    import numpy as np
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="dbnet-snippets-"))
    namespace["_folders"] = (Path.cwd(), folder)
    os.environ["XDG_CACHE_HOME"] = CACHE.name
    os.chdir(folder)
    demo = ROOT / "tests" / "data" / "demo.jpg"
    (folder / "scans").mkdir()
    for name in ("photo.jpg", "menu.jpg", "dark.jpg", "scans/1.jpg", "scans/2.jpg"):
        shutil.copy(demo, folder / name)
    image = cv2.imread(str(demo))
    cv2.imwrite("scan.png", image)
    page = Image.open(demo)
    page.save("scan.pdf", save_all=True, append_images=[page, page])
    small = np.ascontiguousarray(image[:480, :640])
    video = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 5, (640, 480))
    for _ in range(3):
        video.write(small)
    video.release()
    namespace["frames"] = [small, small]
    namespace["frame"] = small


def leave_folder(namespace: dict[str, Any]) -> None:
    """Go back, and remove the folder."""
    before, folder = namespace["_folders"]
    os.chdir(before)
    shutil.rmtree(folder)


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="bash", evaluator=run_shell),
        SkipParser(),
    ],
    filenames=["README.md"],
    patterns=["docs/*.md"],
    path=str(ROOT),
    setup=make_folder,
    teardown=leave_folder,
).pytest()
