# SPDX-License-Identifier: Apache-2.0
"""Rows of a part say what `Detector` says, and everything that fails is a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from dbnet_trt import Detector, EngineError, read_pages
from dbnet_trt.bulk.config import BulkConfig
from dbnet_trt.bulk.plan import Plan
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Worker
from fakes.tiny_model import scene
from pyarrow import fs, parquet

Make = Callable[..., tuple[Worker, Plan]]


def rows_of(worker: Worker, plan: Plan, tmp_path: Path) -> list[dict[str, Any]]:
    rows = []
    for part in plan.parts():
        told = worker.run(part)
        found = parquet.read_table(tmp_path / "out" / part.name).to_pylist()
        assert told.num_rows == len(found)
        assert told.num_errors == sum(row["error"] is not None for row in found)
        assert told.num_texts == sum(len(row["scores"] or ()) for row in found)
        rows += found
    return rows


def test_rows_are_what_the_detector_finds(
    make_worker: Make, folder: Path, model: str, tmp_path: Path
) -> None:
    rows = rows_of(*make_worker([str(folder)], BulkConfig(images_per_part=5)), tmp_path)
    assert len(rows) == 16
    detector = Detector(model)
    good = [row for row in rows if row["error"] is None]
    for row in good:
        image = next(
            page.image for page in read_pages(row["path"]) if page.number == (row["page"] or 1)
        )
        assert (row["height"], row["width"]) == image.shape[:2]
        found = detector.detect(image)
        np.testing.assert_allclose(np.array(row["quads"]), found.quads, atol=0.006)
        np.testing.assert_allclose(row["scores"], found.scores, atol=1e-4)
        assert row["polygons"] is row["texts"] is row["confidences"] is None
    assert sum(len(row["scores"]) for row in good) > 20
    assert [row["page"] for row in rows if row["path"].endswith(".tif")] == [1, 2, 3, 4, 5]


def test_what_cannot_be_read_is_a_row(make_worker: Make, folder: Path, tmp_path: Path) -> None:
    missing = str(folder / "none.jpg")
    (tmp_path / "more.txt").write_text(f"{missing}\nnowhere://x/b.jpg\n")
    rows = rows_of(*make_worker([str(folder), str(tmp_path / "more.txt")]), tmp_path)
    errors = {Path(row["path"]).name: row["error"] for row in rows if row["error"]}
    assert errors.keys() == {"damaged.jpg", "film.mp4", "none.jpg", "b.jpg"}
    assert errors["b.jpg"].startswith("nowhere://x/b.jpg cannot be read: nowhere://x")
    assert "video" in errors["film.mp4"]
    assert errors["none.jpg"] == f"there is no file {missing}"


def test_polygons_pages_and_options(make_worker: Make, folder: Path, tmp_path: Path) -> None:
    config = BulkConfig(pages="2-3")
    options = {"options": {"polygons": True}, "short_side": 256}
    worker, plan = make_worker([str(folder / "2" / "scan.tif")], config, **options)
    rows = rows_of(worker, plan, tmp_path)
    assert [row["page"] for row in rows] == [2, 3]
    assert all(len(row["polygons"]) == len(row["scores"]) for row in rows)
    told = worker.describe()
    assert (told["model"], told["short_side"], told["pages"]) == ("tiny", 256, "2-3")


def encoded(path: Path, names: list[str] | None, group: int = 2) -> list[bytes]:
    import cv2

    images = [cv2.imencode(".png", scene(num_texts=1 + i))[1].tobytes() for i in range(4)]
    table = {"image": [*images, b"no picture", None]}
    if names is not None:
        table["id"] = names
    parquet.write_table(pyarrow.table(table), path, row_group_size=group)
    return images


@pytest.mark.parametrize("names", [None, list("abcdef")])
def test_encoded_images(make_worker: Make, names: list[str] | None, tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    encoded(path, names)
    worker, plan = make_worker([str(path)])
    assert len(list(plan.parts())) == 3
    rows = rows_of(worker, plan, tmp_path)
    assert [row["path"] for row in rows] == (names or [f"{path}#{i}" for i in range(6)])
    assert [len(row["scores"] or ()) for row in rows] == [1, 2, 3, 4, 0, 0]
    assert all(row["path"] in row["error"] for row in rows[4:])
    assert not list(tmp_path.glob("**/dbnet-*"))


def test_another_file_system(make_worker: Make, folder: Path, tmp_path: Path) -> None:
    """It stands in for an object store: nothing in it has a path on this machine."""
    elsewhere = Storage(fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()))
    rows = rows_of(*make_worker(["1", "2"], images=elsewhere), tmp_path)
    local = rows_of(*make_worker([str(folder / "1"), str(folder / "2")]), tmp_path)
    for row, other in zip(rows, local, strict=True):
        assert str(folder / row["path"]) == other["path"]
        assert {**row, "path": 0, "error": 0} == {**other, "path": 0, "error": 0}
        assert (row["error"] is None) == (other["error"] is None)
    errors = [row["error"] for row in rows if row["path"] == "1/damaged.jpg"]
    assert errors[0].startswith("1/damaged.jpg")


class Failing:
    """A detector whose network fails on images of some heights."""

    def __init__(self, detector: Detector, heights: set[int]) -> None:
        self._detector, self._heights = detector, heights
        self.num_calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    def detect(self, image: Any, **options: Any) -> Any:
        self.num_calls += 1
        if image.shape[0] in self._heights:
            raise EngineError("there is not enough memory")
        return self._detector.detect(image, **options)

    def stream(self, frames: Iterable[Any], **options: Any) -> Any:
        def checked() -> Iterator[Any]:
            for frame in frames:
                if frame is not None:
                    self.detect(frame)
                yield frame

        return self._detector.stream(checked(), **options)


def test_an_image_that_the_network_fails_on_is_a_row(
    make_worker: Make, folder: Path, tmp_path: Path
) -> None:
    worker, plan = make_worker([str(folder)])
    worker._detector = Failing(worker._detector, {103})  # type: ignore[assignment]
    rows = rows_of(worker, plan, tmp_path)
    errors = {Path(row["path"]).name: row["error"] for row in rows if row["error"]}
    assert errors["03.png"] == "there is not enough memory"
    assert len(errors) == 3
    assert len(rows) == 16


def test_images_are_to_blame_if_the_network_runs_on_others(
    make_worker: Make, folder: Path, tmp_path: Path
) -> None:
    worker, plan = make_worker([str(folder / "0")])
    worker._detector = Failing(worker._detector, set(range(100, 110)))  # type: ignore[assignment]
    rows = rows_of(worker, plan, tmp_path)
    assert [row["error"] for row in rows] == ["there is not enough memory"] * 3


def test_a_network_that_runs_on_nothing_is_an_error(make_worker: Make, folder: Path) -> None:
    worker, plan = make_worker([str(folder)])
    worker._detector = Failing(worker._detector, set(range(1000)))  # type: ignore[assignment]
    with pytest.raises(EngineError, match="enough memory"):
        worker.run(next(plan.parts()))


def test_single_rows_put_together_are_the_part(
    make_worker: Make, folder: Path, tmp_path: Path
) -> None:
    worker, plan = make_worker([str(folder)])
    part = next(plan.parts())
    assert part.num_images > 1
    path = tmp_path / "out" / part.name
    worker.run(part)
    whole = parquet.read_table(path).to_pylist()
    told = [worker.run(replace(part, row=i)) for i in range(part.num_images)]
    assert worker.put_together(part, [each.rows for each in told]).num_rows == len(whole)
    assert parquet.read_table(path).to_pylist() == whole
    worker.put_together(part, [each.rows if i else None for i, each in enumerate(told)])
    assert parquet.read_table(path).to_pylist()[0]["error"].startswith("the process ended")
