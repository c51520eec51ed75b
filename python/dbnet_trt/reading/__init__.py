# SPDX-License-Identifier: Apache-2.0
"""Reading of the text that was found, by a recogniser of your choice."""

from .ctc import CtcConfig, CtcReader
from .markup import to_markdown, to_text
from .readers import Reader, Reading, onnxtr_reader, open_reader, rapidocr_reader
from .reading import read_text
from .xml_pages import ReadPage, pages_to_alto, pages_to_hocr, to_alto, to_hocr

__all__ = [
    "CtcConfig",
    "CtcReader",
    "ReadPage",
    "Reader",
    "Reading",
    "onnxtr_reader",
    "open_reader",
    "pages_to_alto",
    "pages_to_hocr",
    "rapidocr_reader",
    "read_text",
    "to_alto",
    "to_hocr",
    "to_markdown",
    "to_text",
]
