# SPDX-License-Identifier: Apache-2.0
"""The model repository in a real Triton Inference Server, which the package nvidia-pytriton brings.

Its Python backend is older than NumPy 2, so that this needs an environment of its own: .ci/triton.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.building.triton import write_cpu_repository
from fakes.tiny_model import make_model, scene

http: Any = pytest.importorskip("tritonclient.http")

pytestmark = pytest.mark.skipif(
    find_spec("pytriton") is None or int(np.__version__.split(".")[0]) > 1,
    reason="needs nvidia-pytriton and NumPy 1",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start the server, with this interpreter's packages."""
    spec = find_spec("pytriton")
    assert spec is not None
    assert spec.origin is not None
    triton = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    # The stub finds its libraries by its own place.
    shutil.copy(triton / "python_backend_stubs" / version / stub, triton / "backends/python" / stub)
    folder = tmp_path_factory.mktemp("triton")
    write_cpu_repository(folder / "models", model)
    port, log = free_port(), folder / "server.log"
    command = [str(triton / "bin/tritonserver"), f"--model-repository={folder / 'models'}"]
    command += [f"--backend-directory={triton / 'backends'}", "--http-address=127.0.0.1"]
    command += [f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    libraries = str(triton.parents[1] / "nvidia_pytriton.libs")
    environment = os.environ | {"PATH": path, "LD_LIBRARY_PATH": libraries}
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield _wait(server, port, log)
    finally:
        server.terminate()
        server.wait(60)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> Any:
    client = http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=8)
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            if client.is_model_ready("tiny"):
                return client
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-4000:])


def image_tensor(*images: bytes) -> Any:
    data = np.array([[image] for image in images], np.object_)
    tensor = http.InferInput("IMAGE", data.shape, "BYTES")
    tensor.set_data_from_numpy(data)
    return tensor


def ask(client: Any, *images: bytes) -> dict[str, np.ndarray]:
    result = client.infer("tiny", [image_tensor(*images)])
    return {name: result.as_numpy(name) for name in ("QUADS", "SCORES", "COUNT")}


def encode(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_answers_are_those_of_the_detector(client: Any, model: Path) -> None:
    image = scene(120, 200, 2)
    expected = Detector(model).detect(image)
    found = ask(client, encode(image), encode(scene(120, 200, 1)))
    assert found["COUNT"].tolist() == [[2], [1]]
    np.testing.assert_array_equal(found["QUADS"][0], expected.quads)
    np.testing.assert_array_equal(found["SCORES"][0], expected.scores)


def test_callers_side_by_side(client: Any) -> None:
    counts = [i % 4 for i in range(48)]
    waiting = [
        client.async_infer("tiny", [image_tensor(encode(scene(120, 200, n)))]) for n in counts
    ]
    assert [each.get_result().as_numpy("COUNT").item() for each in waiting] == counts


def test_a_broken_image_is_the_clients_fault(client: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="not an image") as caught:
        ask(client, b"no image")
    assert caught.value.status() == "400"
    assert ask(client, encode(scene()))["COUNT"].tolist() == [[2]]
