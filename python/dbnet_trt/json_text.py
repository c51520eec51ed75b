# SPDX-License-Identifier: Apache-2.0
"""Read JSON that others wrote: bounded in size and depth, with errors that name the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

MAX_JSON_BYTES = 1 << 30
"""Of one JSON file; annotations of a million images take less."""

MAX_CARD_BYTES = 1 << 20
"""Of a card, which takes one kilobyte."""


def parse_json(text: str | bytes, what: str = "the text") -> Any:
    """Parse JSON. NaN and Infinity, which are not JSON, are refused.

    Args:
        text: As UTF-8 where it is bytes; a byte order mark is passed over.
        what: What messages call it.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"{what} must be JSON, is nested too deeply for it") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} must be JSON in UTF-8: {error}") from None
    except ValueError as error:
        raise ValueError(f"{what} must be JSON: {error}") from None


def read_json(path: str | os.PathLike[str], max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Parse a JSON file.

    Raises:
        ValueError: It is not JSON, nested too deeply, or larger than `max_bytes`.
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path} has more than {max_bytes} bytes, too many for such a file")
    return parse_json(data, str(path))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
