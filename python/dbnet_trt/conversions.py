# SPDX-License-Identifier: Apache-2.0
"""Results in the types of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas
    import supervision

FloatArray = NDArray[np.float32]

CORNER_COLUMNS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
"""Columns of a quad's corners in tables."""

COORDINATE_DECIMALS = 2
"""Decimals of coordinates in files and tables, in pixels."""


def to_supervision(
    quads: FloatArray, scores: FloatArray, track_ids: NDArray[np.int64] | None
) -> supervision.Detections:
    """Convert to `supervision.Detections`; see `Detections.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise ImportError(
            "to_supervision needs the package supervision; pip install 'dbnet-trt[supervision]'"
        ) from error
    return supervision.Detections(
        xyxy=np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1),
        confidence=scores,
        class_id=np.zeros(len(scores), int),
        tracker_id=track_ids,
        data={
            "xyxyxyxy": quads,
            "class_name": np.full(len(scores), "text"),
        },
    )


def to_dataframe(
    outlines: tuple[FloatArray, FloatArray],
    polygons: tuple[FloatArray, ...] | None,
    texts: tuple[str, ...] | None,
    confidences: FloatArray | None,
    track_ids: NDArray[np.int64] | None,
) -> pandas.DataFrame:
    """Convert to a `pandas.DataFrame`; see `Detections.to_dataframe`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs the package pandas; pip install pandas") from error
    quads, scores = outlines
    corners = quads.reshape(-1, 8).round(COORDINATE_DECIMALS)
    table = pandas.DataFrame(corners, columns=list(CORNER_COLUMNS))
    table["score"] = scores
    if polygons is not None:
        rounded = [polygon.round(COORDINATE_DECIMALS) for polygon in polygons]
        table["polygon"] = pandas.Series(rounded, dtype=object)
    if texts is not None:
        table["text"] = pandas.Series(texts, dtype=object)
        table["confidence"] = confidences
    if track_ids is not None:
        table["track"] = track_ids
    return table


def to_gpuarray(quads: FloatArray, scores: FloatArray) -> tuple[Any, Any]:
    """Copy to arrays of PyCUDA; see `Detections.to_gpuarray`."""
    try:
        from pycuda import gpuarray
    except ImportError as error:
        raise ImportError(
            "to_gpuarray needs the package pycuda; pip install 'dbnet-trt[pycuda]'"
        ) from error
    return gpuarray.to_gpu(quads), gpuarray.to_gpu(scores)
