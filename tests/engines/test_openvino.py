# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dbnet_trt import EngineError
from dbnet_trt.engines import openvino as openvino_engine
from dbnet_trt.engines import openvino_cache
from dbnet_trt.opening import load_onnx
from dbnet_trt.settings import CpuConfig
from fakes.tiny_model import make_model

pytest.importorskip("openvino")


def test_openvino_keeps_few_shapes(tmp_path: Path, rng: np.random.Generator) -> None:
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    for i in range(1, openvino_engine.MAX_COMPILED_SHAPES + 4):
        for _ in range(2):
            engine(rng.random((1, 3, 32, 32 * i), np.float32))
    assert len(engine._compiled) == openvino_engine.MAX_COMPILED_SHAPES
    assert (1, 3, 32, 32) not in engine._compiled


def test_openvino_keeps_few_pixels(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "MAX_COMPILED_PIXELS", 32 * 32 * 10)
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    for columns, kept in ((4, [4]), (6, [4, 6]), (1, [6, 1]), (20, [20])):
        engine(rng.random((1, 3, 32, 32 * columns), np.float32))
        assert [shape[3] // 32 for shape in engine._compiled] == kept


def test_openvino_frees_memory_of_shapes_not_used(tmp_path: Path, rng: np.random.Generator) -> None:
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    batches = [rng.random((1, 3, 32, 32 * i), np.float32) for i in range(1, 6)]
    before = [engine(batch) for batch in batches for _ in range(2)][::2]
    assert [pool._is_live for pool in engine._compiled.values()] == [False] * 3 + [True] * 2
    with engine._compiled[batches[3].shape].borrow():
        for batch, expected in zip(batches, before, strict=True):
            np.testing.assert_array_equal(engine(batch), expected)
        assert engine._compiled[batches[3].shape]._is_live  # it is in use


def test_openvino_keeps_shapes_that_come_again(tmp_path: Path, rng: np.random.Generator) -> None:
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))

    def run(*columns: int) -> list[int]:
        for each in columns:
            engine(rng.random((1, 3, 32, 32 * each), np.float32))
        return [shape[3] // 32 for shape in engine._compiled]

    assert run(1, 2, 3, 4, 5) == [4, 5]  # all differ
    assert run(1, 6, 7) == [1, 6, 7]  # 1 was dropped, and came again
    assert run(8, 8, 9, 10) == [1, 8, 9, 10]  # 8 came twice in a row
    assert run(11, 12) == [1, 8, 11, 12]

    def live() -> list[int]:
        return [shape[3] // 32 for shape, pool in engine._compiled.items() if pool._is_live]

    assert live() == [12]
    run(11, 12)
    assert live() == [11, 12]


def test_shapes_that_come_seldom_leave_again(tmp_path: Path, rng: np.random.Generator) -> None:
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    kept = []
    for columns in (1, 2, 3, 4, 1, 2, 3, 4):
        engine(rng.random((1, 3, 32, 32 * columns), np.float32))
        kept.append([shape[3] // 32 for shape in engine._compiled])
    assert kept[-3:] == [[1, 2], [1, 2, 3], [2, 3, 4]]  # one waits beside the last one


def test_onednn_keeps_few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    # A second core in this process would break its signals: see `open_core`.
    monkeypatch.setattr(openvino_engine, "import_backend", lambda _: SimpleNamespace(Core=object))
    for given, expected in ((None, openvino_engine.MAX_KEPT_LAYERS), ("7", "7")):
        monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv(name, given)
        openvino_engine.open_core.__wrapped__()
        assert os.environ[name] == expected


def test_processes_do_not_share_a_core(tmp_path: Path, rng: np.random.Generator) -> None:
    """OpenVINO pins threads to the first cores, the same ones in each process."""
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    engine(rng.random((1, 3, 32, 32), np.float32))
    (pool,) = engine._compiled.values()
    assert pool._compiled.get_property("ENABLE_CPU_PINNING") is False


def test_openvino_forgets_before_it_compiles(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "MAX_COMPILED_SHAPES", 2)
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    compile_model = engine._core.compile_model
    held: list[int] = []

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            held.append(len(engine._compiled))
            return compile_model(*arguments)

    engine._core = Core()
    for i in range(1, 6):
        engine(rng.random((1, 3, 32, 32 * i), np.float32))
    assert held == [0, 1, 1, 1, 1]


def test_old_compiled_models_are_deleted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    engine(np.zeros((1, 3, 32, 32), np.float32))
    (first,) = (cache / "dbnet_trt" / "openvino").glob("*.blob")
    os.utime(first, (0, 0))
    monkeypatch.setattr(openvino_cache, "MAX_CACHE_BYTES", int(1.5 * first.stat().st_size))
    engine(np.zeros((1, 3, 32, 64), np.float32))
    (second,) = (cache / "dbnet_trt" / "openvino").glob("*.blob")
    assert second != first


def test_compiled_models_are_kept_on_disk(cache: Path, tmp_path: Path) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    engine(np.zeros((1, 3, 32, 32), np.float32))
    assert any((cache / "dbnet_trt" / "openvino").iterdir())


SIGNAL_AFTER_TWO_ENGINES = """
import gc, signal, sys
from pathlib import Path
import numpy as np
from dbnet_trt import CpuConfig
from dbnet_trt.opening import load_onnx

engines = [load_onnx(Path(sys.argv[1]), config=CpuConfig("openvino")) for _ in range(2)]
for engine in engines:
    engine(np.zeros((1, 3, 32, 32), np.float32))
del engine
while engines:  # the first one first
    del engines[0]
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_signals_are_handled_when_engines_are_gone(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a.onnx")
    command = [sys.executable, "-c", SIGNAL_AFTER_TWO_ENGINES, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_model_of_one_size_is_adapted(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", sides=(64, 96))
    engine = load_onnx(path, config=CpuConfig("openvino"))
    assert engine(np.zeros((1, 3, 96, 64), np.float32)).shape == (1, 96, 64)


def detect_lines(engine: Any) -> np.ndarray:
    return engine(np.ones((1, 3, 32, 64), np.float32))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_damaged_compiled_model_is_compiled_anew(
    share: float, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_model(tmp_path / "a.onnx")
    expected = detect_lines(load_onnx(path, config=CpuConfig("openvino")))
    (blob,) = (cache / "dbnet_trt" / "openvino").glob("*.blob")
    sound = blob.read_bytes()
    at = int(share * (len(sound) - 64))
    blob.write_bytes(
        sound[:at] + bytes(byte ^ 255 for byte in sound[at : at + 64]) + sound[at + 64 :]
    )
    found = detect_lines(load_onnx(path, config=CpuConfig("openvino")))
    np.testing.assert_array_equal(found, expected)
    assert "is damaged; the model is compiled anew" in caplog.text
    assert blob.read_bytes()[32:] != b""
    caplog.clear()
    np.testing.assert_array_equal(
        detect_lines(load_onnx(path, config=CpuConfig("openvino"))), expected
    )
    assert caplog.text == ""  # the sound one is there again


def test_kept_model_is_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model(tmp_path / "a.onnx")
    expected = detect_lines(load_onnx(path, config=CpuConfig("openvino")))
    monkeypatch.setattr(
        openvino_cache.CompiledModels, "write", lambda *_: pytest.fail("compiled again")
    )
    np.testing.assert_array_equal(
        detect_lines(load_onnx(path, config=CpuConfig("openvino"))), expected
    )
    with pytest.raises(pytest.fail.Exception, match="compiled again"):
        detect_lines(load_onnx(path, config=CpuConfig("openvino", num_threads=1)))


def test_other_weights_are_another_entry(cache: Path, tmp_path: Path) -> None:
    for weight in (20.0, 30.0):
        path = make_model(tmp_path / "a.onnx", weight=weight)
        maps = detect_lines(load_onnx(path, config=CpuConfig("openvino")))
        np.testing.assert_allclose(maps, weight)


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from dbnet_trt import CpuConfig, Detector, EngineError
from dbnet_trt.opening import load_onnx

path, backend = Path(sys.argv[1]), sys.argv[2]
detector = Detector(path, cpu=CpuConfig(backend))
image = np.zeros((64, 96, 3), np.uint8)
detector.detect(image)
if os.fork() == 0:
    try:
        detector.detect(image)
    except EngineError as error:
        print(error, flush=True)
    sys.stdout.flush()
    if backend == "onnxruntime":  # whose own exit handler waits for its threads, detector or not
        del detector
        os._exit(0)
    sys.exit()  # destructors run, and must not wait for threads that are not there
os.wait()
print(len(detector.detect(image)), "texts in the parent")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks of Linux")
@pytest.mark.parametrize(
    ("backend", "library"), [("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")]
)
def test_forked_detector_is_an_error_and_not_a_hang(
    backend: str, library: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FORKED, str(make_model(tmp_path / "a.onnx")), backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    child, parent = done.stdout.splitlines()
    assert child.startswith(f"this process was forked after {library} had started")
    assert 'get_context("spawn")' in child
    assert parent == "0 texts in the parent"


def test_detector_cannot_be_opened_in_a_forked_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model(tmp_path / "a.onnx")
    load_onnx(path, config=CpuConfig("openvino"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EngineError, match="was forked after OpenVINO had started"):
        load_onnx(path, config=CpuConfig("openvino"))
