# SPDX-License-Identifier: Apache-2.0
"""Bulk runs on a tiny cluster of this machine, and what they say where Ray is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import CpuConfig
from dbnet_trt.bulk import BulkConfig, BulkProgress, detect_dataset, estimate_dataset
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_model
from pyarrow import dataset

OPTIONS: dict[str, Any] = {"cpu": CpuConfig("onnxruntime")}


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray on this machine with two CPUs, without dashboard and reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONWARNINGS", "ignore")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray = pytest.importorskip("ray")
        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
        yield ray
        ray.shutdown()


def rows_of(output: Path) -> list[dict[str, Any]]:
    rows = dataset.dataset(output, format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["path"], row["page"] or 0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_run_its_resumption_and_its_estimate(
    ray: Any, folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, said = tmp_path / "out", list[str]()
    reports: list[BulkProgress] = []
    summary = detect_dataset(
        folder, output, model, report=reports.append, say=said.append, **OPTIONS
    )
    assert said[0].startswith("2 actors of 1 CPU on 1 node")
    rows = rows_of(output)
    assert (summary.num_images, summary.num_rows, summary.num_errors) == (12, 16, 2)
    assert len(rows) == len({(row["path"], row["page"]) for row in rows}) == 16
    assert summary.num_texts == sum(len(row["scores"] or ()) for row in rows)
    assert reports[-1].num_done == 12
    assert reports[-1].seconds_left == 0

    with pytest.raises(ValueError, match="holds results"):
        detect_dataset(folder, output, model, **OPTIONS)
    (folder / "new.png").write_bytes((folder / "0" / "00.png").read_bytes())
    lost = sorted(output.glob("part-*"))[1]
    lost.unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*")}
    told = estimate_dataset(folder, output, model, **OPTIONS)
    assert (told.num_images, told.num_left, told.num_actors) == (13, 3, 2)
    assert told.num_tried == 1
    assert told.seconds is not None

    command = ["bulk", str(folder), str(output), "--model", model, "--backend", "onnxruntime"]
    assert main([*command, "--resume"]) == 0
    assert "done before" in " ".join(capsys.readouterr().err.split())
    again = rows_of(output)
    assert [row for row in again if not row["path"].endswith("new.png")] == rows
    assert len(again) == 17
    assert all((output / name).stat().st_mtime_ns == time for name, time in kept.items())


def test_arguments_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Ray gives each actor a GPU"):
        detect_dataset("in", tmp_path / "out", device="cuda:1")
    with pytest.raises(ValueError, match="is empty"):
        detect_dataset([], tmp_path / "out")
    with pytest.raises(ValueError, match="images_per_part must lie between 1"):
        BulkConfig(images_per_part=0)
    with pytest.raises(ValueError, match="pages must be"):
        BulkConfig(pages="x")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"a folder with other files \(notes.txt\)"):
        detect_dataset("in", tmp_path)


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    model = str(make_model(tmp_path / "tiny.onnx"))
    assert main(["bulk", str(tmp_path), str(tmp_path / "out"), "--model", model]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "pip install 'dbnet-trt[ray]'" in message
