# SPDX-License-Identifier: Apache-2.0
"""Where engines are built without a GPU, in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbnet_trt.building.build import BuildConfig

SMALL = BuildConfig("fp32", "32x32/64x96/128x160", 2, rtx=True, compute_capability="86,75")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests leave the checkout alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
