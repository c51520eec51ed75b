# SPDX-License-Identifier: Apache-2.0
"""Samples packed in a few arrays: a tenth of the memory, shared between processes."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from .samples import Sample, Text

SHARED_FROM_BYTES = 64 << 20
"""Size above which arrays are shared with other processes as a mapped file, not copied."""


@dataclass(frozen=True, slots=True)
class _Arrays:
    """N samples with T texts of P points; `*_ends` hold the end of each sample's or text's items.

    Attributes:
        points: (P, 2) float32 if that loses nothing, else float64.
        point_ends: (T,) int64.
        ignore: (T,) bool.
        text_ends: (N,) int64.
        paths: Bytes of the paths of the images and of the probability maps, concatenated.
        path_ends: (N, 2) int64, ends of the image's path and of the probability map's path.
        stretch: (N, 2) float64.
        upright: (N,) bool.
        part: (N,) uint8, index in `PARTS`.
    """

    points: NDArray[Any]
    point_ends: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    text_ends: NDArray[np.int64]
    paths: NDArray[np.uint8]
    path_ends: NDArray[np.int64]
    stretch: NDArray[np.float64]
    upright: NDArray[np.bool_]
    part: NDArray[np.uint8]


PARTS = ("", "train", "val", "test")


class PackedSamples(Sequence[Sample]):
    """A sequence of samples without transcriptions, which are created at each access.

    Large ones are pickled as a file that is mapped into memory, so that processes share it. The
    file lasts as long as the object that was pickled.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._arrays = _pack(samples)
        self._file: Path | None = None

    def __len__(self) -> int:
        return len(self._arrays.text_ends)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} samples, got index {index}")
        index %= len(self)
        arrays = self._arrays
        image_end, map_end = arrays.path_ends[index].tolist()
        start = int(arrays.path_ends[index - 1, 1]) if index else 0
        prob_map = _path(arrays.paths[image_end:map_end])
        return Sample(
            _path(arrays.paths[start:image_end]) or Path(),
            tuple(self._texts(index)),
            tuple(arrays.stretch[index].tolist()),
            PARTS[arrays.part[index]],
            prob_map,
            bool(arrays.upright[index]),
        )

    def _texts(self, index: int) -> Iterator[Text]:
        arrays = self._arrays
        first = int(arrays.text_ends[index - 1]) if index else 0
        start = int(arrays.point_ends[first - 1]) if first else 0
        for text in range(first, int(arrays.text_ends[index])):
            end = int(arrays.point_ends[text])
            polygon = np.array(arrays.points[start:end], np.float64)
            yield Text(polygon, bool(arrays.ignore[text]))
            start = end

    def __getstate__(self) -> Any:
        if self._file is None and self._num_bytes() >= SHARED_FROM_BYTES:
            self._share()
        return self._arrays if self._file is None else self._file

    def __setstate__(self, state: Any) -> None:
        self._file = None
        self._arrays = _map(state) if isinstance(state, Path) else state

    def _num_bytes(self) -> int:
        return sum(getattr(self._arrays, each.name).nbytes for each in fields(_Arrays))

    def _share(self) -> None:
        """Write the arrays to a temporary file and map it; keep them in memory if that fails."""
        try:
            handle, name = tempfile.mkstemp(prefix="dbnet-samples-")
        except OSError:
            return
        weakref.finalize(self, Path(name).unlink, missing_ok=True)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, self._arrays)
        except OSError:  # the disk is full
            return
        self._file = Path(name)
        self._arrays = _map(self._file)


def _pack(samples: Iterable[Sample]) -> _Arrays:
    points: list[NDArray[Any]] = []
    point_ends, ignore, text_ends, path_ends, stretch, upright, part = ([] for _ in range(7))
    paths = bytearray()
    num_points = 0
    for sample in samples:
        for text in sample.texts:
            exact = text.polygon.astype(np.float32)
            points.append(exact if np.array_equal(exact, text.polygon) else text.polygon)
            num_points += len(text.polygon)
            point_ends.append(num_points)
            ignore.append(text.ignore)
        text_ends.append(len(ignore))
        paths += os.fsencode(sample.image)
        image_end = len(paths)
        paths += b"" if sample.prob_map is None else os.fsencode(sample.prob_map)
        path_ends.append((image_end, len(paths)))
        stretch.append(sample.stretch)
        upright.append(sample.upright)
        part.append(PARTS.index(sample.part) if sample.part in PARTS else 0)
    return _Arrays(
        np.concatenate(points) if points else np.zeros((0, 2), np.float32),
        np.array(point_ends, np.int64),
        np.array(ignore, np.bool_),
        np.array(text_ends, np.int64),
        np.frombuffer(bytes(paths), np.uint8),
        np.array(path_ends, np.int64).reshape(-1, 2),
        np.array(stretch, np.float64).reshape(-1, 2),
        np.array(upright, np.bool_),
        np.array(part, np.uint8),
    )


_KINDS = ("<f4", "<f8", "<i8", "|b1", "|u1")


def _write(file: IO[bytes], arrays: _Arrays) -> None:
    """Write (kind, rows, columns) of all arrays and then the arrays, aligned to 8 bytes."""
    values = [getattr(arrays, each.name) for each in fields(_Arrays)]
    head = [
        (_KINDS.index(value.dtype.str), value.shape[0], value.shape[1] if value.ndim > 1 else 0)
        for value in values
    ]
    for block in (np.array(head, np.int64), *values):
        file.write(np.ascontiguousarray(block).data)
        file.write(bytes(-block.nbytes % 8))


def _map(name: Path) -> _Arrays:
    """Map the arrays of a file that `_write` wrote."""
    data = np.memmap(name, np.uint8, mode="r")
    count = len(fields(_Arrays))
    head = data[: count * 24].view(np.int64).reshape(count, 3).tolist()
    start = count * 24
    values = []
    for kind, rows, columns in head:
        dtype = np.dtype(_KINDS[kind])
        size = rows * max(columns, 1) * dtype.itemsize
        value = data[start : start + size].view(dtype)
        values.append(value.reshape(rows, columns) if columns else value)
        start += size + -size % 8
    return _Arrays(*values)


def _path(name: NDArray[np.uint8]) -> Path | None:
    return Path(os.fsdecode(name.tobytes())) if len(name) else None
