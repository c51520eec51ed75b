# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the server's tests: an application around a fake engine, and photos as files.

Without the extra serve the tests are not collected: their modules import its libraries.
"""

from __future__ import annotations

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
