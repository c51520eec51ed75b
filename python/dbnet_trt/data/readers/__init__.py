# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets, each for the files as they are published or exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..dataset import DataSet
from .annotated import read_jsonl, read_labelstudio, read_paddleocr
from .cocotext import read_cocotext
from .curved import read_ctw1500, read_totaltext
from .icdar import read_icdar2013, read_icdar2015, read_mlt, read_td500
from .synthtext import read_synthtext

READERS: dict[str, Callable[[Path], DataSet]] = {
    "icdar2013": read_icdar2013,
    "icdar2015": read_icdar2015,
    "mlt": read_mlt,
    "totaltext": read_totaltext,
    "ctw1500": read_ctw1500,
    "td500": read_td500,
    "synthtext": read_synthtext,
    "cocotext": read_cocotext,
    "textocr": read_cocotext,
    "paddleocr": read_paddleocr,
    "labelstudio": read_labelstudio,
    "jsonl": read_jsonl,
}
"""Each reads a path, and raises ValueError where that does not hold its format."""
