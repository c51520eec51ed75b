# SPDX-License-Identifier: Apache-2.0
"""The cache folder is the user's alone, or not used; what is left behind goes."""

import logging
import os
import sys
from pathlib import Path

import pytest
from dbnet_trt import cache as cache_module
from dbnet_trt.cache import STALE_SECONDS, cache_folder, prune_cache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    cache_module._warn.cache_clear()


def test_folder_is_for_the_user_alone(cache: Path) -> None:
    folder = cache_folder("openvino")
    assert folder == cache / "dbnet_trt" / "openvino"
    for each in (folder, folder.parent):
        assert each.stat().st_mode & 0o777 == 0o700


def test_folder_of_earlier_versions_is_closed(cache: Path) -> None:
    folder = cache / "dbnet_trt" / "engines"
    folder.mkdir(parents=True, mode=0o755)
    assert cache_folder("engines") == folder
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["dbnet_trt", "dbnet_trt/openvino"])
def test_link_is_not_followed(
    name: str, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (cache / name).parent.mkdir(parents=True, mode=0o700)
    (cache / name).symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        assert cache_folder("openvino") is None
    (record,) = caplog.records
    assert "is a symbolic link" in record.getMessage()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_folder_that_others_may_write_to(
    mode: int, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = cache / "dbnet_trt" / "openvino"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    assert cache_folder("openvino") is None
    assert "may be written to by other users" in caplog.text


def test_folder_of_another_user(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_folder("openvino")
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert cache_folder("openvino") is None
    assert f"has another owner (uid {owner}, not {owner + 1})" in caplog.text


def test_folder_name_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("a" * 300)))
    with caplog.at_level(logging.WARNING):
        assert cache_folder("openvino") is None
    assert "cannot be created" in caplog.text


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    old = 1.0
    left = [tmp_path / ".7ec6.blob.16838", tmp_path / "gone.blob.json"]
    kept = [tmp_path / "a.blob", tmp_path / "a.blob.json", tmp_path / ".fresh.blob.3"]
    for path in (*left, *kept):
        path.write_bytes(b"x")
        if path.name != ".fresh.blob.3":
            os.utime(path, (old, old))
    prune_cache(tmp_path, 10)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert STALE_SECONDS >= 600  # a slow disk's writer is not taken for dead


def test_old_models_go_with_their_cards(tmp_path: Path) -> None:
    for i in range(3):
        for name in (f"{i}.blob", f"{i}.blob.json"):
            (tmp_path / name).write_bytes(bytes(4))
            os.utime(tmp_path / name, (i + 1, i + 1))
    prune_cache(tmp_path, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1.blob",
        "1.blob.json",
        "2.blob",
        "2.blob.json",
    ]
