# SPDX-License-Identifier: Apache-2.0
"""Rows of the results: one per image, and of a document one per page."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np

from ..conversions import COORDINATE_DECIMALS
from ..detections import Detections

SCORE_DECIMALS = 4
"""Decimals of scores and confidences."""

Row = dict[str, Any]


@cache
def schema() -> Any:
    """Return the columns as a `pyarrow.Schema`."""
    import pyarrow as pa

    point = pa.list_(pa.float32(), 2)
    columns = {
        "path": pa.string(),
        "page": pa.int32(),
        "height": pa.int32(),
        "width": pa.int32(),
        "quads": pa.list_(pa.list_(point, 4)),
        "scores": pa.list_(pa.float32()),
        "polygons": pa.list_(pa.list_(point)),
        "texts": pa.list_(pa.string()),
        "confidences": pa.list_(pa.float32()),
        "error": pa.string(),
    }
    return pa.schema(list(columns.items()))


def result_row(name: str, page: int | None, size: tuple[int, int], found: Detections) -> Row:
    """Return the row of an image.

    Args:
        name: Path or name of the image.
        page: Number of the page; None if the file has no pages.
        size: (height, width) in pixels.
        found: Its detections.
    """
    return {
        "path": _readable(name),
        "page": page,
        "height": size[0],
        "width": size[1],
        "quads": _rounded(found.quads, COORDINATE_DECIMALS).tolist(),
        "scores": _rounded(found.scores, SCORE_DECIMALS).tolist(),
        "polygons": None
        if found.polygons is None
        else [_rounded(each, COORDINATE_DECIMALS).tolist() for each in found.polygons],
        "texts": None if found.texts is None else list(found.texts),
        "confidences": None
        if found.confidences is None
        else _rounded(found.confidences, SCORE_DECIMALS).tolist(),
        "error": None,
    }


def error_row(name: str, page: int | None, message: str) -> Row:
    """Return the row of an image that could not be searched."""
    return {"path": _readable(name), "page": page, "error": _readable(message)}


def to_parquet(rows: list[Row]) -> bytes:
    """Return a Parquet file of rows."""
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema()), sink)
    return sink.getvalue()


def _readable(text: str) -> str:
    """Show bytes of a name that are no UTF-8 as numbers: the format has no others."""
    return text.encode("utf-8", "backslashreplace").decode()


def _rounded(values: Any, decimals: int) -> Any:
    return np.round(np.asarray(values, np.float64), decimals)
