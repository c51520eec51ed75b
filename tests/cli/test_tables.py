# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt.cli import detect, tables
from dbnet_trt.cli.app import main
from dbnet_trt.conversions import CORNER_COLUMNS
from dbnet_trt.reading import open_reader
from fakes.tiny_model import make_model, scene
from fakes.tiny_recogniser import make_recogniser


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(("a,b.png", 'c"d.png', "empty.png", "\u00e9.png")):
        cv2.imencode(".png", scene(num_texts=(2, 3, 0, 1)[i]))[1].tofile(str(folder / name))
    cv2.imwritemulti(str(folder / "scan.tif"), [scene(num_texts=1), scene(num_texts=2)])
    return folder


def expected_rows(lines: Path) -> list[dict[str, Any]]:
    rows = []
    for record in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
        names = ("image", "page", "frame", "height", "width")
        for i, quad in enumerate(record["quads"]):
            of_text = ("scores", "polygons", "texts", "confidences")
            values = {name[:-1]: record[name][i] if name in record else None for name in of_text}
            corners = dict(zip(CORNER_COLUMNS, np.ravel(quad).tolist(), strict=True))
            values["track"] = None
            rows.append({name: record.get(name) for name in names} | corners | values)
    return rows


@pytest.mark.parametrize("polygons", [[], ["--polygons"]])
def test_csv_has_a_row_for_each_text(
    polygons: list[str], model: str, folder: Path, tmp_path: Path
) -> None:
    lines, table = tmp_path / "found.jsonl", tmp_path / "found.csv"
    arguments = ["detect", str(folder), "--model", model, *polygons]
    assert main([*arguments, "--json", str(lines), "--csv", str(table)]) == 0
    expected = expected_rows(lines)
    assert len(expected) == 9
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, wanted in zip(rows, expected, strict=True):
        outline = row.pop("polygon")
        points = [[float(side) for side in point.split(",")] for point in outline.split()]
        assert points == (wanted.pop("polygon") or [])
        assert row == {name: "" if v is None else str(v) for name, v in wanted.items()}


@pytest.mark.parametrize("rows_at_once", [2, 50_000])
def test_parquet_has_the_same_rows(
    rows_at_once: int, model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", rows_at_once)
    lines, table = tmp_path / "found.jsonl", tmp_path / "found.parquet"
    arguments = ["detect", str(folder), "--model", model, "--polygons"]
    assert main([*arguments, "--json", str(lines), "--parquet", str(table)]) == 0
    rows = parquet.read_table(table).to_pylist()
    for row, wanted in zip(rows, expected_rows(lines), strict=True):
        assert list(row) == list(tables.COLUMNS)
        for name, value in wanted.items():
            if isinstance(value, (float, list)):
                np.testing.assert_array_equal(
                    np.array(row[name], np.float32), np.array(value, np.float32)
                )
            else:
                assert row[name] == value


def test_a_table_alone(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "found.csv"
    arguments = ["detect", str(folder), "--model", model, "--csv", str(table)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == ""
    first = table.read_bytes()
    assert main(arguments) == 2
    assert f"--csv {table} exists and holds results" in " ".join(capsys.readouterr().err.split())
    assert main([*arguments, "--resume"]) == 2
    assert "name it by --json" in " ".join(capsys.readouterr().err.split())
    assert table.read_bytes() == first
    assert main([*arguments, "--overwrite"]) == 0
    assert table.read_bytes() == first
    assert not list(tmp_path.glob("*.part"))


def test_a_run_that_fails_leaves_the_table_as_it_was(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "found.csv"
    table.write_text("before")
    arguments = ["detect", str(folder), "--model", model, "--csv", str(table), "--overwrite"]

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tables.CsvTable, "add", fail)
        assert main(arguments) == 2
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        assert main(arguments) == 2
    assert table.read_text() == "before"
    assert not list(tmp_path.glob("*.part"))
    assert main(arguments) == 0
    assert table.read_text().startswith("image,page,frame,")


def test_names_that_are_no_unicode(model: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "in"
    folder.mkdir()
    data = bytes(cv2.imencode(".png", scene())[1])
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(data)
    table, other = tmp_path / "found.csv", tmp_path / "found.parquet"
    arguments = ["detect", str(folder), "--model", model]
    assert main([*arguments, "--csv", str(table), "--parquet", str(other)]) == 0
    assert table.read_bytes().count(b"caf\xe9.png") == 2
    assert parquet.read_table(other)["image"][0].as_py().endswith("caf\\udce9.png")


def test_tables_that_cannot_be_written(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none" / "found.csv"
    assert main(["detect", str(folder), "--model", model, "--csv", str(missing)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_texts_are_in_the_tables(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    reader = open_reader(str(make_recogniser(tmp_path / "reader.onnx")))
    monkeypatch.setattr(detect, "open_reader", lambda cpu: reader)
    lines, table, other = (tmp_path / f"found.{suffix}" for suffix in ("jsonl", "csv", "parquet"))
    arguments = ["detect", str(folder), "--model", model, "--text", "--json", str(lines)]
    assert main([*arguments, "--csv", str(table), "--parquet", str(other)]) == 0
    expected = expected_rows(lines)
    assert [row["text"] for row in expected] == ["aa"] * 9
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, there, wanted in zip(
        rows, parquet.read_table(other).to_pylist(), expected, strict=True
    ):
        assert (row["text"], float(row["confidence"])) == ("aa", wanted["confidence"])
        assert there["text"] == "aa"
        assert there["confidence"] == pytest.approx(wanted["confidence"])


def test_parquet_needs_its_extra(
    model: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = str(tmp_path / "found.parquet")
    assert main(["detect", str(folder), "--model", model, "--parquet", table]) == 2
    assert "pip install 'dbnet-trt[parquet]'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--csv", "--parquet"])
def test_a_folder_is_no_file(
    option: str, model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (".", str(folder)):
        assert main(["detect", str(folder), "--model", model, option, given]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert message == f"error: {option} {given} is a folder; name a file"


@pytest.mark.parametrize(
    "options", [("--json", "--csv"), ("--csv", "--parquet"), ("--save", "--json")]
)
def test_two_outputs_of_one_name_are_refused(
    options: tuple[str, str],
    model: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    same = tmp_path / "same.jpg"
    command = ["detect", str(folder / "a,b.png"), "--model", model]
    assert (
        main([*command, options[0], str(same), options[1], str(tmp_path / "." / "same.jpg")]) == 2
    )
    assert "name the same file" in " ".join(capsys.readouterr().err.split())
    assert not same.exists()


def test_texts_of_tracks_are_not_in_tables(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["detect", "clip.mp4", "--model", model, "--track", "--text"]
    assert main([*command, "--csv", str(tmp_path / "found.csv")]) == 2
    assert "name --json" in " ".join(capsys.readouterr().err.split())
