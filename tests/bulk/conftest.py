# SPDX-License-Identifier: Apache-2.0
"""A tiny model, a folder of images, and a worker for a part of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from dbnet_trt.bulk.config import BulkConfig, DetectorSpec
from dbnet_trt.bulk.inputs import find_inputs
from dbnet_trt.bulk.plan import Plan, extend_plan
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Job, Worker
from fakes.tiny_model import make_model, scene

pytest.importorskip("pyarrow")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images, a damaged file, a video and a document of five pages: 16 rows."""
    folder = tmp_path / "in"
    for i in range(9):
        path = folder / f"{i % 3}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(100 + i, 150, 1 + i % 4))
    (folder / "1" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / "1" / "film.mp4").write_bytes(b"a film")
    cv2.imwritemulti(str(folder / "2" / "scan.tif"), [scene(num_texts=1 + i % 4) for i in range(5)])
    return folder


@pytest.fixture
def make_worker(model: str, tmp_path: Path) -> Callable[..., tuple[Worker, Plan]]:
    """Plan inputs into `tmp_path/out` and open a worker for them."""

    def make(
        inputs: list[str], config: BulkConfig | None = None, images: Any = None, **options: Any
    ) -> tuple[Worker, Plan]:
        config = config or BulkConfig()
        output, storage, images = str(tmp_path / "out"), Storage(), images or Storage()
        found = find_inputs(inputs, images, output, config.column)
        plan = extend_plan(
            Plan(), found, output, storage, max_images=config.images_per_part, num_actors=1
        )
        spec = DetectorSpec(model, **options)
        return Worker(Job(spec, config, output, images, storage, plan.sources, 1)), plan

    return make
