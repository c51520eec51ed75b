# SPDX-License-Identifier: Apache-2.0
"""Cache folder of the user for models compiled by OpenVINO and TensorRT."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger("dbnet_trt")


def cache_folder() -> Path | None:
    """Return the user's cache folder, created if missing; None if it cannot be written."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "dbnet_trt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("compiled models are not kept: %s cannot be created (%s)", folder, error)
        return None
    if not os.access(folder, os.W_OK):
        logger.warning("compiled models are not kept: %s cannot be written", folder)
        return None
    return folder


def prune_cache(folder: Path, max_bytes: int) -> None:
    """Delete the oldest compiled models of a folder until the rest takes at most `max_bytes`.

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
    except OSError as error:  # another process was faster, or still has it open
        logger.debug("old compiled models stay for now: %s", error)
