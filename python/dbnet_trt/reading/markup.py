# SPDX-License-Identifier: Apache-2.0
"""Texts that were read, as plain text, Markdown, hOCR and ALTO."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ..detections import Detections
from ..layout.runs import WORD_GAP

HEADING_RATIO = 1.5
"""Height of a line over the usual height from which it is a heading."""

Blocks = list[list[Detections]]


def to_text(found: Detections, *, right_to_left: bool = False) -> str:
    """Return the text in reading order: a line per line, an empty line between blocks.

    Raises:
        ValueError: The text was not read.
    """
    blocks = _blocks(found, right_to_left)
    return "\n\n".join("\n".join(_join(line) for line in block) for block in blocks)


def to_markdown(found: Detections, *, right_to_left: bool = False) -> str:
    """Return the text as Markdown: paragraphs, tables, and large lines as headings.

    Raises:
        ValueError: The text was not read.
    """
    blocks = _blocks(found, right_to_left)
    heights = [_height(line) for block in blocks for line in block]
    usual = float(np.median(heights)) if heights else 0.0
    parts = []
    for block in blocks:
        rows = [_cells(line) for line in block]
        if len(rows) > 1 and np.median([len(row) for row in rows]) >= 2:
            parts.append(_table(rows))
        elif len(block) <= 2 and min(map(_height, block)) > HEADING_RATIO * usual:
            parts.append("## " + _escape(" ".join(map(_join, block))))
        else:
            parts.append("\n".join(_escape(_join(line)) for line in block))
    return "\n\n".join(parts)


def to_hocr(
    found: Detections, size: tuple[int, int], *, name: str = "", right_to_left: bool = False
) -> str:
    """Return an hOCR page: blocks, lines and texts with their boxes and confidences.

    A text is what one outline holds: a line or a word, by the model's `text_level`.

    Args:
        found: Detections with texts.
        size: (height, width) of the image.
        name: Name of the image.
        right_to_left: As in `Detections.blocks`.

    Raises:
        ValueError: The text was not read.
    """
    title = quoteattr(f'image "{name}"; bbox 0 0 {size[1]} {size[0]}; ppageno 0')
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title></title>',
        '<meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>',
        '<meta name="ocr-system" content="dbnet_trt"/>',
        '<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrx_word"/>',
        f'</head><body><div class="ocr_page" id="page_1" title={title}>',
    ]
    for block in _blocks(found, right_to_left):
        lines.append(f'<div class="ocr_carea" title="{_bbox(block)}">')
        for line in block:
            lines.append(f'<span class="ocr_line" title="{_bbox([line])}">')
            for text in line:
                box = " ".join(str(round(value)) for value in text.box)
                sure = round(100 * (text.confidence or 0))
                lines.append(
                    f'<span class="ocrx_word" title="bbox {box}; x_wconf {sure}">'
                    f"{_xml(text.text or '')}</span>"
                )
            lines.append("</span>")
        lines.append("</div>")
    return "\n".join([*lines, "</div></body></html>", ""])


def to_alto(
    found: Detections, size: tuple[int, int], *, name: str = "", right_to_left: bool = False
) -> str:
    """Return an ALTO 4 file: blocks, lines and texts with their boxes and confidences.

    Args:
        found: Detections with texts.
        size: (height, width) of the image.
        name: Name of the image.
        right_to_left: As in `Detections.blocks`.

    Raises:
        ValueError: The text was not read.
    """
    extent = f'HPOS="0" VPOS="0" WIDTH="{size[1]}" HEIGHT="{size[0]}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">',
        "<Description><MeasurementUnit>pixel</MeasurementUnit><sourceImageInformation>"
        f"<fileName>{_xml(name)}</fileName></sourceImageInformation></Description>",
        f'<Layout><Page ID="page_1" PHYSICAL_IMG_NR="1" WIDTH="{size[1]}" HEIGHT="{size[0]}">',
        f"<PrintSpace {extent}>",
    ]
    for number, block in enumerate(_blocks(found, right_to_left), 1):
        lines.append(f'<TextBlock ID="block_{number}" {_extent(block)}>')
        for line in block:
            lines.append(f"<TextLine {_extent([line])}>")
            texts = [
                f"<String {_extent([line[[i]]])} CONTENT={_attribute(text.text or '')} "
                f'WC="{text.confidence or 0:.2f}"/>'
                for i, text in enumerate(line)
            ]
            lines += ["<SP/>".join(texts), "</TextLine>"]
        lines.append("</TextBlock>")
    return "\n".join([*lines, "</PrintSpace></Page></Layout></alto>", ""])


def _blocks(found: Detections, right_to_left: bool) -> Blocks:
    """Return the blocks of the texts that have letters.

    Raises:
        ValueError: The text was not read.
    """
    if found.texts is None:
        raise ValueError("the text was not read; pass the detections through read_text first")
    read = found[[bool(text.strip()) for text in found.texts]] if len(found) else found
    return read.blocks(right_to_left=right_to_left)


def _join(line: Detections) -> str:
    return " ".join(line.texts or ())


def _height(line: Detections) -> float:
    return float(np.median(np.linalg.norm(line.quads[:, 3] - line.quads[:, 0], axis=1)))


def _along(line: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Return where texts of a line begin and end along it, (N,) each, in pixels."""
    direction = (line.quads[:, 1] - line.quads[:, 0]).sum(axis=0)
    places = line.quads @ (direction / max(float(np.linalg.norm(direction)), 1e-6))
    return places.min(axis=1), places.max(axis=1)


def _cells(line: Detections) -> list[tuple[float, float, str]]:
    """Join the words of a line to cells: (start, end, text)."""
    starts, ends = _along(line)
    reach = WORD_GAP * _height(line)
    cells: list[tuple[float, float, str]] = []
    for start, end, text in zip(starts, ends, line.texts or (), strict=True):
        gap = max(start - cells[-1][1], cells[-1][0] - end) if cells else np.inf
        cell = (float(start), float(end), text)
        if gap < reach:
            before = cells.pop()
            cell = (min(before[0], start), max(before[1], end), f"{before[2]} {text}")
        cells.append(cell)
    return cells


def _table(rows: list[list[tuple[float, float, str]]]) -> str:
    """Set rows of cells under each other; the first is the head."""
    columns: list[list[float]] = []
    for start, end, _ in sorted(cell for row in rows for cell in row):
        if columns and start < columns[-1][1]:
            columns[-1][1] = max(columns[-1][1], end)
        else:
            columns.append([start, end])
    reverse = any(a[0] > b[0] for row in rows for a, b in pairwise(row))
    lines = []
    for row in rows:
        texts = [
            " ".join(text for start, _, text in row if column[0] <= start < column[1])
            for column in columns
        ]
        texts = texts[::-1] if reverse else texts
        lines.append("| " + " | ".join(map(_escape, texts)) + " |")
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def _escape(text: str) -> str:
    """Escape what Markdown would take for markup."""
    text = re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)]\s)|^([#+\-=]|~~~)", r"\1\\\2\3", text) if text else text


def _xml(text: str) -> str:
    """Escape for XML; characters that XML cannot hold are replaced by U+FFFD."""
    return escape(
        re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    )


def _attribute(text: str) -> str:
    return '"' + _xml(text).replace('"', "&quot;") + '"'


def _corners(lines: list[Detections]) -> list[int]:
    boxes = np.concatenate([line.boxes for line in lines])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return [round(float(value)) for value in (*low, *high)]


def _bbox(lines: list[Detections]) -> str:
    return "bbox " + " ".join(map(str, _corners(lines)))


def _extent(lines: list[Detections]) -> str:
    x_min, y_min, x_max, y_max = _corners(lines)
    return f'HPOS="{x_min}" VPOS="{y_min}" WIDTH="{x_max - x_min}" HEIGHT="{y_max - y_min}"'
