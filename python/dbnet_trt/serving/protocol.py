# SPDX-License-Identifier: Apache-2.0
"""The open inference protocol (KServe v2) over HTTP, with Triton's extension for binary data.

https://github.com/kserve/open-inference-protocol; names and shapes are those of our model
repository for Triton, so that clients work with both.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import __version__
from ..building.triton import pack
from ..detections import Detections
from ..errors import ImageError
from .batching import all_or_none
from .bodies import decode_base64, parse_body
from .routes import Options, Service

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header with the length of the JSON before the binary data."""

INPUT = {"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}
OUTPUTS = (
    {"name": "QUADS", "datatype": "FP32", "shape": [-1, -1, 4, 2]},
    {"name": "SCORES", "datatype": "FP32", "shape": [-1, -1]},
    {"name": "COUNT", "datatype": "INT32", "shape": [-1, 1]},
)
DATATYPES = {str(each["name"]): str(each["datatype"]) for each in OUTPUTS}

OWN_PARAMETERS = ("binary_data_output", "priority", "timeout", "sequence_id", "sequence_start",
                  "sequence_end")  # fmt: skip
"""Parameters of a request that clients of Triton send; the others are options of detection."""


class ServerMetadata(BaseModel):
    """Name and version of the server."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """Inputs and outputs of the model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


class Failure(BaseModel):
    """What went wrong, and what to do."""

    error: str


FAILURES: dict[int | str, dict[str, Any]] = {
    code: {"model": Failure} for code in (400, 401, 404, 408, 413, 415, 422, 500, 503, 504)
}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request whose form is right."""

    id: str | None
    images: list[bytes]
    outputs: dict[str, bool]
    """Outputs to return, and whether as binary data."""

    options: Options


def protocol_routes(service: Service) -> APIRouter:
    """Make the routes of `/v2`."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    model = model_name(service.detector.card.name)

    def check_model(name: str) -> None:
        if name != model:
            raise HTTPException(404, f'there is no model "{name[:100]}"; there is "{model}"')

    @router.get("", summary="Describe the server")
    async def server() -> ServerMetadata:
        return ServerMetadata(
            name="dbnet_trt", version=__version__, extensions=["binary_tensor_data"]
        )

    @router.get("/health/live", response_class=Response, summary="Tell whether the server answers")
    @router.get(
        "/health/ready", response_class=Response, summary="Tell whether the server is ready"
    )
    async def health() -> Response:
        return Response()

    @router.get("/models/{name}", responses={404: FAILURES[404]}, summary="Describe the model")
    async def describe(name: str) -> ModelMetadata:
        check_model(name)
        return ModelMetadata(
            name=model, versions=["1"], platform="dbnet_trt", inputs=[INPUT], outputs=list(OUTPUTS)
        )

    @router.get(
        "/models/{name}/ready",
        response_class=Response,
        responses={404: FAILURES[404]},
        summary="Tell whether the model is ready",
    )
    async def model_ready(name: str) -> Response:
        check_model(name)
        return Response()

    @router.post(
        "/models/{name}/infer",
        response_class=Response,
        responses=FAILURES,
        summary="Detect the text in several images",
        openapi_extra={
            "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}
        },
    )
    async def infer(request: Request, name: str) -> Response:
        check_model(name)
        length = request.headers.get(HEADER_LENGTH)
        asked = parse_request(await request.body(), length, service.config.max_images)
        return await _infer(service, model, asked)

    return router


def model_name(card_name: str) -> str:
    """Return a model's name as its folder in a repository for Triton has it."""
    return re.sub(r"[^\w.-]+", "_", card_name)


async def _infer(service: Service, model: str, asked: InferRequest) -> Response:
    options = service.detect_options(asked.options)

    async def detect(index: int, data: bytes) -> Detections:
        return await service.batcher.detect(
            lambda: service.load(data, f"image {index}"), lambda _, found: found, options
        )

    try:
        found = await all_or_none(detect(i, data) for i, data in enumerate(asked.images))
    except ImageError as error:
        raise HTTPException(400, str(error)) from error
    return encode_response(model, asked, pack(found))


def parse_request(body: bytes, header_length: str | None, max_images: int) -> InferRequest:
    """Read a request for inference.

    Args:
        body: JSON, with the binary data of its tensor behind it.
        header_length: Length of the JSON, from its header; None if it is the whole body.
        max_images: Maximum number of images.

    Raises:
        HTTPException: 400, the request does not follow the protocol.
    """
    binary: bytes | None = None
    if header_length is not None:
        if not (header_length.isdecimal() and int(header_length[:20]) <= len(body)):
            raise _bad(f"{HEADER_LENGTH} must be at most the {len(body)} bytes of the body")
        body, binary = body[: int(header_length)], body[int(header_length) :]
    fields = _typed(parse_body(body), dict, "the body")
    parameters = _parameters(fields)
    as_binary = parameters.get("binary_data_output", False) is True
    identity = fields.get("id")
    return InferRequest(
        None if identity is None else _typed(identity, str, "id"),
        _images(fields, binary, max_images),
        _outputs(fields, as_binary),
        _options(parameters),
    )


def _images(fields: dict[str, Any], binary: bytes | None, max_images: int) -> list[bytes]:
    inputs = _typed(fields.get("inputs"), list, "inputs")
    if len(inputs) != 1:
        raise _bad(f'expected one input, "IMAGE", got {len(inputs)}')
    tensor = _typed(inputs[0], dict, "the input")
    for name in ("name", "datatype"):
        if tensor.get(name) != INPUT[name]:
            got = str(tensor.get(name))[:100]
            raise _bad(f'expected an input with {name} "{INPUT[name]}", got {got!r}')
    shape = _typed(tensor.get("shape"), list, "shape")
    if not shape or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _bad(f"shape must be a list of whole numbers, got {str(shape)[:100]}")
    count = math.prod(shape)
    if not 1 <= count <= max_images:
        raise _bad(f"expected 1 to {max_images} images in a request, got shape {str(shape)[:100]}")
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        if binary is None or size != len(binary):
            there = "none" if binary is None else str(len(binary))
            raise _bad(f"binary_data_size is {str(size)[:20]}, but {there} bytes follow the JSON")
        images = split_bytes(binary)
    else:
        data = _typed(tensor.get("data"), list, "data")
        if len(data) > max_images:
            raise _bad(f"expected at most {max_images} images in a request, got {len(data)}")
        images = [decode_base64(each, "an image in JSON") for each in data]
    if len(images) != count:
        raise _bad(f"shape {shape} asks for {count} images, got {len(images)}")
    return images


def split_bytes(data: bytes) -> list[bytes]:
    """Split the binary data of a BYTES tensor: each element has its length, uint32, before it.

    Raises:
        HTTPException: 400, an element is cut off.
    """
    found, start = [], 0
    while start < len(data):
        if len(data) - start < 4:
            raise _bad("the binary data end within the length of an element")
        (size,) = struct.unpack_from("<I", data, start)
        start += 4
        if size > len(data) - start:
            raise _bad(f"an element of {size} bytes has only {len(data) - start}")
        found.append(data[start : start + size])
        start += size
    return found


def _outputs(fields: dict[str, Any], as_binary: bool) -> dict[str, bool]:
    if fields.get("outputs") is None:
        return dict.fromkeys(DATATYPES, as_binary)
    chosen = {}
    for each in _typed(fields["outputs"], list, "outputs"):
        name = _typed(each, dict, "an output").get("name")
        if not isinstance(name, str) or name not in DATATYPES:
            raise _bad(f"there is no output {str(name)[:100]!r}; there are {', '.join(DATATYPES)}")
        chosen[name] = _parameters(each).get("binary_data", as_binary) is True
    return chosen


def _options(parameters: dict[str, Any]) -> Options:
    given = {name: value for name, value in parameters.items() if name not in OWN_PARAMETERS}
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise _bad(f"parameter {name[:100]}: {first['msg']}") from error


def _parameters(fields: dict[str, Any]) -> dict[str, Any]:
    return _typed(fields.get("parameters") or {}, dict, "parameters")


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        names: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
        raise _bad(f"{name} must be {names[kind]}, got {type(value).__name__}")
    return value


def _bad(message: str) -> HTTPException:
    return HTTPException(400, message)


def encode_response(model: str, asked: InferRequest, tensors: dict[str, np.ndarray]) -> Response:
    """Make the answer: JSON, and the binary data of the outputs that were asked for as such."""
    outputs, binary = [], []
    for name, is_binary in asked.outputs.items():
        tensor = tensors[name]
        output: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[name],
            "shape": list(tensor.shape),
        }
        if is_binary:
            binary.append(tensor.tobytes())
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = tensor.ravel().tolist()
        outputs.append(output)
    fields: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": outputs}
    if asked.id is not None:
        fields["id"] = asked.id
    header = json.dumps(fields).encode()
    if not binary:
        return Response(header, media_type="application/json")
    return Response(
        header + b"".join(binary),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(header))},
    )
