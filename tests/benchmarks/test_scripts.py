# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run with tiny settings, and time nothing that gives other results."""

import dataclasses
import functools
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detections
from dbnet_trt.pipeline.postprocess import postprocess
from fakes.tiny_model import make_int8_model, make_model

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> Any:
    """Import a script under a name that no module of the tests has."""
    sys.path.append(str(FOLDER))  # last, as some names also occur in tests
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Write a network of two operators."""
    return str(make_model(tmp_path / "tiny.onnx"))


def read(path: Path) -> Any:
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["machine"]["cpu"]
    assert report["command"].startswith("python benchmarks/")
    return report


def plot_file(tmp_path: Path) -> Path | None:
    """Path for a plot, or None without matplotlib."""
    return tmp_path / "plot.png" if importlib.util.find_spec("matplotlib") else None


# ---- postprocess.py ----------------------------------------------------------------------------


def test_postprocess_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, plot = load("postprocess"), plot_file(tmp_path)
    monkeypatch.setattr(script, "preprocess_rows", lambda repeats: [])
    monkeypatch.setattr(script, "show", lambda console, stage, rows: None)
    script.main(repeats=3, max_side=128, json=tmp_path / "a.json", plot=plot)
    rows = read(tmp_path / "a.json")["postprocess"]
    assert {row["kind"] for row in rows} >= {"page", "dense page", "noise", "empty", "full"}
    assert all(row["core"]["p50_ms"] > 0 and row["gb_per_s"] > 0 for row in rows)
    assert plot is None or plot.read_bytes().startswith(b"\x89PNG")


def test_postprocess_script_stops_at_other_boxes(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    script = load("postprocess")
    case = script.Case("page", script.text_map(256, 256, 12, rng))
    assert script.check_boxes(case) > 0

    def shifted(*arguments: Any, **options: Any) -> list[Detections]:
        return [
            Detections(found.quads + 2, found.scores)
            for found in postprocess(*arguments, **options)
        ]

    monkeypatch.setattr(script, "postprocess", shifted)
    with pytest.raises(SystemExit, match="agree with the reference"):
        script.postprocess_row(case, 1, 0.1)
    nothing = Detections(np.zeros((0, 4, 2), np.float32), np.zeros(0, np.float32))
    monkeypatch.setattr(script, "postprocess", lambda *_, **__: [nothing])
    with pytest.raises(SystemExit, match="0 boxes, but the reference has 12"):
        script.postprocess_row(case, 1, 0.1)


def test_postprocess_script_stops_at_other_components(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    script = load("postprocess")
    values = rng.random((64, 64), dtype=np.float32)
    script.check_components(values, 0.5)
    labels, boxes = script._core.label_components(values, 0.5)
    labels[labels == 2] = 1

    class Core:
        label_components = staticmethod(lambda *_: (labels, boxes))

    monkeypatch.setattr(script, "_core", Core)
    with pytest.raises(SystemExit, match="differ from those of"):
        script.check_components(values, 0.5)


# ---- memory.py ---------------------------------------------------------------------------------


def test_memory_script(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, plot = load("memory"), plot_file(tmp_path)
    script.main(
        detections=30, engine=model, backend="onnxruntime", json=tmp_path / "a.json", plot=plot
    )
    report = read(tmp_path / "a.json")
    assert report["detections"] == 30
    assert report["shapes"] > 10
    assert report["rows"][-1]["resident_mb"] > 10
    assert "30 detections" in capsys.readouterr().out
    assert plot is None or plot.is_file()


def test_memory_script_sees_a_leak(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("memory")
    held = iter(np.linspace(100, 200, 1000))
    monkeypatch.setattr(script, "resident_mb", lambda: next(held))
    with pytest.raises(SystemExit, match="1"):
        script.main(detections=1000, engine=model, backend="onnxruntime", max_side=32)
    assert "resident_mb: +15.4%" in capsys.readouterr().out


# ---- bulk.py -----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bulk_script(model: str, tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    script, file = load("bulk"), tmp_path / "a.json"
    options = {"model": model, "num_threads": 1, "pages": 3, "num_photos": 2, "files": 30}
    script.PAGE = (220, 160)
    script.main(part=("pdf", "photos", "paths"), **options, results=30, json=file)
    report = read(file)
    assert (report["pdf"]["one"]["images"], report["pdf"]["all"]["images"]) == (1, 3)
    assert report["photos"]["dbnet detect"]["all"]["images"] == 2
    assert report["photos"]["detect_batch"]["all"]["peak_mb"] > 10
    assert report["paths"]["first_result_seconds"] > 0
    assert report["paths"]["peak_mb"] > 10


# ---- serve.py ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_serve_script(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    script = load("serve")
    script.main(model, short_side=96, callers=2, requests=40, json=tmp_path / "a.json")
    report = read(tmp_path / "a.json")
    assert report["cost"]["served_cpu_ms"] > 0
    assert len(report["throughput"]["images_per_s"]["served"]) == script.ROUNDS
    assert report["latency"]["p99_ms"] >= report["latency"]["p50_ms"] > 0
    assert report["overload"]["statuses"] == {"200": 10}
    assert report["long_run"]["requests"] == 40
    assert report["long_run"]["lost_or_wrong"] == 0
    assert "long_run" in capsys.readouterr().out


# ---- accuracy.py -------------------------------------------------------------------------------


def test_accuracy_script(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = plot_file(tmp_path)
    load("accuracy").main(model, limit=1, json=tmp_path / "a.json", plot=plot)
    assert plot is None or plot.read_bytes().startswith(b"\x89PNG")
    rows = {row["engine"]: row for row in read(tmp_path / "a.json")["rows"]}
    assert len(rows) == 12
    assert rows["ONNX Runtime fp32"]["mask_iou_min"] == 1
    assert rows["TensorRT's fp16 graph, ONNX Runtime"]["agrees"]
    assert "checkpoint" in rows["PyTorch fp32"]["not_run"]
    assert "--calibration" in rows["TensorRT's int8 graph, ONNX Runtime"]["not_run"]
    assert "PyTorch fp32 did not run: the model is not a checkpoint" in capsys.readouterr().out


def test_int8_script(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized = make_int8_model(tmp_path / "tiny.int8.onnx")
    script = load("int8")
    script.main(model, quantized, sides=(64, 32), repeats=1, json=tmp_path / "a.json")
    report = read(tmp_path / "a.json")
    assert [row["short_side"] for row in report["rows"]] == [64, 32]
    assert {"onnxruntime fp32", "onnxruntime int8"} <= set(report["rows"][0]["cpu_ms"])
    assert 'INT8_GAIN["' in capsys.readouterr().out
    times = [{"openvino fp32": 8, "openvino bf16": 4, "openvino int8": 2, "onnxruntime fp32": 1}]
    assert script.gains(times) == {"openvino": 2.0}


def test_accuracy_script_fails_at_other_boxes(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("accuracy")
    other = make_model(tmp_path / "other.onnx", weight=-20.0)
    images = [255 * (1 - np.indices((128, 128)).max(axis=0) // 64).astype(np.uint8)]
    monkeypatch.setattr(script, "read_images", lambda data, limit: images)
    right = script.partial(script.open_onnx, cpu=CpuConfig("onnxruntime"))
    wrong = lambda source: script.Detector(other, cpu=CpuConfig(backend="onnxruntime"))  # noqa: E731
    monkeypatch.setattr(script, "WAYS", {"right": (right, 0.99), "wrong": (wrong, 0.99)})
    with pytest.raises(SystemExit, match="are found by wrong"):
        script.main(model, limit=1)


# ---- training.py -------------------------------------------------------------------------------


def test_training_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    script = load("training")
    monkeypatch.setattr(script, "COUNTS", (2,))
    monkeypatch.setattr(script, "NUM_SCENES", 2)
    monkeypatch.setattr(script, "WORKERS", ())
    monkeypatch.setattr(script, "SLICES", 1)
    small = script.ModelConfig("mobilenetv2", 16)
    monkeypatch.setattr(script, "ModelConfig", lambda *_: small)
    script.main(repeats=1, seconds=0.01, size=64, json=tmp_path / "a.json")
    report = read(tmp_path / "a.json")
    assert [row["case"] for row in report["labels"]] == ["640x640, 2 boxes", "640x640, 2 curves"]
    assert all(row["per_second"] > 0 for row in report["rates"])


def test_training_script_stops_at_other_labels(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    pytest.importorskip("torch")
    script = load("training")
    arguments = (script.boxes(2, rng), [False] * 2, (640, 640))
    script.check_labels(arguments)
    maps = script.make_targets(*arguments)
    monkeypatch.setattr(
        script, "make_targets", lambda *_: maps._replace(shrink_map=1 - maps.shrink_map)
    )
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        script.label_rows(1)


# ---- roofline.py, ablation.py ------------------------------------------------------------------


def test_roofline_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    script, plot = load("roofline"), plot_file(tmp_path)
    script.main(
        "untrained-mobilenetv2", size=(64, 96), measure=True, json=tmp_path / "a.json", plot=plot
    )
    (row,) = read(tmp_path / "a.json")["rows"]
    # 52.5 GFLOP at 736x1280; the operations of a convolutional network grow with its pixels.
    assert row["gflop"] == pytest.approx(52.5 * 64 * 96 / (736 * 1280), rel=0.05)
    assert row["measured_ms"]["p50_ms"] > 0
    assert set(row["floor_ms"]) == set(script.GPUS)
    assert "computed floors" in capsys.readouterr().out
    assert plot is None or plot.is_file()


def test_roofline_of_one_layer() -> None:
    script = load("roofline")
    layer = script.Layer(flops=65e9, values=1.0)
    assert script.floor_ms([layer], script.GPUS["T4"]) == pytest.approx(1.0)
    layer = script.Layer(flops=1.0, values=160e6)
    assert script.floor_ms([layer, layer], script.GPUS["T4"]) == pytest.approx(2.0)


def test_ablation_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    matplotlib = pytest.importorskip("matplotlib")
    script = load("ablation")
    font = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    drawn = functools.partial(script.SynthConfig, fonts=(font,))  # depends on what is installed
    monkeypatch.setattr(script, "SynthConfig", drawn)
    some = dict(list(script.variants(16).items())[-1:])
    monkeypatch.setattr(script, "variants", lambda inner_channels: some)
    script.main(steps=2, size=64, scenes=16, json=tmp_path / "a.json")
    (row,) = read(tmp_path / "a.json")["rows"]
    assert row["variant"] == "mobilenetv2 + DB"
    assert 0 <= row["f"] <= 1


# ---- reading_order.py --------------------------------------------------------------------------


def test_reading_order_script(tmp_path: Path) -> None:
    script = load("reading_order")
    files = ["--json", str(tmp_path / "order.json"), "--plot", str(tmp_path / "order.png")]
    sys.argv = ["reading_order.py", "--pages", "3", *files]
    script.main()
    report = read(tmp_path / "order.json")
    assert report["pages_in_order"]["exact"] == 3
    assert report["pages_in_order"]["by rows"] == 0
    assert all(report["layouts_in_order"].values())
    assert (tmp_path / "order.png").stat().st_size > 10_000


def test_reading_order_counts_what_is_wrong() -> None:
    script = load("reading_order")
    lines = script.columns_page(0).lines
    found = script.exact(lines, np.random.default_rng(0))
    assert script.is_right(found.in_reading_order(), lines)
    assert not script.is_right(found.in_reading_order()[::-1], lines)
    joined = Detections(
        script.exact(lines[:1], np.random.default_rng(0)).quads * 5, np.ones(1, np.float32)
    )
    assert script.numbers(joined, lines) is None


# ---- reading.py --------------------------------------------------------------------------------


def test_reading_counts_characters() -> None:
    script = load("reading")
    assert script.distance("kitten", "sitting") == 3
    assert script.distance("", "abc") == script.distance("abc", "") == 3

    def box(x: float, y: float, width: float) -> np.ndarray:
        return np.array([[x, y], [x + width, y], [x + width, y + 20], [x, y + 20]], np.float32)

    truth = [
        script.Truth(box(0, 0, 90), "ab cd"),
        script.Truth(box(200, 0, 90), "efg"),
        script.Truth(box(0, 100, 90), "tiny", ignore=True),
    ]
    found = [(box(45, 0, 45), "cx"), (box(0, 0, 45), "ab"), (box(0, 100, 90), "?")]
    wrong, missed, total = script.compare([*found, (box(400, 400, 90), "no")], truth)
    assert total == 7
    assert missed == 3  # "efg"
    assert wrong == 1 + 3 + 2  # "x", what is missed, and "no"
    page, lines = next(script.draw_pages(1, 0))
    assert page.shape == (520, 640, 3)
    assert len(lines) > 10


# ---- tracking.py -------------------------------------------------------------------------------


def test_tracking_script(tmp_path: Path) -> None:
    script = load("tracking")
    sys.argv = ["tracking.py", "--clips", "1", "--frames", "6", "--json", str(tmp_path / "r.json")]
    script.main()
    report = read(tmp_path / "r.json")
    assert report["all"]["frames"] == 6 * len(report["kinds"])
    assert report["all"]["mota"] > 0.9
    assert report["all"]["switches"] == 0


def test_tracking_counts_what_is_wrong() -> None:
    script = load("tracking")
    quads = np.array([[[0, y], [60, y], [60, y + 20], [0, y + 20]] for y in (0, 50)], np.float32)
    truth = script.Truth(quads, np.array([True, True]), np.array([True, True]))
    score = script.Score()
    for ids, shift in (([1, 2], 0), ([2, 1], 0), ([2, 1], 300), ([2, 5], 0)):
        found = Detections(quads + np.float32(shift), np.ones(2, np.float32))
        score.add(truth, dataclasses.replace(found, track_ids=np.array(ids)))
    counted = score.finish().report()
    names = ("texts", "missed", "false", "switches", "paths")
    assert [counted[name] for name in names] == [8, 2, 2, 3, 2]
    assert counted["mota"] == round(1 - 7 / 8, 4)
    assert counted["switches_per_100_tracks"] == 150
