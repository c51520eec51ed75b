# SPDX-License-Identifier: Apache-2.0
"""Cache folder of the user for models compiled by OpenVINO and TensorRT.

The library runs what it finds there, so only the user may be able to write to it.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from functools import cache
from pathlib import Path

logger = logging.getLogger("dbnet_trt")

STALE_SECONDS = 3600
"""Age of a temporary file whose writer is taken for dead."""


def cache_folder(name: str) -> Path | None:
    """Return a folder inside the user's cache folder, created if missing.

    Args:
        name: Name of the folder, as in "openvino".

    Returns:
        The folder. None, with one warning, if it cannot be written, is a link, or if another user
        owns it or may write to it.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (base / "dbnet_trt", base / "dbnet_trt" / name):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fault = _find_fault(folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            fault = f"cannot be created ({error})"
        if fault:
            _warn(folder, fault)
            return None
    return folder


def _find_fault(folder: Path) -> str:
    """Say why a folder cannot be trusted or used; "" if it can."""
    if sys.platform != "win32":
        status = folder.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "is a symbolic link"
        if status.st_uid != os.getuid():
            return f"has another owner (uid {status.st_uid}, not {os.getuid()})"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "may be written to by other users (chmod 700 it, and empty it)"
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            folder.chmod(0o700)  # earlier versions made it readable
    return "" if os.access(folder, os.W_OK) else "cannot be written"


@cache
def _warn(folder: Path, fault: str) -> None:
    """Warn, once per process."""
    logger.warning("compiled models are not kept: %s %s", folder, fault)


def prune_cache(folder: Path, max_bytes: int) -> None:
    """Delete the oldest compiled models of a folder until the rest takes at most `max_bytes`.

    Temporary files of writers that were killed and cards without a model are deleted as well.

    Args:
        folder: Folder with compiled models, *.blob.
        max_bytes: Maximum total size in bytes.
    """
    try:
        blobs = sorted(folder.glob("*.blob"), key=lambda blob: blob.stat().st_mtime, reverse=True)
        kept_bytes = 0
        for blob in blobs:
            kept_bytes += blob.stat().st_size
            if kept_bytes > max_bytes:
                blob.unlink()
        for left in (*folder.glob(".*"), *folder.glob("*.blob.json")):
            is_needed = left.suffix == ".json" and left.with_suffix("").exists()
            is_old = time.time() - left.lstat().st_mtime > STALE_SECONDS
            if not is_needed and is_old and not left.is_dir():
                left.unlink()
    except OSError as error:  # another process was faster, or still has it open
        logger.debug("old compiled models stay for now: %s", error)
