# SPDX-License-Identifier: Apache-2.0
"""Report on a data set as one HTML file, with pictures of its images and outlines."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..files import write_atomically
from .samples import Sample, load_sample_image
from .statistics import Statistics, spread

PICTURE_SIDE = 1024
"""Maximum long side of the pictures, in pixels."""

COUNTED, IGNORED = (0, 200, 0), (0, 140, 255)
"""Colours of outlines, BGR: green and orange."""

MAX_LISTED = 200
"""Maximum number of problems, of images without text, and of names in the report."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: .5rem 3rem 1rem 0; display: inline-table;
        vertical-align: top; }
caption { text-align: left; font-weight: 600; }
td { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #ddd; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
ol, ul { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(28rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
figure img { width: 100%; }
figcaption { font-size: 13px; overflow-wrap: anywhere; }
.counted { color: #0a0; } .ignored { color: #e07b00; } .problem { color: #c00; }
"""


def write_report(
    file: Path, name: str, statistics: Statistics, samples: list[Sample], count: int
) -> None:
    """Write the report, an HTML file with its pictures inside.

    Args:
        file: File to write; its folder is made if it is missing.
        name: Name of the data set.
        statistics: Counts and problems of the data set.
        samples: Samples of the data set.
        count: Maximum number of pictures; up to half are of images with problems.

    Raises:
        OSError: The file cannot be written.
    """
    chosen = choose_samples(statistics, samples, count)
    figures = "\n".join(_figure(sample, statistics) for sample in chosen)
    title = f"Data set {escape(name)}"
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>
<body><h1>{title}</h1>
{_tables(statistics)}
{_listing("Problems", statistics.problems, "ol")}
{_listing("Images without text", statistics.empty)}
{_listing("Names that several files have", _names(statistics))}
<h2>Pictures</h2>
<p><span class="counted">Green</span> outlines count,
<span class="ignored">orange</span> ones are ignored.</p>
<div class="sheet">{figures}</div></body></html>
"""
    write_atomically(file, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def choose_samples(statistics: Statistics, samples: list[Sample], count: int) -> list[Sample]:
    """Choose samples to show: up to half with problems, the others evenly spread.

    Args:
        statistics: Statistics of the data set, with its problems.
        samples: All samples.
        count: Maximum number to choose.
    """
    troubled = {problem.image for problem in statistics.problems}
    first = spread([sample for sample in samples if sample.image in troubled], (count + 1) // 2)
    others = [sample for sample in samples if sample.image not in troubled]
    return first + spread(others, count - len(first))


def draw_sample(sample: Sample, side: int = PICTURE_SIDE) -> NDArray[np.uint8]:
    """Draw the outlines of a sample on its image, in its original aspect ratio.

    Returns:
        (h, w, 3) uint8 BGR, its long side at most `side` pixels.

    Raises:
        ImageError: The image cannot be read.
    """
    image = load_sample_image(sample)
    height, width = image.shape[0] * sample.stretch[1], image.shape[1] * sample.stretch[0]
    scale = min(side / max(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    factors = np.array(size) / image.shape[1::-1]
    for text in sample.texts:
        points = np.rint(text.polygon * factors * 16).astype(np.int32)  # 4 fractional bits
        color = IGNORED if text.ignore else COUNTED
        cv2.polylines(picture, [points], True, color, 2, cv2.LINE_AA, shift=4)
    return np.asarray(picture, np.uint8)


def _figure(sample: Sample, statistics: Statistics) -> str:
    ignored = sum(text.ignore for text in sample.texts)
    caption = f"{escape(str(sample.image))}: {len(sample.texts)} texts, {ignored} ignored"
    for problem in statistics.problems:
        if problem.image == sample.image:
            caption += f'<br><span class="problem">{escape(str(problem))}</span>'
    try:
        _, jpeg = cv2.imencode(".jpg", draw_sample(sample), [cv2.IMWRITE_JPEG_QUALITY, 80])
    except ImageError:  # among the problems
        return f"<figure><figcaption>{caption}</figcaption></figure>"
    data = base64.b64encode(jpeg.tobytes()).decode("ascii")
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _tables(statistics: Statistics) -> str:
    return (
        _table("Counts", counts(statistics))
        + _table("Problems by kind", statistics.kinds)
        + _table("Text height, pixels", statistics.height_table)
        + _table("Length over height", aspect_quantiles(statistics))
    )


def counts(statistics: Statistics) -> list[tuple[str, int | str]]:
    """Return the rows of the table of counts: (name, number)."""
    share = 100 * statistics.num_ignored / max(statistics.num_texts, 1)
    return [
        ("images", statistics.num_images),
        ("images without text", len(statistics.empty)),
        ("texts", statistics.num_texts),
        ("ignored texts", f"{statistics.num_ignored} ({share:.1f} %)"),
        ("names of several files", len(statistics.same_name)),
        ("problems", len(statistics.problems)),
    ]


def aspect_quantiles(statistics: Statistics) -> list[tuple[str, str]]:
    """Return the rows of the table of aspects: (share of texts, maximum length over height)."""
    if not len(statistics.aspects):
        return []
    return [
        (f"{100 * share:g} % up to", f"{np.quantile(statistics.aspects, share):.1f}")
        for share in (0.1, 0.5, 0.9, 0.99)
    ]


def _table(caption: str, rows: Sequence[tuple[str, object]]) -> str:
    body = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption>{caption}</caption>{body}</table>" if rows else ""


def _names(statistics: Statistics) -> list[str]:
    return [f"{name}: {', '.join(map(str, paths))}" for name, paths in statistics.same_name.items()]


def _listing(title: str, items: Sequence[object], tag: str = "ul") -> str:
    if not items:
        return ""
    rest = len(items) - MAX_LISTED
    rows = "".join(f"<li>{escape(str(item))}</li>" for item in items[:MAX_LISTED])
    more = f"<p>and {rest} more</p>" if rest > 0 else ""
    return f"<h2>{title}</h2><{tag}>{rows}</{tag}>{more}"
