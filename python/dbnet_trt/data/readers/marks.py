# SPDX-License-Identifier: Apache-2.0
"""Marks by which annotators exclude a text from scoring."""

from __future__ import annotations

import re
from typing import Any

IGNORED_LABEL = re.compile(r"ignore|illegible|unreadable|do.?n.?t.?care|###", re.IGNORECASE)

_FLAGS = {
    "true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False,
}  # fmt: skip


def is_ignored(*labels: Any) -> bool:
    """Whether one of the labels is such a mark: "ignore", "don't care", "###" and others."""
    return any(IGNORED_LABEL.search(label) for label in labels if isinstance(label, str))


def parse_flag(value: Any, name: str) -> bool:
    """Parse a flag: true or false, 0 or 1, or the words that converters write for them.

    Args:
        value: The flag; None is false.
        name: Name of the flag, for the error message.

    Raises:
        ValueError: The value is not a flag.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, (int, float)) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise ValueError(f'expected "{name}" to be true or false, got {str(value)[:40]!r}')
