# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets, one per format, for the files as they are published or exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..dataset import DataSet
from .annotated import read_jsonl, read_labelstudio, read_paddleocr
from .boxes import read_dota, read_yolo
from .coco import read_coco
from .cocotext import read_cocotext
from .curved import read_ctw1500, read_totaltext
from .icdar import read_icdar2013, read_icdar2015, read_mlt, read_rctw, read_td500
from .polygons import read_db, read_polygons
from .synthtext import read_synthtext
from .tools import read_cvat, read_labelme, read_via
from .trainers import read_doctr, read_lsvt, read_mmocr

READERS: dict[str, Callable[[Path], DataSet]] = {
    "icdar2013": read_icdar2013,
    "icdar2015": read_icdar2015,
    "mlt": read_mlt,
    "rctw": read_rctw,
    "totaltext": read_totaltext,
    "ctw1500": read_ctw1500,
    "td500": read_td500,
    "polygons": read_polygons,
    "db": read_db,
    "synthtext": read_synthtext,
    "cocotext": read_cocotext,
    "textocr": read_cocotext,
    "lsvt": read_lsvt,
    "art": read_lsvt,
    "coco": read_coco,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "via": read_via,
    "yolo": read_yolo,
    "dota": read_dota,
    "mmocr": read_mmocr,
    "doctr": read_doctr,
    "paddleocr": read_paddleocr,
    "labelstudio": read_labelstudio,
    "jsonl": read_jsonl,
}
"""Readers by format; each takes a path and raises ValueError if it holds another format."""
