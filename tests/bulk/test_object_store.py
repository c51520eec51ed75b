# SPDX-License-Identifier: Apache-2.0
"""Bulk runs on a real S3 server on this machine: `pip install 'moto[server]'`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from dbnet_trt import ImageError
from dbnet_trt.bulk import BulkConfig, detect_dataset
from dbnet_trt.bulk.config import DetectorSpec
from dbnet_trt.bulk.inputs import find_inputs
from dbnet_trt.bulk.plan import Plan, extend_plan, read_plan
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Job, Worker
from pyarrow import fs, parquet

server = pytest.importorskip("moto.server")

ODD_NAMES = ("a b#1.png", "c?x=1&y.png", "d%20e.png", "ü.png")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server with an empty bucket `scans`, and its address."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    running.options = f"?endpoint_override={host}:{port}&scheme=http"
    fs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True
    ).create_dir("scans")
    yield running
    running.stop()


@pytest.fixture
def storage(store: Any, folder: Path) -> Storage:
    """A bucket with the images of `folder` and some of odd names, `in/`, and three tables."""
    storage = Storage()
    storage.learn(f"s3://scans/{store.options}")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        storage.write(f"s3://scans/in/{path.relative_to(folder)}", path.read_bytes())
    image = next(path.read_bytes() for path in paths if path.suffix == ".png")
    odd = [f"s3://scans/odd/{name}" for name in ODD_NAMES]
    for uri in odd:
        storage.write(uri, image)
    storage.write("s3://scans/list.txt", "\n".join(odd).encode())
    for name, table in (
        ("paths", {"path": odd}),
        ("images", {"name": ODD_NAMES, "image": [image] * 4}),
    ):
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.table(table), sink)
        storage.write(f"s3://scans/{name}.parquet", sink.getvalue().to_pybytes())
    return storage


Run = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def run(storage: Storage, model: str) -> Run:
    """A function that searches an input into `s3://scans/found` and returns the rows."""

    def run(given: str) -> list[dict[str, Any]]:
        output, config = f"s3://scans/found/{Path(given).name}", BulkConfig()
        found = find_inputs([given], storage, output, None)
        extend_plan(Plan(), found, output, storage, max_images=5, num_actors=1)
        plan = read_plan(output, storage)
        job = Job(DetectorSpec(model), config, output, storage, storage, plan.sources, 1)
        worker = Worker(job)
        for part in plan.parts_left(output, storage):
            worker.run(part)
        assert not plan.parts_left(output, storage)
        names = [name for name in storage.names(output) if name.startswith("part-")]
        tables = [storage.open_parquet(f"{output}/{name}").read() for name in sorted(names)]
        return [row for table in tables for row in table.to_pylist()]

    return run


def test_a_folder_in_a_bucket_gives_the_rows_of_one_on_disk(
    run: Run, make_worker: Any, folder: Path, tmp_path: Path
) -> None:
    rows = run("s3://scans/in")
    worker, plan = make_worker([str(folder)])
    local = []
    for part in plan.parts():
        worker.run(part)
        local += parquet.read_table(tmp_path / "out" / part.name).to_pylist()
    assert len(rows) == len(local) == 16
    for row, other in zip(rows, local, strict=True):
        assert row["path"] == other["path"].replace(str(folder), "s3://scans/in")
        assert row["quads"] == other["quads"]
        assert (row["error"] is None) == (other["error"] is None)


@pytest.mark.parametrize("given", ["odd", "list.txt", "paths.parquet", "images.parquet"])
def test_names_of_any_characters(run: Run, given: str) -> None:
    rows = run(f"s3://scans/{given}")
    names = ODD_NAMES if given.startswith("images") else [f"s3://scans/odd/{n}" for n in ODD_NAMES]
    assert sorted(row["path"] for row in rows) == sorted(names)
    assert all(row["error"] is None and row["quads"] for row in rows)


def test_a_store_that_is_gone_is_not_the_fault_of_images(
    storage: Storage, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match="no file s3://scans/in/none.jpg"):
        storage.read("s3://scans/in/none.jpg")
    store.stop()
    for call in (storage.read, storage.names, storage.exists, storage.open_parquet):
        with pytest.raises(OSError, match=r"s3://scans/in cannot be reached: .*; check the bucket"):
            call("s3://scans/in")


def test_what_is_missing_is_said_before_ray_starts(store: Any) -> None:
    scans, none = f"s3://scans/none{store.options}", f"s3://none/found{store.options}"
    with pytest.raises(OSError, match=r"s3://none/found cannot be reached: there is no bucket"):
        detect_dataset(scans, none)
    with pytest.raises(ImageError, match="there is no file or folder s3://scans/none"):
        detect_dataset(scans, f"s3://scans/out{store.options}")


def test_keys_and_options_of_a_uri_are_not_in_paths() -> None:
    storage = Storage()
    assert storage.learn("s3://me:secret@scans/in?region=eu-west-1") == "s3://scans/in"
    assert storage.learn("scans/a?b.jpg") == "scans/a?b.jpg"
    for bucket in ("scans", "others"):
        filesystem, path = storage.resolve(f"s3://{bucket}/a?b.jpg")
        assert (filesystem.region, path) == ("eu-west-1", f"{bucket}/a?b.jpg")
