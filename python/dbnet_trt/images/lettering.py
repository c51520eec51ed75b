# SPDX-License-Identifier: Apache-2.0
"""Lettering of drawn pictures, in fonts that have the characters."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..extras import install_hint

if TYPE_CHECKING:
    from PIL import ImageFont

SYSTEM_FONTS = (Path("/usr/share/fonts"), Path("/Library/Fonts"), Path("C:/Windows/Fonts"))
"""Font folders of Linux, macOS and Windows."""

FIRST_FONTS = ("NotoSans-Regular", "OpenSans-Regular", "DejaVuSans", "Arial")
"""Fonts that are taken before others if they have the characters."""

LETTER_COLORS = ((30, 30, 30), (255, 255, 255))  # of letters and of their rim: readable everywhere

logger = logging.getLogger("dbnet_trt")


def draw_texts(
    image: NDArray[np.uint8], places: NDArray[np.float32], texts: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Draw texts above their outlines.

    Args:
        image: (H, W, 3) uint8 BGR.
        places: (N, 4, 2) float32, corners (x, y) in pixels.
        texts: N texts. Characters that no font of this machine has are drawn as the font's box, and
            a warning names them.

    Returns:
        (H, W, 3) uint8 BGR, a copy.

    Raises:
        ImageError: Pillow or any font is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise ImageError(
            f"drawing text needs the package Pillow ({error}); {install_hint('PIL')}"
        ) from error
    canvas = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    draw = ImageDraw.Draw(canvas)
    letters, rim = LETTER_COLORS
    missing: set[str] = set()
    for quad, text in zip(places, texts, strict=True):
        shown = " ".join(text.split())
        if not shown:
            continue
        sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
        size = int(np.clip(0.5 * sides.min(), 11, 40))
        path, lacking = _choose_font(frozenset(shown))
        missing |= lacking
        x, y = float(quad[:, 0].min()), float(quad[:, 1].min()) - 1
        at = (max(x, 1.0), max(y, 1.2 * size))
        font = _load_font(path, size)
        draw.text(at, shown, letters, font, "ls", stroke_width=max(1, size // 9), stroke_fill=rim)
    if missing:
        named = "".join(sorted(missing))
        logger.warning("no font has %s; install one that does, as fonts-noto-cjk", named)
    return np.asarray(canvas, np.uint8)[:, :, ::-1].copy()


@functools.cache
def _font_files() -> tuple[Path, ...]:
    """List the fonts of this machine, the preferred ones first.

    Raises:
        ImageError: There is none.
    """
    files = sorted(
        file
        for folder in SYSTEM_FONTS
        for file in folder.rglob("*")
        if file.suffix.lower() in (".ttf", ".otf", ".ttc")
    )
    if not files:
        raise ImageError(
            f"drawing text needs a font, and there is none below "
            f"{', '.join(map(str, SYSTEM_FONTS))}; install one (Debian: fonts-dejavu-core)"
        )
    order = {name: number for number, name in enumerate(FIRST_FONTS)}
    return tuple(sorted(files, key=lambda file: order.get(file.stem, len(order))))


@functools.lru_cache(maxsize=4096)
def _choose_font(characters: frozenset[str]) -> tuple[Path, frozenset[str]]:
    """Return the first font with most of the characters, and those that it lacks."""
    best: tuple[Path, frozenset[str]] | None = None
    for file in _font_files():
        lacking = frozenset(each for each in characters if not _has(file, each))
        if best is None or len(lacking) < len(best[1]):
            best = file, lacking
        if not lacking:
            break
    assert best is not None
    return best


@functools.lru_cache(maxsize=1 << 16)
def _has(file: Path, character: str) -> bool:
    """Test whether a font has a character: missing ones are all drawn as the same box."""
    if character.isspace():
        return True
    try:
        font = _load_font(file, 16)
        return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))
    except OSError:
        return False


@functools.lru_cache(maxsize=256)
def _load_font(file: Path, size_px: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(file), size_px)
