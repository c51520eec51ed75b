# SPDX-License-Identifier: Apache-2.0
"""Detection on a real GPU: same results as on the CPU, one graph, constant memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import Detections, Detector, EngineError, Nv12Frame, SizePolicy
from dbnet_trt.images.video import read_frames
from fakes.engines import CARD, GreenOnCpu, nv12_photo, photo
from fakes.nvdec import to_nv12, write_clip
from maps import ADVERSARIAL, noise, text_map

pytestmark = pytest.mark.gpu

torch = pytest.importorskip("torch")

Make = Callable[[], Detector]


def open_green() -> Detector:
    """Open an engine on the GPU whose map is the green channel, in half precision."""
    from dbnet_trt.engines.torch import TorchDeviceEngine

    class Green(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, images: Any) -> Any:
            return images[:, 1]

    return Detector(TorchDeviceEngine(Green().eval(), CARD))


@pytest.fixture
def on_gpu() -> Detector:
    return open_green()


@pytest.fixture
def on_cpu() -> Detector:
    return Detector(GreenOnCpu(np.float16))


def to_image(prob_map: np.ndarray) -> np.ndarray:
    """Make an image whose green channel is the map: (h, w, 3) uint8."""
    return np.repeat((prob_map * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def assert_agrees(found: Detections, expected: Detections) -> None:
    """Check that boxes are the same: corners within 1 px (99 % within 0.5), scores within 0.01."""
    assert len(found) == len(expected)
    if len(found) == 0:
        return
    distances = np.abs(found.quads - expected.quads).max(axis=(1, 2))
    assert distances.max() <= 1
    assert np.mean(distances <= 0.5) >= 0.99
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)


CORPUS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    **{
        f"text {h}x{w}": lambda rng, h=h, w=w: text_map(h, w, 40, rng)  # type: ignore[misc]
        for h, w in [(736, 1280), (641, 333), (1080, 1920), (97, 2000)]
    },
    "noise": lambda rng: noise(640, 640, 0.3, rng),
    **ADVERSARIAL,
}


@pytest.mark.parametrize("name", CORPUS)
def test_gpu_agrees_with_the_cpu(
    on_gpu: Detector, on_cpu: Detector, name: str, rng: np.random.Generator
) -> None:
    """Without resizing; by plain launches, and twice by the graph."""
    image = to_image(CORPUS[name](rng))
    size = SizePolicy(min(image.shape[:2]), 8192)
    expected = on_cpu.detect(image, size=size)
    for _ in range(3):
        assert_agrees(on_gpu.detect(image, size=size), expected)
    assert on_gpu.gpu_usage.num_graphs == 1


def test_batches_thresholds_and_polygons(
    on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator
) -> None:
    images = [photo(*size, rng) for size in [(720, 1280), (333, 500), (1200, 900)] * 3]
    calls: list[dict[str, Any]] = [
        {},
        {"binary_threshold": 0.5, "score_threshold": 0.7},
        {"max_candidates": 7},
        {"polygons": True, "prob_map": True},
        {"size": SizePolicy(640)},
    ]
    for call in calls * 2:
        found = on_gpu.detect_batch(images, **call)
        for each, expected in zip(found, on_cpu.detect_batch(images, **call), strict=True):
            assert_agrees(each, expected)
            if expected.polygons is not None:
                assert each.polygons is not None
                assert each.prob_map is not None
                assert [len(p) for p in each.polygons] == [len(p) for p in expected.polygons]
                np.testing.assert_array_equal(each.prob_map, expected.prob_map)


def test_ten_thousand_replays_keep_memory_constant(
    on_gpu: Detector, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    image = photo(640, 640, rng)
    with caplog.at_level(logging.WARNING):
        first = on_gpu.detect(image, size=SizePolicy(640))
        for _ in range(10):
            on_gpu.detect(image, size=SizePolicy(640))
    assert not caplog.records
    before = torch.cuda.mem_get_info()[0], on_gpu.gpu_usage
    for _ in range(10_000):
        found = on_gpu.detect(image, size=SizePolicy(640))
        assert found.quads.tobytes() == first.quads.tobytes()
        assert found.scores.tobytes() == first.scores.tobytes()
    assert (torch.cuda.mem_get_info()[0], on_gpu.gpu_usage) == before


def test_video(on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator) -> None:
    """Two frames are in flight at any time, from main memory and from GPU memory."""
    frames = [photo(720, 1280, rng) for _ in range(20)]
    expected = on_cpu.detect_batch(frames)
    for convert in (lambda frame: frame, lambda frame: torch.from_numpy(frame).cuda()):
        tickets = []
        for i, frame in enumerate(frames):
            tickets.append(on_gpu.submit([convert(frame)]))  # type: ignore[no-untyped-call]
            if i > 0:
                assert_agrees(on_gpu.collect(tickets[i - 1])[0], expected[i - 1])
        assert_agrees(on_gpu.collect(tickets[-1])[0], expected[-1])


@pytest.mark.parametrize("pass_stream", [True, False])
def test_tensor_written_on_a_stream(
    on_gpu: Detector, on_cpu: Detector, pass_stream: bool, rng: np.random.Generator
) -> None:
    """Work before and after it on the caller's stream keeps its order."""
    frames = [photo(720, 1280, rng) for _ in range(8)]
    expected = on_cpu.detect_batch(frames)
    side: Any = torch.cuda.Stream()
    sources = [torch.from_numpy(frame).cuda() for frame in frames]
    image = torch.zeros_like(sources[0])
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        for source, other in zip(sources, expected, strict=True):
            torch.cuda._sleep(5_000_000)
            image.copy_(source)
            ticket = on_gpu.submit([image], stream=side if pass_stream else None)
            if pass_stream:  # without it, the image must not change before `collect`
                image.zero_()
            assert_agrees(ticket.collect()[0], other)


def test_frames_of_decoders(on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator) -> None:
    """Frames lie in main or GPU memory, in one array or two, with and without padded rows."""
    for height, width in [(720, 1280), (90, 130)]:
        frame = nv12_photo(height, width, rng)
        expected = on_cpu.detect(Nv12Frame(frame))
        assert len(expected) > 0
        there = torch.from_numpy(frame).cuda()
        apart = torch.zeros((len(frame), width + 62), dtype=torch.uint8, device="cuda")[:, :width]
        apart.copy_(there)
        chroma = apart[height:].reshape(height // 2, width // 2, 2)
        for given in [
            Nv12Frame(frame),
            Nv12Frame(there),
            Nv12Frame(apart),
            Nv12Frame(there[:height], chroma),
        ] * 2:
            assert_agrees(on_gpu.detect(given), expected)


def test_video_is_decoded_on_the_gpu(
    on_gpu: Detector, on_cpu: Detector, tmp_path: Path, rng: np.random.Generator
) -> None:
    """H.264 is decoded to the same bits everywhere."""
    pytest.importorskip("PyNvVideoCodec")
    av = pytest.importorskip("av")
    gray = [np.repeat(photo(720, 1280, rng)[:, :, 1:2], 3, axis=2) for _ in range(20)]
    path = write_clip(tmp_path / "clip.mp4", gray, colorspace=1)
    with av.open(path) as file:
        expected = [Nv12Frame(to_nv12(frame), None, "bt709") for frame in file.decode(video=0)]
    frames = (frame for _, frame in read_frames(path, gpu=on_gpu.gpu_number))
    for (frame, found), other in zip(on_gpu.stream(frames, batch_size=4), expected, strict=True):
        assert isinstance(frame, Nv12Frame)
        there = torch.as_tensor(frame.luma, device="cuda").cpu().numpy()
        np.testing.assert_array_equal(there, other.luma)
        assert_agrees(found, on_cpu.detect(other))


def test_cupy(on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator) -> None:
    cupy = pytest.importorskip("cupy")
    image = photo(720, 1280, rng)
    for _ in range(3):
        assert_agrees(on_gpu.detect(cupy.asarray(image)), on_cpu.detect(image))


def test_pycuda(on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator) -> None:
    pytest.importorskip("pycuda.autoprimaryctx")
    gpuarray = pytest.importorskip("pycuda.gpuarray")
    image = photo(720, 1280, rng)
    found = on_gpu.detect(gpuarray.to_gpu(image))
    assert_agrees(found, on_cpu.detect(image))
    quads, scores = found.to_gpuarray()
    np.testing.assert_array_equal(quads.get(), found.quads)
    np.testing.assert_array_equal(scores.get(), found.scores)


def test_torch_model_in_half_precision(rng: np.random.Generator) -> None:
    """The map equals that in single precision on the CPU, and the network is captured."""
    from dbnet_trt.card import ModelCard
    from dbnet_trt.engines.torch import TorchDeviceEngine, TorchEngine
    from dbnet_trt.network.config import ModelConfig
    from dbnet_trt.network.dbnet import DBNet

    torch.manual_seed(0)
    card = ModelCard(name="r18", output="logit")
    model = DBNet(ModelConfig(inner_channels=64)).eval()
    image = photo(200, 300, rng)
    size = SizePolicy(192)
    expected = Detector(TorchEngine(model, card)).detect(image, size=size, prob_map=True).prob_map
    detector = Detector(TorchDeviceEngine(model, card))
    for _ in range(3):
        found = detector.detect(image, size=size, prob_map=True).prob_map
        assert found is not None
        assert expected is not None
        np.testing.assert_allclose(found, expected, atol=0.02)
    assert detector.gpu_usage.num_graphs == 1


def test_after_running_out_of_memory_the_detector_works(
    on_gpu: Detector, on_cpu: Detector, rng: np.random.Generator
) -> None:
    image = photo(640, 640, rng)
    hog = torch.empty(torch.cuda.mem_get_info()[0] - (200 << 20), dtype=torch.uint8, device="cuda")
    with pytest.raises(EngineError, match="no memory left"):
        on_gpu.detect_batch([image] * 8, batch_size=8, size=SizePolicy(4096))
    del hog
    torch.cuda.empty_cache()
    assert_agrees(on_gpu.detect(image), on_cpu.detect(image))
