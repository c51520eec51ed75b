# SPDX-License-Identifier: Apache-2.0
"""Fixtures for building engines without a GPU, in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbnet_trt.building.config import BuildConfig

SMALL = BuildConfig("fp32", "32x32/64x96/128x160", 2, rtx=True, compute_capability="86,75")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a temporary folder, so that no file is written into the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
