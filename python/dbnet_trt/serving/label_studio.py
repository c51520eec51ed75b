# SPDX-License-Identifier: Apache-2.0
"""The routes that Label Studio asks of an ML backend, for files below one folder.

Defined at https://labelstud.io/guide/ml_create; images that Label Studio holds itself would have to
be fetched from it, and no address is ever fetched.
"""

from __future__ import annotations

from itertools import chain, starmap
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ..data.label_studio import make_prediction
from ..errors import ImageError
from ..images.decode import read_file
from ..images.sources import real_path
from ..settings import DetectOptions
from .batching import all_or_none
from .routes import PROBLEMS, Service


class PredictRequest(BaseModel):
    """Tasks to predict; other fields that Label Studio sends are not needed."""

    tasks: list[dict[str, Any]]


def label_studio_routes(service: Service, root: Path) -> APIRouter:
    """Make the routes of `/label-studio`, the address to give to Label Studio.

    Args:
        service: What the routes share.
        root: Label Studio's document root for local files.
    """
    router = APIRouter(prefix="/label-studio", tags=["Label Studio"])
    name = service.detector.card.name
    folder = Path(real_path(root))

    @router.get("/health", summary="Tell whether the backend answers")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "dbnet_trt"}

    @router.post("/setup", summary="Name the model")
    async def setup() -> dict[str, str]:
        return {"model_version": name}

    @router.post("/webhook", summary="Take note of an event; nothing is learnt from it")
    async def webhook() -> dict[str, str]:
        return {}

    @router.post("/predict", responses=PROBLEMS, summary="Predict the text in images of tasks")
    async def predict(asked: PredictRequest) -> dict[str, Any]:
        limit = service.config.max_images
        if len(asked.tasks) > limit:
            raise HTTPException(422, f"expected at most {limit} tasks, got {len(asked.tasks)}")
        files = [find_image(task, place, folder) for place, task in enumerate(asked.tasks)]
        options: DetectOptions = {"size": service.size}

        async def answer(path: Path, shown: str) -> dict[str, Any]:
            result: dict[str, Any] = await service.batcher.detect(
                lambda: service.load(_read(path, shown), shown),
                lambda image, found: make_prediction(found, image.shape[:2], name),
                options,
            )
            return result

        return {"results": await all_or_none(starmap(answer, files))}

    return router


def _read(path: Path, shown: str) -> bytes:
    """Read an image file, whose place on this machine no error tells."""
    try:
        return read_file(path)
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), shown)) from error


def _names(value: object) -> list[str]:
    """Return the names of local files in an address; none if it is no address of one."""
    try:
        return parse_qs(urlparse(value).query).get("d", []) if isinstance(value, str) else []
    except ValueError:  # as of "http://["
        return []


def find_image(task: dict[str, Any], place: int, root: Path) -> tuple[Path, str]:
    """Find the image file of a task, `?d=` in the address of a local file.

    Args:
        task: Label Studio's task.
        place: Place of the task in the request, from 0, which names a task without an id.
        root: Folder that holds the images, without links in its path.

    Returns:
        The file, and its name as the task has it, 200 characters at most.

    Raises:
        HTTPException: 422, the task has no local file, or it does not lie in the folder.
    """
    data = task.get("data")
    for name in chain.from_iterable(map(_names, data.values() if isinstance(data, dict) else ())):
        path, shown = Path(real_path(root / name.lstrip("/"))), name[:200]
        if path.is_relative_to(root) and path.is_file():
            return path, shown
        raise HTTPException(422, f"there is no file {shown!r} in the folder of images")
    named = f"task {str(task['id'])[:50]}" if "id" in task else f"tasks[{place}]"
    raise HTTPException(
        422,
        f"{named} names no local file (/data/local-files/?d=...); images that Label Studio holds "
        "itself are not fetched: serve them from a folder",
    )
