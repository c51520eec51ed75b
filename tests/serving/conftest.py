# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the server's tests: an application around a fake engine, and photos as files.

Without the extra serve the tests are not collected: their modules import its libraries.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector
from fakes.engines import GreenOnCpu, photo

LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpx2")
if not all(map(find_spec, LIBRARIES)):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector(GreenOnCpu())


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    return photo(90, 120, np.random.default_rng(3))


@pytest.fixture(scope="session")
def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def address(detector: Detector) -> Iterator[str]:
    """Address of a server that runs in a thread."""
    import uvicorn
    from dbnet_trt.serving.app import create_app
    from dbnet_trt.serving.config import ServerConfig
    from dbnet_trt.serving.run import listen

    listener = listen(ServerConfig(port=0))
    server = uvicorn.Server(uvicorn.Config(create_app(detector), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield "{}:{}".format(*listener.getsockname())
    server.should_exit = True
    thread.join()
    listener.close()
