# SPDX-License-Identifier: Apache-2.0
"""Read MATLAB files of level 5, within a limit on their unpacked size.

Cells, strings and numbers are read, which is what data sets have. SciPy's reader ends the process
with a segmentation fault on damaged files; this one raises ValueError. The format is described in
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 16 << 20
"""Default limit on a file of one image, unpacked: 16 MiB."""

MAX_DEPTH = 16
"""Maximum depth of nested cells; data sets have two levels."""

_HEADER_BYTES = 128
_NAME_BYTES = 256
"""Number of unpacked bytes of an element that hold its name."""

_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_NUMBER_CLASSES = range(6, 16)
_KINDS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_ENCODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}


def load_mat(
    data: bytes, names: Collection[str] = (), *, max_bytes: int = MAX_BYTES
) -> dict[str, NDArray[Any]]:
    """Load the variables of a MATLAB file.

    Args:
        data: The file's contents.
        names: Variables to load; all if empty.
        max_bytes: Limit on the size of the variables together, unpacked.

    Returns:
        Arrays by name: of numbers; of strings, one per row; or of objects, which are such arrays.

    Raises:
        ValueError: The file is not a MATLAB file of level 5, is damaged, or exceeds the limit.
    """
    order = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]))
    if order is None:
        raise ValueError("expected a MATLAB file of level 5, saved with -v7 or -v6")
    found: dict[str, NDArray[Any]] = {}
    left = max_bytes
    for kind, body in _elements(memoryview(data)[_HEADER_BYTES:], order):
        packed = kind == _COMPRESSED
        if packed and names:
            head = _unpack(body, _NAME_BYTES, is_head=True)
            if _peek_name(head, order) not in names:
                continue
        block = _unpack(body, left) if packed else body
        left -= len(block)
        if left < 0:
            raise ValueError(f"expected a MATLAB file of at most {max_bytes} bytes, got more")
        matrices = list(_elements(block, order)) if packed else [(kind, body)]
        for inner, matrix in matrices:
            if inner == _MATRIX:
                name, value = _read_matrix(matrix, order, MAX_DEPTH)
                found |= {name: value} if not names or name in names else {}
    return found


def _unpack(body: memoryview, limit: int, *, is_head: bool = False) -> memoryview:
    """Unpack up to `limit` bytes, or one more if there are more."""
    try:
        stream = zlib.decompressobj()
        return memoryview(stream.decompress(body, max(limit, 0) + (0 if is_head else 1)))
    except zlib.error as error:
        raise ValueError(f"expected packed data, got {error}") from error


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield (kind, body) of each data element."""
    at = 0
    while at + 8 <= len(data):
        kind, length = _integers(data[at : at + 8], order)
        if kind >> 16:  # a small element has its body inside the tag
            kind, length, start, size = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            padding = 0 if kind == _COMPRESSED else -length % 8
            start, size = at + 8, 8 + length + padding
        if start + length > len(data) or (size == 8 and length > 8):
            raise ValueError(f"expected {length} bytes of an element, got {len(data) - start}")
        yield kind, data[start : start + length]
        at += size


def _integers(data: memoryview, order: str) -> list[int]:
    values: list[int] = np.frombuffer(data, f"{order}u4").tolist()
    return values


def _read_matrix(body: memoryview, order: str, depth: int) -> tuple[str, NDArray[Any]]:
    """Read the name and value of a matrix element."""
    if not len(body):  # an empty cell
        return "", np.zeros((0, 0))
    if depth == 0:
        raise ValueError(f"expected at most {MAX_DEPTH} levels of cells, got more")
    name, kind, shape, parts = _read_head(body, order)
    count = math.prod(shape)
    if count > len(body):
        raise ValueError(f"expected at most {len(body)} values, got the shape {shape}")
    if kind == _CELL:
        cells = [_read_matrix(part, order, depth - 1)[1] for _, part in parts]
        if len(cells) != count:
            raise ValueError(f"expected {count} cells, got {len(cells)}")
        value: NDArray[Any] = np.empty(count, object)
        value[:] = [None] * count
        for index, cell in enumerate(cells):
            value[index] = cell
        return name, value.reshape(shape, order="F")
    if kind == _CHAR:
        return name, _read_text(parts, shape, order)
    if kind in _NUMBER_CLASSES:
        numbers = _read_numbers(*_first(parts), order)
        if len(numbers) != count:
            raise ValueError(f"expected {count} numbers, got {len(numbers)}")
        return name, numbers.reshape(shape, order="F")
    raise ValueError(f"expected cells, text or numbers, got the class {kind}")


_Parts = Iterator[tuple[int, memoryview]]


def _read_head(body: memoryview, order: str) -> tuple[str, int, tuple[int, ...], _Parts]:
    """Read the name, class and shape of a matrix, and the elements that follow."""
    parts = _elements(body, order)
    _, flags = _first(parts)
    kind, dimensions = _first(parts)
    shape = tuple(_read_numbers(kind, dimensions, order).tolist())
    _, name = _first(parts)
    if len(flags) != 8 or not 2 <= len(shape) <= 8 or min(shape) < 0:
        raise ValueError(f"expected an array of 2 dimensions or more, got the shape {shape}")
    return bytes(name).decode("latin-1"), _integers(flags, order)[0] & 0xFF, shape, parts


def _peek_name(head: memoryview, order: str) -> str:
    """Read the name of the matrix from the beginning of an unpacked element."""
    parts = _elements(head[8:], order)
    for _ in range(2):
        _first(parts)
    return bytes(_first(parts)[1]).decode("latin-1")


def _first(parts: _Parts) -> tuple[int, memoryview]:
    try:
        return next(parts)
    except StopIteration:
        raise ValueError("expected another element, found the end") from None


def _read_numbers(kind: int, body: memoryview, order: str) -> NDArray[Any]:
    if kind not in _KINDS:
        raise ValueError(f"expected numbers, got elements of kind {kind}")
    dtype = np.dtype(f"{order}{_KINDS[kind]}")
    return np.frombuffer(body[: len(body) // dtype.itemsize * dtype.itemsize], dtype)


def _read_text(parts: _Parts, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """Return the rows of a character matrix as strings, (rows,)."""
    if not math.prod(shape):
        return np.zeros(0, "U1")
    kind, body = _first(parts)
    if kind in _ENCODINGS:
        ending = "" if kind == 16 else ("-le" if order == "<" else "-be")
        characters = list(bytes(body).decode(_ENCODINGS[kind] + ending, "replace"))
    else:
        characters = [chr(code) for code in _read_numbers(kind, body, order).tolist() if code >= 0]
    if len(characters) != math.prod(shape):
        raise ValueError(f"expected {math.prod(shape)} characters, got {len(characters)}")
    table = np.array(characters, "U1").reshape(shape[0], -1, order="F")
    return np.array(["".join(row) for row in table.tolist()])
