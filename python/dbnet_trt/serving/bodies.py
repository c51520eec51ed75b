# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image from the body of a request: raw, multipart or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from ..files import parse_json

MULTIPART, JSON = "multipart/form-data", "application/json"
RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Content types, besides image/*, of a body that is the file itself; the second is what curl sends
with --data-binary, the third none at all."""

MAX_JSON_VALUES = 10_000
"""Largest number of values in a JSON body, counted by its commas and brackets."""


def image_bytes(body: bytes, content_type: str) -> bytes:
    """Return the bytes of the image file that a body holds.

    Args:
        body: The whole body.
        content_type: The header Content-Type, "" without one.

    Raises:
        HTTPException: 400 for a body that is not what its type says, 415 for another type.
    """
    kind, parameters = parse_options_header(content_type.encode("latin-1", "replace"))
    name = kind.decode("latin-1").lower()
    if name == MULTIPART:
        return _from_multipart(body, parameters.get(b"boundary", b""))
    if name == JSON:
        return _from_json(body)
    if name in RAW or name.startswith("image/"):
        if not body:
            raise HTTPException(400, "the body is empty; send the bytes of an image file")
        return body
    raise HTTPException(
        415,
        f"expected an image as the body (image/* or application/octet-stream), {MULTIPART} or "
        f"{JSON}, got {name[:100]!r}",
    )


class _Part:
    """The one part of a multipart body."""

    def __init__(self) -> None:
        self.num_parts = 0
        self.data: list[bytes] = []
        self.disposition = b""
        self._header = b""
        self._value = b""

    def callbacks(self) -> Any:
        """Return the functions that the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.data.append(data[start:end]),
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
        }

    def _begin(self) -> None:
        self.num_parts += 1
        if self.num_parts > 1:
            raise HTTPException(
                400, "expected one part with one image; send one request for each image"
            )

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self.disposition = self._value
        self._header = self._value = b""


def _from_multipart(body: bytes, boundary: bytes) -> bytes:
    part = _Part()
    try:
        parser = MultipartParser(boundary, part.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise HTTPException(400, f"the multipart body is malformed: {error}") from error
    except ValueError as error:  # of the boundary
        raise HTTPException(400, f"the multipart boundary is missing or wrong: {error}") from error
    _, parameters = parse_options_header(part.disposition)
    name = parameters.get(b"name", b"").decode("utf-8", "replace")
    if part.num_parts == 0 or name != "file":
        got = f"one named {name[:100]!r}" if part.num_parts else "no complete part"
        raise HTTPException(400, f'expected a part named "file" with the image, got {got}')
    data = b"".join(part.data)
    if not data:
        raise HTTPException(400, 'the part "file" is empty; choose an image file')
    return data


def parse_body(body: bytes) -> Any:
    """Parse a JSON body.

    Few values are enough for images. Millions of small ones, such as "[[],[],...]", would take
    twenty times the memory of the body, and no other request goes on while they are parsed.

    Raises:
        HTTPException: 400, it is not JSON, or has more than `MAX_JSON_VALUES`.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise HTTPException(400, f"the body is JSON of more than {MAX_JSON_VALUES} values")
    try:
        return parse_json(body.decode("utf-8"))
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from error


def _from_json(body: bytes) -> bytes:
    fields = parse_body(body)
    if not isinstance(fields, dict) or set(fields) != {"image"}:
        raise HTTPException(400, 'expected JSON with the one field "image"')
    return decode_base64(fields["image"], '"image"')


def decode_base64(text: object, name: str) -> bytes:
    """Decode base64, with or without "data:...;base64," before it.

    Raises:
        HTTPException: 400, it is not base64; addresses are not fetched.
    """
    if not isinstance(text, str) or not text:
        raise HTTPException(400, f"{name} must be the base64 text of an image file")
    start = text[:100]
    if start.startswith("data:"):
        _, comma, text = text.partition(";base64,")
        if not comma:
            raise HTTPException(400, f'{name} begins with "data:" but has no ";base64,"')
    elif "://" in start:
        raise HTTPException(400, f"{name} is an address, which is never fetched; send the bytes")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"{name} is not base64: {error}") from error
    if not data:
        raise HTTPException(400, f"{name} is empty; send the bytes of an image file")
    return data
