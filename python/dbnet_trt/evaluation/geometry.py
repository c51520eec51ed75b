# SPDX-License-Identifier: Apache-2.0
"""Areas of polygons and of their overlaps, for the protocols. Needs shapely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DBNetError
from .scores import Polygon

Region = Any
"""Function that makes a shapely geometry of the area inside an outline."""

FloatArray = NDArray[np.float64]


def shoelace(polygon: Polygon) -> float:
    """Return the area of a (K, 2) outline, |sum of x_i y_(i+1) - x_(i+1) y_i| / 2, in pixels.

    Of an outline that crosses itself, loops of opposite direction cancel out.
    """
    x, y = np.asarray(polygon, np.float64).T
    x, y = x - x.min(), y - y.min()  # keeps the products small, so that they are exact
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2)


def even_odd(polygon: Polygon) -> Region:
    """Compute the area that a (K, 2) outline surrounds an odd number of times; all loops count."""
    shapely = _shapely()
    shape = shapely.Polygon(polygon)
    if shape.is_valid:
        return shape
    parts = shapely.get_parts(shapely.make_valid(shape))
    return shapely.MultiPolygon(
        [
            piece
            for part in parts
            for piece in shapely.get_parts(part)
            if piece.geom_type == "Polygon"
        ]
    )


def buffered(polygon: Polygon) -> Region:
    """Compute the area of a (K, 2) outline repaired by a buffer of zero; it may lose loops."""
    return _shapely().Polygon(polygon).buffer(0)


def valid_only(polygon: Polygon) -> Region:
    """Compute the area inside a (K, 2) outline; empty if it crosses or touches itself."""
    shape = _shapely().Polygon(polygon)
    return shape if shape.is_valid else _shapely().Polygon()


def overlaps(
    truths: Sequence[Polygon], detections: Sequence[Polygon], region: Callable[[Polygon], Region]
) -> FloatArray:
    """Return the (N, M) areas, in square pixels, of the overlaps of N truths and M detections.

    Args:
        truths: N outlines.
        detections: M outlines.
        region: What an outline stands for: `even_odd`, `buffered` or `valid_only`.
    """
    shapely = _shapely()
    rows, columns = _regions(truths, region), _regions(detections, region)
    shared = shapely.intersection(rows[:, None], columns[None, :])
    return np.asarray(shapely.area(shared), np.float64).reshape(len(truths), len(detections))


def _regions(polygons: Sequence[Polygon], region: Callable[[Polygon], Region]) -> Any:
    regions = np.empty(len(polygons), object)
    regions[:] = [region(polygon) for polygon in polygons]
    return regions


def ratio(part: FloatArray | float, whole: FloatArray | float) -> FloatArray:
    """Return part / whole, broadcast; 0 where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)


def _shapely() -> ModuleType:
    try:
        import shapely
    except ImportError as error:
        raise DBNetError(
            "scoring needs shapely, which is not installed; pip install 'dbnet-trt[eval]'"
        ) from error
    return shapely
