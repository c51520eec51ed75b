# SPDX-License-Identifier: Apache-2.0
"""Files that are whole, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file, then give it its name: whole, or not at all.

    Raises:
        OSError: The file cannot be written; it is named.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno:
            error.filename = str(path)  # not the temporary file's; a full disk gives none
        raise
    finally:
        temporary.unlink(missing_ok=True)
