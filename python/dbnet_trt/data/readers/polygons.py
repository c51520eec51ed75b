# SPDX-License-Identifier: Apache-2.0
"""Readers of lines of n points, in the layout of ICDAR or of the original DB repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...files import decode_text, is_file
from ..dataset import DataSet, ImageAnnotation
from ..lines import check_text_part, is_relative, show, split_outline
from ..samples import Problem, Text
from .files import flat_points, read_annotations, read_folder, read_lines

PARTS = ["train", "test"]


def read_polygons(folder: Path) -> DataSet:
    """Read outlines of any number of points, with or without a transcription.

    Expected: X.jpg and X.txt, gt_X.txt or X.jpg.txt below the folder, as images/ and gts/. Lines
    are `x1,y1,...,xn,yn` or `x1,y1,...,xn,yn,text`, n at least 3; `###` is ignored. EAST, CRAFT,
    TextSnake and the TIoU scripts use such lines, as in
    https://github.com/Yuliang-Liu/TIoU-metric/tree/master/curved-tiou; ICDAR 2015's are those of
    four points and a text. Points are in pixels of the images as EXIF turns them, unless the labels
    fit only the images as they are stored.
    """
    found = DataSet()
    found.add_all(read_folder(folder, parse_polygon, (".txt",), found), upright=True)
    return found


def parse_polygon(line: str) -> Text:
    """Parse one line; see `read_polygons`.

    Raises:
        ValueError: The line is not in the format.
    """
    expected = "expected x1,y1,...,xn,yn of 3 points or more and, if wanted, a text"
    numbers, text = split_outline(line)
    if len(numbers) < 6:
        raise ValueError(f"{expected}, got {len(numbers)} numbers in {show(line)}")
    if is_relative(line):
        raise ValueError(f"{expected}, got {show(line)}; the format ctw1500 has such lines")
    check_text_part(text or "", expected, line)
    content = (text or "").strip()
    return Text(flat_points(numbers), content == "###", content)


def read_db(path: Path) -> DataSet:
    """Read the layout of the original DB repository.

    Expected: train_images/X.jpg with train_gts/X.jpg.txt, and test_images/ with test_gts/, where
    the files may also be named gt_X.txt; train_list.txt and test_list.txt, where they exist, name
    the images that count. Lines are those of `read_polygons`; labels that are all 0 or 1, as in its
    copies of MSRA-TD500 and HUST-TR400, are flags of difficult texts, which are ignored. The path
    is the folder of all, or one of train_images and test_images; samples carry their part. Points
    are in pixels of the images as EXIF turns them, as OpenCV reads them, unless the labels fit only
    the images as they are stored. Defined at
    https://github.com/MhLiao/DB/blob/master/data/image_dataset.py.

    Raises:
        ValueError: There is neither train_images nor test_images.
    """
    named = path.name.removesuffix("_images")
    root = path.parent if named in PARTS else path
    wanted = [named] if named in PARTS else PARTS
    parts = [part for part in wanted if (root / f"{part}_images").is_dir()]
    if not parts:
        raise ValueError(f"expected train_images or test_images in {root}; found neither")
    found = DataSet()
    annotations = [each for part in parts for each in _read_part(root, part, found)]
    texts = [text for annotation in annotations for _, text in annotation.texts]
    if texts and all(text.content in ("0", "1") for text in texts):
        for each in annotations:
            each.texts = [
                (line, Text(text.polygon, text.content == "1")) for line, text in each.texts
            ]
    if len(parts) > 1:
        found.notes.append("this is train and test together; name #train, #val or #test")
    found.add_all(annotations, upright=True)
    return found


def _read_part(root: Path, part: str, found: DataSet) -> Iterator[ImageAnnotation]:
    folder, gts = root / f"{part}_images", root / f"{part}_gts"
    listing = root / f"{part}_list.txt"
    if listing.is_file():
        lines = decode_text(read_annotations(listing), "replace").split("\n")
        names = [line.strip() for line in lines if line.strip()]
    else:
        names = sorted(image.name for image in folder.iterdir() if not image.name.startswith("."))
    for name in names:
        stem = Path(name).stem
        choices = [gts / f"{name}.txt", gts / f"gt_{stem}.txt", gts / f"{stem}.txt"]
        file = next((choice for choice in choices if is_file(choice)), None)
        if file is None:
            message = f"expected the annotation {choices[0]}, found none; skipped"
            found.problems.append(
                Problem(folder / name, 0, message, "annotation missing", folder / name)
            )
            continue
        annotation = ImageAnnotation(folder / name, file, part=part)
        read_lines(annotation, parse_polygon)
        yield annotation
