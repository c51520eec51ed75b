# SPDX-License-Identifier: Apache-2.0
"""A stranger's image costs less than a gigabyte and two seconds, and then is an ImageError."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import ImageError
from dbnet_trt.images.formats.dispatch import check_whole, read_header

from .hostile import REFUSED, TAKEN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each file of the corpus."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in (REFUSED | TAKEN).items():
        (folder / name).write_bytes(make())
    runner = Path(__file__).with_name("hostile_runner.py")
    command = [sys.executable, str(runner), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert answer["answer"].startswith("ImageError"), answer
    assert answer["megabytes"] < 1000, answer
    assert answer["seconds"] < 2, answer


@pytest.mark.parametrize("name", TAKEN)
def test_honest_files_are_read(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    size = {"jp2": "200x200", "png_flat": "6000x6000", "png_flat_16_bit": "6000x6000"}.get(
        name, "64x48"
    )
    assert answer["answer"] == size, answer
    assert answer["megabytes"] < 1000, answer


@pytest.mark.parametrize("name", REFUSED | TAKEN)
def test_headers_may_end_anywhere(name: str) -> None:
    data = (REFUSED | TAKEN)[name]()
    for end in range(min(len(data), 700)):
        with contextlib.suppress(ImageError):
            header = read_header(data[:end])
            if header is not None:
                check_whole(data[:end], header)
