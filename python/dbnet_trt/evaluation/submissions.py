# SPDX-License-Identifier: Apache-2.0
"""Score results files of benchmarks: folders, zip archives, or PaddleOCR's files."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .archives import FILES_PER_TOTAL, MAX_TOTAL_BYTES, read_files
from .evaluate import Evaluation, score_curve, score_image
from .formats import FORMATS, BrokenLine, Found, Truth, format_result, parse_results, parse_truths
from .paddleocr import is_paddleocr, parse_paddle_results, parse_paddle_truths

logger = logging.getLogger("dbnet_trt")


def score_submission(
    truth_path: Path,
    result_path: Path,
    protocol: str,
    form: str,
    *,
    curve: bool = False,
    max_bytes: int = MAX_TOTAL_BYTES,
) -> Evaluation:
    """Score results against ground truth.

    An image without a results file counts as one in which nothing was found. Detections that all
    have a confidence are matched in its order, others in the order of the file.

    Args:
        truth_path: Folder or zip archive of the ground truth, or a label file of PaddleOCR.
        result_path: Folder or zip archive of the results, or a result file of PaddleOCR.
        protocol: A name in `PROTOCOLS`.
        form: The format of both, a name in `FORMATS`.
        curve: Whether to score at all score thresholds as well, if all detections have a
            confidence.
        max_bytes: Limit on each archive, unpacked; the limit on each file in it is a 32nd of this.

    Raises:
        ValueError: A file is missing, is not in the format, or belongs to no image.
    """
    truths = read_truths(truth_path, form, max_bytes=max_bytes)
    results = read_results(result_path, form, max_bytes=max_bytes)
    for image, (file, _) in results.items():
        if image not in truths:
            raise ValueError(
                f"{file} belongs to no image of {truth_path}, which has, say, "
                f"{truths[min(truths)][0]}; name results as the ground truth, "
                "as in res_img_1.txt for gt_img_1.txt"
            )
    if form == "icdar2015":
        _warn_of_refusal(results)
    missing = len(truths) - len(results)
    if missing:
        logger.warning("%d of %d images have no results file", missing, len(truths))
    images = []
    for image in sorted(truths, key=lambda each: (len(each), each)):  # 2 before 10
        _, texts = truths[image]
        found = _in_order(results[image][1] if image in results else [])
        confidences = [each.confidence for each in found if each.confidence is not None]
        images.append(
            score_image(
                protocol,
                image,
                [text.polygon for text in texts],
                [text.ignore for text in texts],
                [each.polygon for each in found],
                confidences if len(confidences) == len(found) else None,
            )
        )
    if not curve or any(image.confidences is None for image in images):
        return Evaluation(protocol, tuple(images))
    return Evaluation(protocol, tuple(images), score_curve(images, protocol))


def _warn_of_refusal(results: dict[str, tuple[str, list[Found]]]) -> None:
    """Log a warning for results that the official script refuses."""
    for file, found in results.values():
        for each in found:
            x, y = each.polygon.T
            if (each.polygon % 1).any() or (np.roll(x, -1) - x) @ (np.roll(y, -1) + y) > 0:
                logger.warning(
                    "%s: the official script refuses outlines that are not in whole numbers "
                    "or run counter-clockwise, and there are some in this or other files",
                    file,
                )
                return


def _in_order(found: list[Found]) -> list[Found]:
    confidences = [each.confidence for each in found if each.confidence is not None]
    if len(confidences) < len(found):  # a text such as "1" looks like a confidence, but not all do
        return found
    order = np.argsort(-np.array(confidences), kind="stable")
    return [found[index] for index in order]


def read_truths(
    path: Path, form: str, *, max_bytes: int = MAX_TOTAL_BYTES
) -> dict[str, tuple[str, list[Truth]]]:
    """Read ground truth and return (name of its file, its texts) by image.

    Args:
        path: Folder or zip archive; or a label file of PaddleOCR, whatever the format.
        form: A name in `FORMATS`.
        max_bytes: Limit on an archive, unpacked; the limit on each file in it is a 32nd of this.

    Raises:
        ValueError: A file is missing or is not in the format.
    """
    _check_format(form)
    if is_paddleocr(path, form):
        return _by_image(path, parse_paddle_truths(path))
    return _read_all(path, lambda content: parse_truths(content, form), max_bytes)


def read_results(
    path: Path, form: str, *, max_bytes: int = MAX_TOTAL_BYTES
) -> dict[str, tuple[str, list[Found]]]:
    """Read results and return (name of its file, its detections) by image.

    Args:
        path: Folder or zip archive; or a result file of PaddleOCR, whatever the format.
        form: A name in `FORMATS`.
        max_bytes: Limit on an archive, unpacked; the limit on each file in it is a 32nd of this.

    Raises:
        ValueError: A file is missing or is not in the format.
    """
    _check_format(form)
    if is_paddleocr(path, form):
        return _by_image(path, parse_paddle_results(path))
    return _read_all(path, lambda content: parse_results(content, form), max_bytes)


def write_results(path: Path, evaluation: Evaluation) -> None:
    """Write the detections to a zip archive, in the format of the evaluation's protocol.

    Raises:
        ValueError: The protocol takes outlines of four corners only, and there are others.
        OSError: The archive cannot be written.
    """
    form = evaluation.protocol
    prefix = "res_" if form in ("icdar2015", "deteval") else ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in evaluation.images:
            confidences = image.confidences or (None,) * len(image.detections)
            pairs = zip(image.detections, confidences, strict=True)
            lines = [format_result(polygon, sure, form) + "\n" for polygon, sure in pairs]
            # Without the time of day: the same detections are the same archive.
            entry = zipfile.ZipInfo(f"{prefix}{Path(image.name).stem}.txt")
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, "".join(lines), zipfile.ZIP_DEFLATED)


def _check_format(form: str) -> None:
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, got {form!r}")


def _by_image(
    path: Path, lines: Iterator[tuple[str, int, list[Any]]]
) -> dict[str, tuple[str, list[Any]]]:
    """Collect the lines of a file of PaddleOCR: (file and line, texts) by image."""
    found: dict[str, tuple[str, list[Any]]] = {}
    for name, line, texts in lines:
        image = image_number(PurePosixPath(name).name)
        if image in found:
            raise ValueError(
                f"{path}:{line}: image {image} stands in {found[image][0]} already; remove one"
            )
        found[image] = f"{path}:{line}", texts
    if not found:
        raise ValueError(f"{path} holds no image")
    return found


def _read_all(
    path: Path, read: Callable[[bytes], list[Any]], max_bytes: int
) -> dict[str, tuple[str, list[Any]]]:
    found: dict[str, tuple[str, list[Any]]] = {}
    limits = {"max_file_bytes": max_bytes // FILES_PER_TOTAL, "max_total_bytes": max_bytes}
    for name, content in read_files(path, _is_annotation, **limits):
        image = image_number(name)
        if image in found:
            raise ValueError(
                f"{path}: {found[image][0]} and {name} are both of image {image}; remove one"
            )
        try:
            found[image] = name, read(content)
        except BrokenLine as error:
            raise ValueError(f"{path}/{name}:{error.line}: {error}") from error
    if not found:
        raise ValueError(f"{path} holds no .txt or .mat file; one for each image was expected")
    return found


def _is_annotation(name: str) -> bool:
    # Archives made on a Mac hold a ._gt_img_1.txt for each gt_img_1.txt.
    return not name.startswith(".") and name.lower().endswith((".txt", ".mat"))


def image_number(name: str) -> str:
    """Return the number of a file's image: "7" of gt_img_7.txt, res_img_7.txt and 0007.txt."""
    stem = name.rpartition(".")[0]
    stem = re.sub(r"^(poly_gt_|gt_|res_)", "", stem)
    number = re.fullmatch(r"(?:img_?)?0*(\d+)", stem)
    return number[1] if number else stem
