# SPDX-License-Identifier: Apache-2.0
"""A tiny model, a folder of images, and a worker for a part of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.bulk.config import BulkConfig, DetectorSpec
from dbnet_trt.bulk.inputs import find_inputs
from dbnet_trt.bulk.plan import Plan, extend_plan
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Job, Worker
from fakes.documents import make_folder
from fakes.tiny_model import make_model

pytest.importorskip("pyarrow")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine images, a damaged file, a video and a document of five pages: 16 rows."""
    folder = make_folder(tmp_path / "in")
    (folder / "1" / "film.mp4").write_bytes(b"a film")
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
