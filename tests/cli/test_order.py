# SPDX-License-Identifier: Apache-2.0
"""Images are searched ahead of the one whose result is written, and written in order."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dbnet_trt import Detections
from dbnet_trt.cli.detect import _detect_in_order, _Item, _read_video
from dbnet_trt.cli.outputs import Label
from dbnet_trt.images import video
from dbnet_trt.images.ahead import ReadImage
from dbnet_trt.pipeline.batching import Results
from dbnet_trt.pipeline.streaming import GPU_IMAGES, InOrder


class FakeDetector:
    """A detector that notes what is begun and waited for."""

    def __init__(self, device: str, num_streams: int = 1) -> None:
        self.device, self.num_streams = device, num_streams
        self.events: list[tuple[str, int]] = []

    def stream(self, frames: Any, batch_size: int, in_flight: int, **options: Any) -> Any:
        return InOrder[Any](self.begin, batch_size=batch_size, in_flight=in_flight).run(frames)

    def begin(self, batch: list[Any]) -> "FakeSearch":
        self.events.append(("submit", len(batch)))
        return FakeSearch(self, len(batch))


class FakeSearch:
    def __init__(self, detector: FakeDetector, count: int) -> None:
        self.detector, self.count = detector, count

    def result(self) -> Results:
        self.detector.events.append(("collect", self.count))
        return [Detections.empty()] * self.count, None


def items(names: list[str | None]) -> Iterator[_Item | None]:
    for name in names:
        image = np.zeros((4, 4, 3), np.uint8)
        yield None if name is None else _Item(Label(name), ReadImage(name, image=image))


def run(detector: Any, names: list[str | None]) -> list[str]:
    results = _detect_in_order(detector, items(names), None, is_video=False)
    return [each.label.name for each, _ in results]


@pytest.mark.parametrize(("device", "num_streams"), [("cuda", 1), ("cpu", 1), ("cpu", 4)])
@pytest.mark.parametrize("count", [0, 1, 5, 16, 17, 50])
def test_results_come_in_order(device: str, num_streams: int, count: int) -> None:
    names: list[str | None] = [str(i) for i in range(count)]
    assert run(FakeDetector(device, num_streams), names) == names
    for at in range(0, count, 7):
        with_pauses = [*names[:at], None, *names[at:], None]
        assert run(FakeDetector(device, num_streams), with_pauses) == names


def test_the_gpu_gets_the_next_images_before_it_is_waited_for() -> None:
    detector = FakeDetector("cuda")
    run(detector, [str(i) for i in range(2 * GPU_IMAGES + 3)])
    assert detector.events == [
        *[("submit", GPU_IMAGES)] * 2,
        ("collect", GPU_IMAGES),
        ("submit", 3),
        ("collect", GPU_IMAGES),
        ("collect", 3),
    ]


def test_streams_get_an_image_each() -> None:
    detector = FakeDetector("cpu", 3)
    run(detector, ["a", "b", "c", "d"])
    kinds = [kind for kind, _ in detector.events]
    assert kinds == ["submit"] * 3 + ["collect", "submit"] + ["collect"] * 3


class Register:
    """Every image is searched, and none is drawn."""

    def reserve(self, *label: Any) -> None:
        return None

    def is_done(self, *label: Any) -> bool:
        return False


def test_a_camera_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for detector in (FakeDetector("cuda"), FakeDetector("cpu", 4)):
        frames = ((number, None, np.zeros((4, 4, 3), np.uint8)) for number in range(2))
        monkeypatch.setattr(video, "read_timed_frames", lambda source, gpu, frames=frames: frames)
        read = _read_video("0", Register(), every_frame=True, gpu=None)  # type: ignore[arg-type]
        results = _detect_in_order(detector, read, None, is_video=True)  # type: ignore[arg-type]
        assert [each.label.frame for each, _ in results] == [0, 1]
        assert detector.events == [("submit", 1), ("collect", 1)] * 2


def test_without_memory_all_results_are_collected() -> None:
    on_gpu, on_cpu = FakeDetector("cuda"), FakeDetector("cpu", 4)
    for detector in (on_gpu, on_cpu):
        run(detector, ["a", "b", None, "c"])
    assert on_gpu.events == [("submit", 2), ("collect", 2), ("submit", 1), ("collect", 1)]
    kinds = [kind for kind, _ in on_cpu.events]
    assert kinds == ["submit", "submit", "collect", "collect", "submit", "collect"]
