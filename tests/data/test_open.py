# SPDX-License-Identifier: Apache-2.0
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.checks import NoOutlineError, check_text, crosses_itself
from dbnet_trt.data.dataset import DataSet, ImageAnnotation
from dbnet_trt.data.open import read_as_is, read_dataset, split_name
from dbnet_trt.data.samples import Problem, Sample, Text, load_sample_image
from dbnet_trt.errors import ImageError
from dbnet_trt.images.load import image_size
from photos import write_lines, write_photo

SIZE = (100, 200)
GOOD = "10,20,60,20,60,40,10,40,word"


def text(*points: tuple[float, float]) -> Text:
    return Text(np.array(points, np.float64), content="word")


@pytest.mark.parametrize(
    "points",
    [
        [(10, 20), (60, 20), (60, 40), (10, 40)],
        [(10, 40), (60, 40), (60, 20), (10, 20)],  # in the other direction
        [(-5, -3), (60, 20), (60, 40), (10, 40)],  # a little outside
        [(150, 90), (215, 90), (215, 108), (150, 108)],
        [(10, 20), (10, 20), (60, 20), (60, 40)],  # a point twice
        [(0, 0), (50, 30), (100, 0), (100, 20), (50, 60), (0, 20)],  # not convex
        [(0, 0), (199, 0), (0, 99)],
    ],
)
def test_sound_outline_is_kept_as_it_is(points: list[tuple[float, float]]) -> None:
    given = text(*points)
    used, fault, _ = check_text(given, SIZE)
    assert used is given
    assert fault == ""


@pytest.mark.parametrize(
    ("points", "kind", "message"),
    [
        ([(10, 20), (60, 40), (60, 20), (10, 40)], "outline", "crosses itself"),
        ([(0, 0), (90, 0), (90, 50), (40, -5), (0, 50)], "outline", "crosses itself"),
        (
            [(0, 0), (90, 0), (90, 50), (90, 0)],
            "outline",
            "crosses itself",
        ),  # the line back covers the line there
        ([(10, 20), (260, 20), (260, 40), (10, 40)], "out of bounds", "200x100 image"),
        ([(10, -60), (60, -60), (60, 40), (10, 40)], "out of bounds", "y -60 to 40"),
    ],
)
def test_doubtful_outline_becomes_an_ignored_region(
    points: list[tuple[float, float]], kind: str, message: str
) -> None:
    used, fault, found_kind = check_text(text(*points), SIZE)
    assert used is not None
    assert used.ignore
    np.testing.assert_array_equal(used.polygon.min(axis=0), np.min(points, axis=0))
    np.testing.assert_array_equal(used.polygon.max(axis=0), np.max(points, axis=0))
    assert found_kind == kind
    assert message in fault
    assert "'word'" in fault


@pytest.mark.parametrize(
    ("points", "kind", "message"),
    [
        ([(10, 20), (60, 20), (110, 20), (10, 20)], "outline", "less than one pixel"),
        ([(10, 20), (10.5, 20), (10.5, 21)], "outline", "less than one pixel"),
        ([(200, 20), (210, 20), (210, 40), (200, 40)], "out of bounds", "not in its 200x100"),
        ([(10, -20), (60, -20), (60, -4), (10, -4)], "out of bounds", "not in its 200x100"),
    ],
)
def test_text_that_covers_no_pixel_is_dropped(
    points: list[tuple[float, float]], kind: str, message: str
) -> None:
    used, fault, found_kind = check_text(text(*points), SIZE)
    assert used is None
    assert found_kind == kind
    assert message in fault


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        (np.zeros((2, 2)), "got shape (2, 2)"),
        (np.zeros((4, 3)), "got shape (4, 3)"),
        (np.zeros(8), "got shape (8,)"),
        (np.array([[0, 0], [np.inf, 0], [9, 9]]), "expected an outline in pixels"),
    ],
)
def test_text_without_an_outline(
    polygon: np.ndarray[tuple[int, ...], np.dtype[np.float64]], message: str
) -> None:
    with pytest.raises(NoOutlineError) as error:
        check_text(Text(polygon), SIZE)
    assert message in str(error.value)


def test_crossing_agrees_with_counting_every_pair(rng: np.random.Generator) -> None:
    def area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    verdicts = set()
    for _ in range(300):
        points = rng.random((int(rng.integers(3, 8)), 2)) * 100
        edges = list(zip(points, np.roll(points, -1, axis=0), strict=True))
        expected = any(
            area(a, b, c) * area(a, b, d) < 0 and area(c, d, a) * area(c, d, b) < 0
            for a, b in edges
            for c, d in edges
        )
        assert crosses_itself(points) == expected
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_which_samples_are_used(tmp_path: Path) -> None:
    image = write_photo(tmp_path / "a.png", *SIZE)
    good = text((10, 20), (60, 20), (60, 40), (10, 40))
    bow = text((10, 20), (60, 40), (60, 20), (10, 40))
    off = text((300, 20), (310, 20), (310, 40))
    found = DataSet()
    found.add(ImageAnnotation(image, tmp_path / "a.txt", texts=[(1, good), (2, bow), (3, off)]))
    found.add(
        ImageAnnotation(image, tmp_path / "b.txt", texts=[(1, good), (4, text((1, 2), (3, 4)))])
    )
    (sample,) = found.samples
    assert [each.ignore for each in sample.texts] == [False, True]
    where = [(problem.file.name, problem.line, problem.image) for problem in found.problems]
    assert where == [("a.txt", 2, image), ("a.txt", 3, image), ("b.txt", 4, image)]
    assert "its image is skipped" in found.problems[-1].message


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    found = DataSet()
    for name in ("cut.jpg", "text.png", "none.jpg"):
        found.add(ImageAnnotation(tmp_path / name, tmp_path / "labels.txt", 5))
    assert found.samples == []
    kinds = [problem.kind for problem in found.problems]
    assert kinds == ["image unreadable", "image unreadable", "image missing"]
    assert str(found.problems[2]).startswith(f"{tmp_path / 'labels.txt'}:5: expected the image")
    with pytest.raises(ImageError):
        image_size(tmp_path / "cut.jpg")
    with pytest.raises(ImageError):
        load_sample_image(Sample(tmp_path / "text.png", ()))


def test_problem_without_a_line(tmp_path: Path) -> None:
    assert str(Problem(Path("a.json"), 0, "wrong")) == "a.json: wrong"
    assert str(Problem(Path("a.txt"), 3, "wrong")) == "a.txt:3: wrong"


def write_icdar(folder: Path, count: int, *more: str) -> Path:
    for number in range(count):
        write_photo(folder / "images" / f"img_{number}.png")
        write_lines(folder / "gts" / f"gt_img_{number}.txt", GOOD, *more)
    return folder


def test_split_has_every_image_once_and_moves_none_when_one_is_removed(tmp_path: Path) -> None:
    folder = write_icdar(tmp_path, 40)

    def names(part: str) -> set[str]:
        samples = read_dataset(f"icdar2015:{folder}{part}").samples
        return {sample.image.name for sample in samples}

    whole, learnt, held_out = names(""), names("#train"), names("#val")
    assert learnt | held_out == whole
    assert not learnt & held_out
    assert 3 <= len(held_out) <= 12
    for number in (1, 17):
        for file in (f"images/img_{number}.png", f"gts/gt_img_{number}.txt"):
            (folder / file).unlink()
    assert names("#val") == held_out & names("")
    assert names("#train") == learnt & names("")


def test_copies_of_one_image_are_on_one_side(tmp_path: Path) -> None:
    endings = ("", " (2)", "_copy", "_aug3", "_jpg.rf.0123456789abcdef", "_flip")
    for number in range(20):
        for ending in endings:
            write_photo(tmp_path / f"scene{number}{ending}.png")
            write_lines(tmp_path / f"scene{number}{ending}.txt", GOOD)
    sides = [
        {sample.image.name[:7].rstrip("_. ") for sample in read_dataset(name).samples}
        for name in (f"icdar2015:{tmp_path}#train", f"icdar2015:{tmp_path}#val")
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0]) + len(sides[1]) == 20


def test_photos_numbered_in_a_row_are_on_one_side_on_request(tmp_path: Path) -> None:
    for number in range(1000, 1120):
        write_photo(tmp_path / f"IMG_{number}.png", 8, 8)
        write_lines(tmp_path / f"IMG_{number}.txt", "0,0,7,0,7,7,0,7,word")
    parts = [
        {sample.image.stem for sample in read_dataset(f"icdar2015:{tmp_path}{part}").samples}
        for part in ("?by-series#train", "?by-series#val", "#val")
    ]
    assert len(parts[0]) + len(parts[1]) == 120
    tens = [{name[:-1] for name in part} for part in parts]
    assert tens[1]
    assert not tens[0] & tens[1]
    assert {name[:-1] for name in parts[2]} & tens[0]  # not so by default


def test_split_by_position_and_unknown_options(tmp_path: Path) -> None:
    folder = write_icdar(tmp_path, 13)
    name = f"icdar2015:{folder}?by-position"
    assert [len(read_dataset(name + part).samples) for part in ("", "#train", "#val")] == [
        13,
        10,
        3,
    ]
    with pytest.raises(ValueError, match=r"expected options \?stretch or \?by-series or"):
        read_dataset(f"icdar2015:{folder}?by-place")
    odd = write_icdar(tmp_path / "what?", 1)
    assert read_dataset(f"icdar2015:{odd}").samples


@pytest.mark.parametrize("form", ["jsonl", "coco", "cvat", "paddleocr"])
def test_the_limit_on_annotations_is_an_option(form: str, tmp_path: Path) -> None:
    suffix = {"jsonl": ".jsonl", "cvat": ".xml", "paddleocr": ".txt"}.get(form, ".json")
    file = tmp_path / f"Label{suffix}"
    file.write_bytes(b" " * (3 << 20))
    messages = {}
    for size in (2, 3):
        try:
            found = read_as_is(f"{form}:{file}?max-mb={size}")
            messages[size] = str(found.problems)
        except ValueError as error:
            messages[size] = str(error)
    assert "at most 2097152 bytes; it is larger; raise the limit by ?max-mb=" in messages[2]
    assert "max-mb" not in messages[3]
    with pytest.raises(ValueError, match=r"\?max-mb=SIZE after the path, got \?max-mb=0"):
        read_as_is(f"{form}:{file}?max-mb=0")


def test_a_very_small_set_holds_one_image_out(tmp_path: Path) -> None:
    for count in range(2, 8):
        folder = write_icdar(tmp_path / str(count), count)
        assert len(read_dataset(f"icdar2015:{folder}#val").samples) >= 1
        assert len(read_dataset(f"icdar2015:{folder}#train").samples) >= 1


def test_icdar2015_copy_of_other_aspect_is_stretched_on_request(tmp_path: Path) -> None:
    for name, size in (("img_1", (640, 960)), ("img_2", (720, 1280))):
        write_photo(tmp_path / "images" / f"{name}.png", *size)
        write_lines(tmp_path / "gts" / f"gt_{name}.txt", "10.5,20,60,20,60,40,10,40,word")
    as_it_is = read_dataset(f"icdar2015:{tmp_path}").samples
    assert [sample.stretch for sample in as_it_is] == [(1, 1), (1, 1)]
    samples = read_dataset(f"icdar2015:{tmp_path}?stretch").samples
    assert [sample.stretch for sample in samples] == [pytest.approx((4 / 3, 1.125)), (1, 1)]
    assert samples[0].texts[0].polygon[0, 0] == 10.5  # in pixels of the file
    with pytest.raises(ValueError, match="goes with icdar2015:PATH only"):
        read_dataset(f"polygons:{tmp_path}?stretch")


def test_data_sets_with_their_own_parts(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    imgs = ", ".join(
        f'"{n}": {{"file_name": "a.png", "set": "{part}"}}'
        for n, part in enumerate(["train"] * 7 + ["val"] * 2)
    )
    write_lines(tmp_path / "cocotext.json", f'{{"imgs": {{{imgs}}}, "anns": {{}}}}')
    assert len(read_dataset(f"cocotext:{tmp_path}#train").samples) == 7
    assert len(read_dataset(f"cocotext:{tmp_path}#val").samples) == 2
    with pytest.raises(ValueError, match="#test holds no sample"):
        read_dataset(f"cocotext:{tmp_path}#test")


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert split_name("td500:~/photos#val")[:3] == ("td500", tmp_path / "photos", "val")


def test_format_may_be_left_out(tmp_path: Path) -> None:
    folder = write_icdar(tmp_path / "a:b", 7)
    assert split_name(str(folder))[:3] == ("icdar2015", folder, "")
    assert split_name(f"{folder}#val")[:3] == ("icdar2015", folder, "val")
    assert read_dataset(f"{folder}#val").samples


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("icdar2016:{folder}", "FORMAT one of icdar2013, icdar2015, mlt"),
        ("icdar2015:{folder}#dev", "#train, #val or #test"),
        ("icdar2015:{folder}/none", "there is no"),
        ("icdar2015:", "there is no"),
        ("", "expected FORMAT:PATH"),
        ("td500:{folder}", "expected annotations (.gt) named like the images in"),
        ("icdar2015:{folder}/gts", "expected images (.avif"),
        ("icdar2015:{folder}/gts/gt_img_0.txt", "expected the folder of a data set, got the file"),
        ("jsonl:{folder}", "expected one file *.jsonl in"),
        ("labelstudio:{folder}/gts/gt_img_0.txt", "to be JSON, a list of tasks"),
    ],
)
def test_wrong_name(tmp_path: Path, name: str, message: str) -> None:
    folder = write_icdar(tmp_path, 1)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_dataset(name.format(folder=folder))
    assert message in str(error.value)


def test_problems_are_logged_up_to_a_limit_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_icdar(tmp_path, 3, *["300,20,310,20,310,40,300,40,off"] * 10)
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        assert len(read_dataset(f"icdar2015:{folder}").samples) == 3
    assert len(caplog.messages) == 21
    assert "gt_img_0.txt:2: text 'off' is not in its 200x120 image" in caplog.messages[0]
    assert "30 problems in all" in caplog.messages[-1]


def test_data_set_without_usable_images_is_an_error(tmp_path: Path) -> None:
    folder = write_icdar(tmp_path, 2, "no,line")
    with pytest.raises(ValueError, match="holds no sample; the first problem is .*:2: expected x1"):
        read_dataset(f"icdar2015:{folder}")
    assert len(read_as_is(f"icdar2015:{folder}").problems) == 2


def test_reading_needs_neither_torch_nor_scipy(tmp_path: Path) -> None:
    folder = write_icdar(tmp_path, 1)
    program = (
        "import sys; from dbnet_trt.data.open import read_dataset; "
        f"read_dataset({str(folder)!r}); print([m for m in ('torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
