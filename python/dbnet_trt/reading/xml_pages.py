# SPDX-License-Identifier: Apache-2.0
"""Texts that were read, as hOCR and ALTO: what archives keep beside the pictures of pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ..detections import Detections
from .markup import blocks_of


@dataclass(frozen=True, slots=True, eq=False)
class ReadPage:
    """A page of a document, with what was read on it."""

    found: Detections
    """Detections with texts."""

    size: tuple[int, int]
    """(height, width) of the page's image."""

    number: int = 1
    """Number of the page, from 1."""


def to_hocr(
    found: Detections, size: tuple[int, int], *, name: str = "", right_to_left: bool = False
) -> str:
    """Return an image's texts as hOCR: blocks, lines and texts with their boxes and confidences.

    A text is what one outline holds: a line or a word, by the model's `text_level`.

    Args:
        found: Detections with texts.
        size: (height, width) of the image.
        name: Name of the image.
        right_to_left: As in `Detections.blocks`.

    Raises:
        ValueError: The text was not read.
    """
    return pages_to_hocr([ReadPage(found, size)], name=name, right_to_left=right_to_left)


def pages_to_hocr(pages: Sequence[ReadPage], *, name: str = "", right_to_left: bool = False) -> str:
    """Return the texts of a document's pages as one hOCR file, as `to_hocr` does for an image.

    Raises:
        ValueError: The text was not read.
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title></title>',
        '<meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>',
        '<meta name="ocr-system" content="dbnet_trt"/>',
        '<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrx_word"/>',
        "</head><body>",
    ]
    for page in pages:
        lines += _hocr_page(page, name, right_to_left)
    return "\n".join([*lines, "</body></html>", ""])


def _hocr_page(page: ReadPage, name: str, right_to_left: bool) -> Iterator[str]:
    height, width = page.size
    title = f'image "{name}"; bbox 0 0 {width} {height}; ppageno {page.number - 1}'
    # An attribute cannot hold the characters that text cannot hold either.
    title = quoteattr(_legal(title))
    yield f'<div class="ocr_page" id="page_{page.number}" title={title}>'
    for block in blocks_of(page.found, right_to_left):
        yield f'<div class="ocr_carea" title="{_bbox(block)}">'
        for line in block:
            yield f'<span class="ocr_line" title="{_bbox([line])}">'
            for text in line:
                box = " ".join(str(round(value)) for value in text.box)
                title = f"bbox {box}; x_wconf {round(100 * (text.confidence or 0))}"
                content = escape(_legal(text.text or ""))
                yield f'<span class="ocrx_word" title="{title}">{content}</span>'
            yield "</span>"
        yield "</div>"
    yield "</div>"


def to_alto(
    found: Detections, size: tuple[int, int], *, name: str = "", right_to_left: bool = False
) -> str:
    """Return an image's texts as ALTO 4: blocks, lines and texts with their boxes and confidences.

    Args:
        found: Detections with texts.
        size: (height, width) of the image.
        name: Name of the image.
        right_to_left: As in `Detections.blocks`.

    Raises:
        ValueError: The text was not read.
    """
    return pages_to_alto([ReadPage(found, size)], name=name, right_to_left=right_to_left)


def pages_to_alto(pages: Sequence[ReadPage], *, name: str = "", right_to_left: bool = False) -> str:
    """Return the texts of a document's pages as one ALTO 4 file, as `to_alto` does for an image.

    Raises:
        ValueError: The text was not read.
    """
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">',
        "<Description><MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation>"
        f"<fileName>{escape(_legal(name))}</fileName></sourceImageInformation></Description>",
        "<Layout>",
    ]
    for page in pages:
        lines += _alto_page(page, right_to_left)
    return "\n".join([*lines, "</Layout></alto>", ""])


def _alto_page(page: ReadPage, right_to_left: bool) -> Iterator[str]:
    size = f'WIDTH="{page.size[1]}" HEIGHT="{page.size[0]}"'
    yield f'<Page ID="page_{page.number}" PHYSICAL_IMG_NR="{page.number}" {size}>'
    yield f'<PrintSpace HPOS="0" VPOS="0" {size}>'
    for index, block in enumerate(blocks_of(page.found, right_to_left), 1):
        yield f'<TextBlock ID="block_{page.number}_{index}" {_extent(block)}>'
        for line in block:
            yield f"<TextLine {_extent([line])}>"
            yield "<SP/>".join(
                f"<String {_extent([line[[i]]])} CONTENT={_attribute(text.text or '')} "
                f'WC="{text.confidence or 0:.2f}"/>'
                for i, text in enumerate(line)
            )
            yield "</TextLine>"
        yield "</TextBlock>"
    yield "</PrintSpace></Page>"


def _legal(text: str) -> str:
    """Replace characters that XML cannot hold by U+FFFD."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _attribute(text: str) -> str:
    return '"' + escape(_legal(text)).replace('"', "&quot;") + '"'


def _corners(lines: list[Detections]) -> list[int]:
    boxes = np.concatenate([line.boxes for line in lines])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return [round(float(value)) for value in (*low, *high)]


def _bbox(lines: list[Detections]) -> str:
    return "bbox " + " ".join(map(str, _corners(lines)))


def _extent(lines: list[Detections]) -> str:
    x_min, y_min, x_max, y_max = _corners(lines)
    return f'HPOS="{x_min}" VPOS="{y_min}" WIDTH="{x_max - x_min}" HEIGHT="{y_max - y_min}"'
