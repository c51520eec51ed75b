# SPDX-License-Identifier: Apache-2.0
"""The routes of the server but those of the open inference protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import cv2
import numpy as np
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..detections import Detections
from ..detector import Detector
from ..images.decode import decode
from ..images.load import Image
from ..settings import MAX_UNCLIP_RATIO, DetectOptions, SizePolicy
from .batching import Batcher
from .bodies import JSON, MULTIPART, image_bytes
from .config import ServerConfig
from .metrics import Metrics
from .pages import html_response, page_html, reference_html

JPEG_QUALITY = 90
MAX_CANDIDATES = 10_000
"""Largest number of detections that a client may ask for."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes share."""

    detector: Detector
    batcher: Batcher
    config: ServerConfig
    metrics: Metrics
    max_pixels: int
    size: SizePolicy

    def load(self, data: bytes, name: str = "the image") -> Image:
        """Decode the bytes of an image file, within the limit on its pixels."""
        return decode(data, name, max_pixels=self.max_pixels)

    def detect_options(self, options: Options) -> DetectOptions:
        """Convert a client's options.

        Raises:
            HTTPException: 422, the short side is over the limit.
        """
        given: dict[str, Any] = options.model_dump(
            include=set(Options.model_fields), exclude={"short_side"}, exclude_none=True
        )
        given["size"] = self.size
        if options.short_side is not None:
            limit = self.config.max_short_side
            if options.short_side > limit:
                raise HTTPException(
                    422, f"short_side must be at most {limit} pixels, got {options.short_side}"
                )
            longest = max(self.size.long_side_limit, options.short_side)
            given["size"] = SizePolicy(options.short_side, longest)
        return cast(DetectOptions, given)


class Options(BaseModel):
    """Options of one detection; the server's apply where they are left out."""

    model_config = ConfigDict(extra="forbid")

    binary_threshold: float | None = Field(
        None, ge=0, le=1, description="Probability above which a pixel is text."
    )
    score_threshold: float | None = Field(
        None, ge=0, le=1, description="Minimum score of a detection."
    )
    unclip_ratio: float | None = Field(
        None, ge=0, le=MAX_UNCLIP_RATIO, description="Growth of outlines; 0 leaves them shrunk."
    )
    max_candidates: int | None = Field(
        None, ge=1, le=MAX_CANDIDATES, description="Maximum number of detections; the best stay."
    )
    polygons: bool | None = Field(None, description="Also return polygons that follow curved text.")
    short_side: int | None = Field(
        None, ge=32, description="Short side of the network's input in pixels, up to a limit."
    )


class DetectQuery(Options):
    """Options of `/detect`."""

    format: Literal["json", "jpeg", "png"] = Field(
        "json", description="Numbers, or the picture with the outlines drawn on it."
    )


class Found(BaseModel):
    """Text found in one image, the best score first."""

    model: str = Field(description="Name of the model.")
    width: int = Field(description="Width of the upright image in pixels.")
    height: int = Field(description="Height of the upright image in pixels.")
    quads: list[list[list[float]]] = Field(
        description="N quads: 4 corners (x, y) in pixels, clockwise from the text's top left; "
        "to 0.01 pixel."
    )
    scores: list[float] = Field(description="N scores between 0 and 1, to 0.0001.")
    polygons: list[list[list[float]]] | None = Field(
        None, description="N outlines (x, y) in pixels, if polygons were asked for."
    )


class Problem(BaseModel):
    """What went wrong, and what to do."""

    detail: str


class Status(BaseModel):
    """State of the server."""

    status: Literal["live", "ready"]


BODY = {
    "required": True,
    "content": {
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        JSON: {
            "schema": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {"image": {"type": "string", "contentEncoding": "base64"}},
            }
        },
    },
}
"""Bodies of `/detect` in OpenAPI."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is malformed."},
    401: {"model": Problem, "description": "The key is missing or wrong."},
    408: {"model": Problem, "description": "The body did not arrive in time."},
    413: {"model": Problem, "description": "The body is too large."},
    415: {"model": Problem, "description": "The body is of another type."},
    422: {"model": Problem, "description": "The image or an option is wrong."},
    500: {"model": Problem, "description": "The server failed."},
    503: {"model": Problem, "description": "The server is busy; see Retry-After."},
    504: {"model": Problem, "description": "There was no result in time."},
}

PICTURE = {"schema": {"type": "string", "format": "binary"}}


class DetectRoute(APIRoute):
    """Route with a `DetectQuery`, which is read here.

    FastAPI describes it in the reference; its own reading takes as long as everything else that it
    does for a request, since it inspects the type of each field anew.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""

        async def handle(request: Request) -> Response:
            try:
                query = DetectQuery.model_validate(dict(request.query_params))
            except ValidationError as error:
                faults = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
                raise RequestValidationError(faults) from error
            response: Response = await self.endpoint(request, query)
            return response

        return handle


def detection_routes(service: Service) -> APIRouter:
    """Make `POST /detect`."""
    router = APIRouter(tags=["detection"], route_class=DetectRoute)

    @router.post(
        "/detect",
        response_model=None,
        responses={
            200: {"model": Found, "content": {"image/jpeg": PICTURE, "image/png": PICTURE}},
            **PROBLEMS,
        },
        openapi_extra={"requestBody": BODY},
        summary="Detect the text in one image",
    )
    async def detect(request: Request, query: Annotated[DetectQuery, Query()]) -> Response:
        options = service.detect_options(query)
        body, kind = await request.body(), request.headers.get("content-type", "")

        def answer(image: Image, found: Detections) -> Response:
            if query.format != "json":
                return draw(image, found, query.format)
            return Response(
                to_json(service.detector.card.name, image, found), media_type="application/json"
            )

        return await service.batcher.detect(
            lambda: service.load(image_bytes(body, kind)), answer, options
        )

    return router


def operation_routes(service: Service, app: FastAPI) -> APIRouter:
    """Make the routes for people and operators: page, reference, health, metrics."""
    router = APIRouter()
    params = service.detector.params
    settings = {
        "model": service.detector.card.name,
        "short_side": service.size.short_side,
        "max_short_side": service.config.max_short_side,
        "binary_threshold": params.binary_threshold,
        "score_threshold": params.score_threshold,
        "unclip_ratio": params.unclip_ratio,
        "polygons": params.polygons,
    }
    page = html_response(page_html(settings))

    @router.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return page

    @router.get("/docs", include_in_schema=False)
    async def show_reference() -> Response:
        return html_response(reference_html(app.openapi()))

    @router.get("/health/live", summary="Tell whether the process answers", tags=["operation"])
    async def live() -> Status:
        return Status(status="live")

    @router.get("/health/ready", summary="Tell whether the model is loaded", tags=["operation"])
    async def ready() -> Status:  # the model is opened before the server listens
        return Status(status="ready")

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            401: PROBLEMS[401],
        },
        summary="Return metrics for Prometheus",
        tags=["operation"],
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def to_json(model: str, image: Image, found: Detections) -> bytes:
    """Return the detections in one image as JSON; coordinates have two decimals, scores four."""
    height, width = image.shape[:2]
    fields: dict[str, Any] = {
        "model": model,
        "width": width,
        "height": height,
        "quads": _rounded(found.quads, 2),
        "scores": _rounded(found.scores, 4),
    }
    if found.polygons is not None:
        fields["polygons"] = [_rounded(polygon, 2) for polygon in found.polygons]
    return json.dumps(fields, separators=(",", ":")).encode()


def _rounded(values: np.ndarray, decimals: int) -> Any:
    return np.round(values.astype(np.float64), decimals).tolist()


def draw(image: Image, found: Detections, kind: str) -> Response:
    """Return the image with the outlines drawn on it, as JPEG or PNG.

    Raises:
        HTTPException: 422, the image is too large for the format.
    """
    suffix = ".jpg" if kind == "jpeg" else ".png"
    flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    try:
        done, data = cv2.imencode(suffix, found.plot(image), flags)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise HTTPException(
            422, f"{width}x{height} pixels are too many for {kind}; ask for png or json"
        )
    return Response(data.tobytes(), media_type=f"image/{kind}")
