# SPDX-License-Identifier: Apache-2.0
import gc
import logging
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detector, EngineError, SizePolicy
from dbnet_trt.engines import tensorrt
from dbnet_trt.engines.cuda_driver import Device
from dbnet_trt.engines.engine_card import card_path
from dbnet_trt.engines.tensorrt import MAX_SHAPES, HostEngine, load_library, open_engine
from dbnet_trt.gpu_status import CudaStatus
from dbnet_trt.opening import load_onnx
from fakes.tensorrt import VERSION, FakeTensorRT, install, write_engine
from fakes.tiny_model import CARD, make_model, scene

GENERATIONS = {"old": "tensorrt", "new": "tensorrt", "rtx": "tensorrt_rtx"}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    return install(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "a.engine", CARD)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_engine_runs_the_network(
    generation: str,
    half: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    library = install(monkeypatch, generation)
    library.engine.half = half
    path = write_engine(tmp_path / "a.engine", CARD, backend=GENERATIONS[generation])
    opened = open_engine(path, "cuda:0")
    assert (opened.input_is_half, opened.output_is_half) == (half, half)
    assert VERSION in opened.description
    engine = HostEngine(opened)
    for shape in ((1, 3, 32, 64), (3, 3, 64, 32), (1, 3, 32, 64)):
        batch = rng.random(shape, np.float32)
        maps = engine(batch)
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, 20 * batch.mean(axis=1), rtol=5e-3 if half else 1e-5)


def test_detector_finds_the_same_as_on_the_cpu(
    library: FakeTensorRT, path: Path, tmp_path: Path
) -> None:
    expected = Detector(
        make_model(tmp_path / "a.onnx"), cpu=CpuConfig(backend="onnxruntime")
    ).detect(scene())
    found = Detector(HostEngine(open_engine(path))).detect(scene())
    assert len(found) == 2
    np.testing.assert_allclose(found.quads, expected.quads, atol=1e-3)


def test_work_is_enqueued_on_the_stream_between_the_copies(
    library: FakeTensorRT, path: Path
) -> None:
    engine = HostEngine(open_engine(path))
    library.driver.log.clear()
    engine(np.zeros((1, 3, 32, 32), np.float32))
    assert library.driver.log == ["upload", "enqueue on 77", "synchronize 77", "download"]
    assert library.driver.contexts == []  # the thread's current GPU is restored


def test_plugins_are_loaded_before_the_engine(library: FakeTensorRT, path: Path) -> None:
    open_engine(path)
    log = library.driver.log
    assert log.index("plugins") < log.index("runtime")


def test_each_shape_has_its_own_context_and_scratch(library: FakeTensorRT, path: Path) -> None:
    engine = open_engine(path)
    for _ in range(2):
        engine.prepare(1, 32, 32)
        engine.prepare(2, 64, 32)
    contexts = library.engine.contexts
    assert [context.shape for context in contexts] == [(1, 3, 32, 32), (2, 3, 64, 32)]
    assert len({context.memory[0] for context in contexts}) == 2
    assert [context.memory[1] for context in contexts] == [3 * 32 * 32, 2 * 3 * 64 * 32]


def test_release_frees_the_scratch(library: FakeTensorRT, path: Path) -> None:
    engine = open_engine(path)
    engine.prepare(1, 32, 32)
    assert len(library.driver.buffers) == 1
    engine.release(1, 32, 32)
    engine.release(1, 64, 64)
    gc.collect()
    assert not library.driver.buffers


def test_host_engine_keeps_few_shapes(library: FakeTensorRT, path: Path) -> None:
    engine = HostEngine(open_engine(path))
    for i in range(1, MAX_SHAPES + 3):
        engine(np.zeros((1, 3, 32, 32 * i), np.float32))
    gc.collect()
    assert len(library.driver.buffers) == MAX_SHAPES


@pytest.mark.parametrize(("generation", "strategy"), [("new", "managed"), ("rtx", "managed")])
def test_contexts_are_configured(
    generation: str, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = install(monkeypatch, generation)
    path = write_engine(tmp_path / "a.engine", CARD, backend=GENERATIONS[generation])
    open_engine(path).prepare(1, 32, 32)
    config = library.engine.contexts[0].config
    assert config.strategy == strategy
    if generation == "rtx":
        assert config.cuda_graph_strategy == "disabled"
        assert config.dynamic_shapes_kernel_specialization_strategy == "eager"


@pytest.mark.parametrize("shape", [(5, 32, 32), (1, 288, 32), (1, 32, 352), (1, 0, 32)])
def test_shapes_outside_the_profile(
    shape: tuple[int, int, int], library: FakeTensorRT, path: Path
) -> None:
    message = "batches of 1 to 4, heights of 32 to 256 and widths of 32 to 320.*dbnet-build"
    with pytest.raises(EngineError, match=message):
        open_engine(path).prepare(*shape)
    assert not library.engine.contexts


def test_errors_contain_the_librarys_message(
    library: FakeTensorRT, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(path)
    engine.prepare(1, 32, 32)
    library.fails = True
    for _ in range(2):
        with pytest.raises(EngineError, match="the network is on strike$"):
            engine.enqueue(0, 0, (1, 32, 32), 0)
    assert "tensorrt: the network is on strike" in caplog.text


def test_logger_passes_warnings_on(
    library: FakeTensorRT, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_engine(path)
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        for _ in range(3):
            library.logger.log(library.ILogger.WARNING, "beware")
        library.logger.log(library.ILogger.VERBOSE, "by the way")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "tensorrt: beware")
    ]


def test_output_of_another_size(library: FakeTensorRT, path: Path) -> None:
    library.engine.shrinks = 2
    with pytest.raises(EngineError, match=r"map of shape \(1, 1, 32, 32\)"):
        open_engine(path).prepare(1, 64, 32)


def test_engine_with_more_inputs_than_an_image(library: FakeTensorRT, path: Path) -> None:
    library.engine.missing = ["caption"]
    with pytest.raises(EngineError, match="needs inputs other than an image: caption"):
        open_engine(path).prepare(1, 64, 32)


def test_full_memory(library: FakeTensorRT, path: Path) -> None:
    engine = open_engine(path)
    library.driver.out_of_memory = True
    with pytest.raises(EngineError, match=r"cuMemAlloc_v2 failed.*CUDA_ERROR_OF_THE_TEST"):
        engine.prepare(1, 32, 32)


# ---- engines that cannot run here --------------------------------------------------------------


def test_without_cuda_no_tensorrt_object_is_made(
    library: FakeTensorRT, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = CudaStatus((), None, None, ())
    monkeypatch.setattr(tensorrt, "read_cuda_status", lambda: nothing)
    with pytest.raises(EngineError, match="runs on a CUDA GPU, and this build .* has no CUDA code"):
        Detector(path)
    assert "runtime" not in library.driver.log


def test_cpu_is_an_error(library: FakeTensorRT, path: Path) -> None:
    with pytest.raises(EngineError, match=r'device="cpu" was given; .*onnx'):
        Detector(path, device="cpu")


def test_another_gpu(library: FakeTensorRT, path: Path) -> None:
    library.driver.capability = (9, 0)
    message = "was built for sm_86, this GPU is sm_90; run dbnet-build again"
    with pytest.raises(EngineError, match=message):
        open_engine(path)
    assert "runtime" not in library.driver.log


def test_missing_gpu(library: FakeTensorRT, path: Path) -> None:
    with pytest.raises(EngineError, match="cuDeviceGet failed with CUDA error 101"):
        open_engine(path, "cuda:3")


def test_another_version(library: FakeTensorRT, path: Path) -> None:
    library.__version__ = "11.0.0"
    message = f"by tensorrt {VERSION}, 11.0.0 is installed; run dbnet-build again"
    with pytest.raises(EngineError, match=message):
        open_engine(path)
    assert "runtime" not in library.driver.log


def test_missing_card(library: FakeTensorRT, path: Path) -> None:
    card_path(path).unlink()
    with pytest.raises(EngineError, match=r"has no card: a\.engine\.json must lie beside it"):
        open_engine(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 1}'])
def test_broken_card(text: str, library: FakeTensorRT, path: Path) -> None:
    card_path(path).write_text(text)
    with pytest.raises(EngineError, match=r"is not an engine card.*dbnet-build"):
        open_engine(path)


def test_card_of_another_engine(library: FakeTensorRT, path: Path) -> None:
    path.write_bytes(b"another")
    with pytest.raises(EngineError, match="not the engine that its card describes"):
        open_engine(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no file"):
        Detector(tmp_path / "a.engine")


def test_engine_that_cannot_be_loaded(library: FakeTensorRT, path: Path) -> None:
    library.accepts = False
    with pytest.raises(EngineError, match="cannot be loaded: bytes of another world"):
        open_engine(path)


def test_rtx_says_that_the_engine_is_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = install(monkeypatch, "rtx")
    library.invalid = True
    path = write_engine(tmp_path / "a.engine", CARD, backend="tensorrt_rtx")
    with pytest.raises(EngineError, match=r"does not run here .*UNSUPPORTED_CC"):
        open_engine(path)


def test_tensors_that_the_card_does_not_name(library: FakeTensorRT, path: Path) -> None:
    library.engine.names = ["image", "map", "other"]
    library.engine.num_io_tensors = 3
    with pytest.raises(EngineError, match=r"image, map, other.*dbnet-build"):
        open_engine(path)


def test_library_that_is_not_installed(
    path: Path, library: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"TensorRT cannot be imported.*dbnet-trt\[tensorrt\]"):
        open_engine(path)
    with pytest.raises(EngineError, match="not 'openvino'"):
        load_library("openvino")


@pytest.mark.gpu
def test_driver_copies_memory(rng: np.random.Generator) -> None:
    from dbnet_trt import cuda_available

    if not cuda_available():
        pytest.skip("no CUDA device")
    device = Device()
    values = rng.random(1000, np.float32)
    copy = np.zeros_like(values)
    with device.current():
        memory = device.allocate(values.nbytes)
        device.upload(values, memory.pointer)
        device.download(memory.pointer, copy)
    np.testing.assert_array_equal(copy, values)


@pytest.mark.gpu
def test_built_engine_runs(tmp_path: Path, rng: np.random.Generator) -> None:
    from dbnet_trt import cuda_available
    from dbnet_trt.building.build import build_engine
    from dbnet_trt.building.config import BuildConfig

    if not cuda_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("tensorrt")
    source = make_model(tmp_path / "a.onnx")
    config = BuildConfig("fp32", "32x32/64x64/128x128", cache=False)
    built = build_engine(source, tmp_path / "a.engine", config=config)
    batch = rng.random((1, 3, 64, 96), np.float32)
    expected = load_onnx(source)(batch)
    np.testing.assert_allclose(HostEngine(open_engine(built.path))(batch), expected, atol=1e-2)
    image, size = scene(64, 96), SizePolicy(64, 128)
    expected_quads = Detector(source).detect(image, size=size).quads
    detector = Detector(built.path)
    for _ in range(3):
        np.testing.assert_allclose(detector.detect(image, size=size).quads, expected_quads, atol=1)
    assert detector.gpu_usage.num_graphs == 1
