# SPDX-License-Identifier: Apache-2.0
"""The application: routes, errors and limits around one detector."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import __version__
from ..detector import Detector
from ..errors import EngineError, ImageError
from ..settings import SizePolicy
from .batching import Batcher
from .config import MAX_PIXELS, ServerConfig
from .guard import Guard, problem
from .label_studio import label_studio_routes
from .metrics import Metrics
from .protocol import protocol_routes
from .routes import Service, detection_routes, operation_routes

logger = logging.getLogger("dbnet_trt.serving")

DESCRIPTION = (
    "Outlines of the text in images. Nothing that is sent is kept, and no address is fetched."
)


def create_app(
    detector: Detector,
    config: ServerConfig | None = None,
    *,
    keys: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
    size: SizePolicy | None = None,
    label_studio: Path | None = None,
) -> FastAPI:
    """Make the ASGI application.

    Args:
        detector: Detector that answers.
        config: Batches and limits; None takes the defaults.
        keys: API keys, one of which each request must have; none leaves the server open.
        max_pixels: Limit on width x height of an image, checked before it is decoded.
        size: Size of images in the network, for requests that do not set it; None takes the
            detector's.
        label_studio: Folder of the images for which Label Studio's ML backend is answered; None
            leaves its routes out.
    """
    config = config or ServerConfig()
    metrics = Metrics()
    batcher = Batcher(detector, config, metrics)
    service = Service(detector, batcher, config, metrics, max_pixels, size or detector.size)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(
        title="dbnet_trt",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(detection_routes(service))  # first, as routes are tried in order
    app.include_router(operation_routes(service, app))
    app.include_router(protocol_routes(service))
    if label_studio is not None:
        app.include_router(label_studio_routes(service, label_studio))
    for kind in (HTTPException, RequestValidationError, ImageError, EngineError):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(Guard, config=config, keys=keys, metrics=metrics)
    return app


async def _answer(request: Request, error: Any) -> Response:
    """Turn an error into an answer."""
    path = request.url.path
    match error:
        case HTTPException():
            headers = dict(error.headers) if error.headers else None
            return problem(path, error.status_code, error.detail, headers)
        case RequestValidationError():
            return problem(path, 422, "; ".join(_describe(each) for each in error.errors()))
        case ImageError():
            return problem(path, 422, str(error))
    logger.error("the model failed: %s", error)
    return problem(path, 500, "the model failed; the server's log says why")


def _describe(fault: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in fault["loc"][1:])
    return f"{name[:100]}: {fault['msg']}, got {str(fault.get('input'))[:100]!r}"
