# SPDX-License-Identifier: Apache-2.0
"""A real S3 server on this machine (`pip install 'moto[server]'`), and runs on what lies in it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
from dbnet_trt.bulk.storage import Storage
from pyarrow import fs, parquet
from ray_nodes import free_port

BUCKET = "scans"


@contextmanager
def object_store() -> Iterator[None]:
    """Start a server, point this process and its children to it, and make a bucket."""
    port = free_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="someone",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
    )
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(server)
        yield
    finally:
        server.kill()
        server.wait()


def _make_bucket(server: subprocess.Popen[bytes]) -> None:
    for _ in range(60):
        if server.poll() is not None:
            raise SystemExit("the server has not started; pip install 'moto[server]'")
        try:
            uri = f"s3://{BUCKET}/?allow_bucket_creation=true"
            fs.FileSystem.from_uri(uri)[0].create_dir(BUCKET)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("the server does not answer")


def upload(paths: list[str]) -> dict[str, list[str]]:
    """Put images into the bucket; returns the names that rows will have, by the input."""
    storage, root = Storage(), f"s3://{BUCKET}"
    uris = [f"{root}/in/{Path(path).name}" for path in paths]
    images = [Path(path).read_bytes() for path in paths]
    for uri, image in zip(uris, images, strict=True):
        storage.write(uri, image)
    storage.write(f"{root}/list.txt", "\n".join(uris).encode())
    names = [Path(path).name for path in paths]
    for name, table in (("paths", {"path": uris}), ("images", {"name": names, "image": images})):
        sink = io.BytesIO()
        parquet.write_table(pyarrow.table(table), sink, row_group_size=2)
        storage.write(f"{root}/{name}.parquet", sink.getvalue())
    return {
        f"{root}/in": uris,
        f"{root}/list.txt": uris,
        f"{root}/paths.parquet": uris,
        f"{root}/images.parquet": names,
    }
