# SPDX-License-Identifier: Apache-2.0
"""Fixtures for building engines without a GPU, in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.images.load import write_image
from fakes.tiny_model import scene

SMALL = BuildConfig("fp32", "32x32/64x96/128x160", 2, rtx=True, compute_capability="86,75")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a temporary folder, so that no file is written into the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Write three pictures into separate folders."""
    for i, size in enumerate([(60, 200), (200, 60), (33, 47)]):
        (tmp_path / str(i)).mkdir()
        write_image(tmp_path / str(i) / "a.png", scene(*size, num_texts=1))
    return tmp_path
