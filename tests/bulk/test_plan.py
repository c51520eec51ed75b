# SPDX-License-Identifier: Apache-2.0
"""A plan has every image once, goes on where it was, and grows by what is new."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pyarrow
import pytest
from dbnet_trt import DBNetError, ImageError
from dbnet_trt.bulk.inputs import Encoded, find_inputs
from dbnet_trt.bulk.plan import Plan, check_run, count_images, extend_plan, read_plan
from dbnet_trt.bulk.storage import Storage
from fakes.tiny_model import scene
from pyarrow import fs, parquet

STORAGE = Storage()


def find(*inputs: Path | str, column: str | None = None) -> list[str | Encoded]:
    return list(find_inputs(map(str, inputs), STORAGE, "/nowhere", column))


def extend(plan: Plan, found: list[Any], output: Path, size: int = 4, actors: int = 1) -> Plan:
    return extend_plan(plan, found, str(output), STORAGE, max_images=size, num_actors=actors)


def listed(plan: Plan, output: Path) -> list[str]:
    files = [output / source.file for source in plan.sources if source.file.startswith("_plan/")]
    tables = [parquet.read_table(file)["path"].to_pylist() for file in files]
    return [path.decode() for table in tables for path in table]


def test_each_path_is_there_once(tmp_path: Path) -> None:
    paths = [f"/scans/{i}.jpg" for i in range(10)]
    plan = extend(Plan(), [*paths, paths[3]], tmp_path)
    assert listed(plan, tmp_path) == paths
    assert (plan.num_images, plan.num_duplicates) == (10, 1)
    assert [part.num_images for part in plan.parts()] == [3, 3, 3, 1]
    assert read_plan(str(tmp_path), STORAGE).sources == plan.sources


@pytest.mark.parametrize(
    ("count", "actors", "sizes"),
    [(1, 8, [1]), (40, 5, [2] * 20), (1000, 2, [125] * 8), (2049, 2, [256] * 8 + [1])],
)
def test_few_images_make_small_parts(
    count: int, actors: int, sizes: list[int], tmp_path: Path
) -> None:
    plan = extend(Plan(), [f"{i}.jpg" for i in range(count)], tmp_path, 256, actors)
    assert [part.num_images for part in plan.parts()] == sizes


def test_a_plan_grows_by_what_is_new(tmp_path: Path) -> None:
    first = extend(Plan(), ["/a.jpg", "/b.jpg"], tmp_path)
    (tmp_path / next(first.parts()).name).touch()
    again = extend(read_plan(str(tmp_path), STORAGE), ["/c.jpg", "/b.jpg", "/a.jpg"], tmp_path)
    assert listed(again, tmp_path) == ["/a.jpg", "/b.jpg", "/c.jpg"]
    names = [part.name for part in again.parts()]
    assert len(set(names)) == len(names) == 3
    left = again.parts_left(str(tmp_path), STORAGE)
    assert [part.name for part in left] == names[1:]
    assert extend(again, ["/c.jpg"], tmp_path).sources == again.sources


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(b"/caf\xe9.jpg\r\n\n/last.jpg")
    found = find(names)
    plan = extend(Plan(), found, tmp_path / "out")
    raw = parquet.read_table(tmp_path / "out" / plan.sources[0].file)["path"].to_pylist()
    assert raw == [b"/caf\xe9.jpg", b"/last.jpg"]
    assert extend(plan, found, tmp_path / "out").sources == plan.sources


def test_names_of_any_bytes_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    path = folder / os.fsdecode(b"th\xe9.jpg")
    path.touch()
    assert find(tmp_path) == find(folder) == find(path) == [str(path)]


def test_a_uri_of_a_local_file_is_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    plan = extend(Plan(), find(path.as_uri(), path), tmp_path / "out")
    assert (plan.num_images, plan.num_duplicates) == (1, 1)
    assert listed(plan, tmp_path / "out") == [str(path)]


def test_a_uri_names_no_other_machine(tmp_path: Path) -> None:
    """file://scans/a.jpg is not /a.jpg: it is an error, of this one image where a list names it."""
    storage, path = Storage(), tmp_path / "a.jpg"
    path.touch()
    assert storage.local_path(f"file://localhost{tmp_path}/b/../a.jpg") == str(path)
    other = f"file://scans{path}"
    with pytest.raises(DBNetError, match=r"expected file:///PATH, .* names the machine scans"):
        find(other)
    with pytest.raises(ImageError, match="names the machine scans"):
        storage.read(other)
    (tmp_path / "list.txt").write_text(f"{other}\n{path}\n", encoding="utf-8")
    assert find(tmp_path / "list.txt") == [other, str(path)]


def test_links_that_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    for name, target in (("loop", "loop"), ("broken", "nothing")):
        (tmp_path / name).symlink_to(target)
    assert sorted(Storage().names(str(tmp_path))) == ["a.jpg", "link.jpg"]
    assert find(tmp_path)[0] == str(tmp_path / "a.jpg")


def test_counting_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    found = [f"/{i}.jpg" for i in range(100)]
    counted = count_images(Plan(), [*found, "/3.jpg"], str(output), STORAGE, 8)
    assert (counted.num_images, counted.num_left, counted.num_duplicates) == (100, 100, 1)
    assert len(counted.sample) == 8
    assert set(counted.sample) <= set(found)
    assert not output.exists()


def test_parquet_of_paths_and_of_images(tmp_path: Path) -> None:
    data = cv2.imencode(".png", scene())[1].tobytes()
    parquet.write_table(pyarrow.table({"path": ["a.jpg", "s3://b/c.jpg"]}), tmp_path / "p.parquet")
    images = pyarrow.table({"name": list("ab"), "image": [{"bytes": data, "path": "x"}] * 2})
    parquet.write_table(images, tmp_path / "q.parquet", row_group_size=1)
    found = find(tmp_path)
    assert found[:2] == [str(Path.cwd() / "a.jpg"), "s3://b/c.jpg"]
    assert found[2] == Encoded(str(tmp_path / "q.parquet"), "image", "name", (1, 1))
    output = tmp_path / "out"
    plan = extend(Plan(), found, output)
    assert plan.num_images == 4
    parquet.write_table(images.slice(1), tmp_path / "q.parquet")
    with pytest.raises(ValueError, match="another than when this run was begun"):
        extend(read_plan(str(output), STORAGE), find(tmp_path), output)


def test_inputs_that_are_wrong(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"url": ["a"], "size": [3]}), table)
    with pytest.raises(ValueError, match="no column path or image or bytes, but url, size"):
        find(table)
    with pytest.raises(ValueError, match="size is int64"):
        find(table, column="size")
    assert len(find(table, column="url")) == 1
    (tmp_path / "empty.txt").write_text("\n\n")
    for name, message in (("empty.txt", "is empty"), ("no.txt", "no file"), ("no.parquet", "no f")):
        with pytest.raises(ImageError, match=message):
            find(tmp_path / name)
    (tmp_path / "no").mkdir()
    with pytest.raises(ImageError, match="holds no image"):
        find(tmp_path / "no")
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(ImageError, match=r"bad.parquet cannot be read as Parquet"):
        find(tmp_path / "bad.parquet")


def test_a_folder_elsewhere_without_its_results(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a.png", "b/1.jpg", "b/x.csv", "found/part.jpg"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).touch()
    elsewhere = Storage(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))
    assert list(find_inputs(["s"], elsewhere, "s/found", None)) == [
        "s/a.png",
        "s/b/1.jpg",
        "s/b/2.jpg",
    ]


def test_the_run_must_be_the_same(tmp_path: Path) -> None:
    check_run(str(tmp_path), STORAGE, {"model": "tiny", "dpi": 200})
    check_run(str(tmp_path), STORAGE, {"model": "tiny", "dpi": 200})
    with pytest.raises(ValueError, match=r"made with dpi 200, now it is 150"):
        check_run(str(tmp_path), STORAGE, {"model": "tiny", "dpi": 150})
    with pytest.raises(ValueError, match=r"with short_side null, now it is 64"):
        check_run(str(tmp_path), STORAGE, {"model": "tiny", "dpi": 200, "short_side": 64})
    (tmp_path / "_run.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        check_run(str(tmp_path), STORAGE, {})


def test_a_damaged_plan_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_plan").mkdir()
    for text in ("{", json.dumps([{"file": 3}]), json.dumps([3])):
        (tmp_path / "_plan" / "sources.json").write_text(text)
        with pytest.raises(ValueError, match=r"sources.json is damaged"):
            read_plan(str(tmp_path), STORAGE)


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    elsewhere = Storage(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))
    elsewhere.write("out/part.parquet", b"data")
    assert elsewhere.names("out") == ["part.parquet"]
    assert elsewhere.read("out/part.parquet") == b"data"
    assert elsewhere.names("none") == []


def test_images_beside_tables_are_not_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene())
    parquet.write_table(pyarrow.table({"path": ["/b.png"]}), tmp_path / "found.parquet")
    with pytest.raises(ValueError, match=r"holds images \(a.png\) and Parquet files"):
        find(tmp_path)


def test_a_missing_file_is_an_error_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no file or folder"):
        find(tmp_path / "none.jpg")
