# SPDX-License-Identifier: Apache-2.0
"""Pages of PDF files, drawn by PDFium."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..extras import install_hint

SIGNATURE = b"%PDF"

POINTS_PER_INCH = 72

WRONG_PASSWORD = 4
"""Code of PDFium's error for a file that needs a password."""

logger = logging.getLogger("dbnet_trt")

_pdfium_lock = threading.Lock()  # PDFium has global state


class PdfPages:
    """The pages of a PDF file. It is opened anew for each, so that nothing of a page remains."""

    has_numbers = True
    is_sequence = False

    def __init__(self, path: str, dpi: int, max_pixels: int) -> None:
        """Read the number of pages.

        Raises:
            ImageError: The file is damaged or encrypted, or pypdfium2 is missing.
        """
        self.path, self._dpi, self._max_pixels = path, dpi, max_pixels
        with _open(path) as pdf:
            self.num_pages = len(pdf)
        if self.num_pages < 1:
            raise ImageError(f"{path}: the PDF holds no page; it is damaged")

    def num_bytes(self, number: int) -> int:
        """Return the size of a page in memory."""
        with _open(self.path) as pdf, self._page(pdf, number) as page:
            height, width, _ = self._plan(page)
        return 3 * height * width

    def read(self, number: int) -> NDArray[np.uint8]:
        """Draw a page, on white.

        Returns:
            (H, W, 3) uint8, BGR.

        Raises:
            ImageError: The page is damaged.
        """
        with _open(self.path) as pdf:
            pdf.init_forms()  # or what is filled into forms is left out
            with self._page(pdf, number) as page:
                height, width, scale = self._plan(page)
                if scale < self._dpi / POINTS_PER_INCH:
                    logger.warning(
                        "%s page %d is drawn at %.0f dpi, %dx%d pixels: at %d dpi it has more than "
                        "%d; raise max_pixels (--max-pixels) if there is memory",
                        *(self.path, number, scale * POINTS_PER_INCH, width, height),
                        *(self._dpi, self._max_pixels),
                    )
                bitmap = page.render(scale=scale)
                try:
                    return np.array(bitmap.to_numpy()[:, :, :3])
                finally:
                    bitmap.close()

    @contextmanager
    def _page(self, pdf: Any, number: int) -> Iterator[Any]:
        import pypdfium2

        try:
            page = pdf[number - 1]
        except pypdfium2.PdfiumError:
            raise ImageError(f"{self.path} page {number} is damaged") from None
        try:
            yield page
        finally:
            page.close()

    def _plan(self, page: Any) -> tuple[int, int, float]:
        """Return height and width of a page in pixels, and pixels per point."""
        width, height = (max(float(side), 1e-3) for side in page.get_size())
        scale = min(self._dpi / POINTS_PER_INCH, math.sqrt(self._max_pixels / (width * height)))
        return math.ceil(height * scale), math.ceil(width * scale), scale


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """Open a PDF for a `with` block, in which no other thread uses PDFium.

    Raises:
        ImageError: The file cannot be opened, or pypdfium2 is missing.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise ImageError(
            f"{path} is a PDF, which needs pypdfium2; {install_hint('pypdfium2')}"
        ) from error
    with _pdfium_lock:
        try:
            pdf = pypdfium2.PdfDocument(Path(path))
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == WRONG_PASSWORD:
                raise ImageError(
                    f"{path} is encrypted; save it without its password first"
                ) from None
            raise ImageError(f"{path} cannot be read as a PDF: it is damaged or cut off") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{path} cannot be read: {reason}") from error
        try:
            yield pdf
        finally:
            pdf.close()
