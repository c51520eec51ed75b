# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.building import compile as compile_module


def test_timing_cache_is_read_and_written(
    rtx: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of a fake TensorRT are recorded, as no library here builds for its own GPU."""
    calls = []

    class Config:
        def create_timing_cache(self, data: bytes) -> str:
            calls.append(data)
            return "cache"

        def set_timing_cache(self, cache: str, ignore_mismatch: bool) -> bool:
            return len(calls) != 2  # the cache that the second build reads is of another GPU

        def get_timing_cache(self) -> Any:
            return type("Cache", (), {"serialize": lambda _: b"measured"})()

    path = folder / "a.timing"
    for _ in range(2):
        with compile_module._timing_cache(object(), Config(), path):
            pass
    assert calls == [b"", b"measured", b""]
    assert path.read_bytes() == b"measured"
