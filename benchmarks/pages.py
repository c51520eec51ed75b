# SPDX-License-Identifier: Apache-2.0
"""Drawn pages whose lines are known in reading order: columns at random, and layouts after real
ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from dbnet_trt.synth.text_rendering import COMMON_WORDS
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype/dejavu")
SANS, SERIF, BOLD = "DejaVuSansCondensed", "DejaVuSerifCondensed", "DejaVuSansCondensed-Bold"


@dataclass(frozen=True, slots=True)
class Line:
    """A drawn line: its corners (4, 2), text, and number of its block."""

    quad: NDArray[np.float32]
    text: str
    block: int


@dataclass
class Page:
    """A white page to draw on; lines are recorded in the order in which they are drawn."""

    width: int
    height: int
    rng: np.random.Generator
    lines: list[Line] = field(default_factory=list)
    block: int = 0

    def __post_init__(self) -> None:
        self._canvas = Image.new("RGB", (self.width, self.height), "white")
        self._draw = ImageDraw.Draw(self._canvas)

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR."""
        return np.asarray(self._canvas, np.uint8)[:, :, ::-1].copy()

    def words(self, count: int) -> str:
        """Choose common words; the first begins with a capital."""
        return " ".join(self.rng.choice(COMMON_WORDS, count)).capitalize()

    def text(
        self, x: float, y: float, text: str, size: int = 18, font: str = SANS, align: float = 0.0
    ) -> float:
        """Draw a line, left (0), centred (0.5) or right (1) at x; return the y below it."""
        face = ImageFont.truetype(str(FONTS / f"{font}.ttf"), size)
        x -= align * face.getlength(text)
        self._draw.text((x, y), text, "black", face)
        left, top, right, bottom = face.getbbox(text)
        low = y + max(bottom, 0.95 * size)
        high = y + min(top, 0.3 * size)
        corners = [[x + left, high], [x + right, high], [x + right, low], [x + left, low]]
        self.lines.append(Line(np.array(corners, np.float32), text, self.block))
        return y + 1.35 * size

    def rows(self, x: float, y: float, texts: list[str], size: int = 18, font: str = SANS,
             leading: float = 1.35, align: float = 0.0) -> float:  # fmt: skip
        """Draw a block of lines; return the y below them."""
        self.block += 1
        for text in texts:
            self.text(x, y, text, size, font, align)
            y += leading * size
        return y

    def paragraph(self, x: float, y: float, width: float, num_lines: int, size: int = 18,
                  font: str = SERIF, leading: float = 1.35) -> float:  # fmt: skip
        """Draw a block of lines of about this width, the last one shorter."""
        face = ImageFont.truetype(str(FONTS / f"{font}.ttf"), size)
        texts = []
        for number in range(num_lines):
            room = width * (self.rng.uniform(0.3, 0.9) if number == num_lines - 1 else 1)
            text = word = str(self.rng.choice(COMMON_WORDS))
            while face.getlength(text) <= room:
                word, text = text, f"{text} {self.rng.choice(COMMON_WORDS)}"
            texts.append(word)
        return self.rows(x, y, texts, size, font, leading)

    def picture(self, x: float, y: float, width: float, height: float) -> float:
        """Draw a gray box; return the y below it."""
        self._draw.rectangle((x, y, x + width, y + height), fill=(205, 210, 215))
        return y + height + 12

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """Draw the outline of a box."""
        self._draw.rectangle((x, y, x + width, y + height), outline=(120, 120, 120), width=2)

    def turned(self, x: float, y: float, texts: list[str], size: int = 18) -> None:
        """Draw a block of lines turned clockwise by 90 degrees, its top right corner at (x, y)."""
        self.block += 1
        for number, text in enumerate(texts):
            face = ImageFont.truetype(str(FONTS / f"{SANS}.ttf"), size)
            width, height = int(face.getlength(text)) + 2, int(1.3 * size)
            strip = Image.new("RGB", (width, height), "white")
            ImageDraw.Draw(strip).text((0, 0), text, "black", face)
            left = int(x - height * (number + 1))
            self._canvas.paste(strip.transpose(Image.Transpose.ROTATE_270), (left, int(y)))
            corners = [[left, y], [left + size, y], [left + size, y + width], [left, y + width]]
            self.lines.append(Line(np.array(corners, np.float32), text, self.block))


def turn(image: NDArray[np.uint8], lines: list[Line], degrees: float) -> tuple[
    NDArray[np.uint8], list[Line]
]:  # fmt: skip
    """Turn a page clockwise around its centre; it grows so that nothing is cut off."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    size = np.abs(matrix[:, :2]) @ [width, height]
    matrix[:, 2] += (size - [width, height]) / 2
    turned = cv2.warpAffine(
        image, matrix, (round(size[0]), round(size[1])), borderValue=(255, 255, 255)
    )
    moved = [
        Line((line.quad @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), line.text, line.block)
        for line in lines
    ]
    return np.asarray(turned, np.uint8), moved


def columns_page(index: int, seed: int = 0) -> Page:
    """Draw a page of two to four columns with unequal baselines, lengths and text sizes."""
    rng = np.random.default_rng((seed, index))
    num_columns = 2 + index % 3
    page = Page(int(rng.integers(900, 1300)), int(rng.integers(1100, 1500)), rng)
    y, margin = 50.0, 60
    if rng.random() < 0.7:
        y = page.rows(margin, y, [page.words(int(rng.integers(3, 6)))], 40, BOLD) + 20
    parts = 2 if rng.random() < 0.3 else 1
    for part in range(parts):
        end = page.height - 90 if part == parts - 1 else page.height * 0.5
        y = _columns(page, num_columns, y, end, margin)
        if part < parts - 1:
            face = ImageFont.truetype(str(FONTS / f"{BOLD}.ttf"), 30)
            text = page.words(3)
            while face.getlength(text) < 0.8 * (page.width - 2 * margin):
                text += " " + page.words(1).lower()
            y = page.rows(margin, y + 10, [text], 30, BOLD) + 10
    if rng.random() < 0.5:
        page.rows(page.width / 2, page.height - 50, [f"Page {index + 1} of 100"], 16, align=0.5)
    return page


def _columns(page: Page, count: int, y: float, end: float, margin: int) -> float:
    """Fill columns from y to about `end`; return the y below the longest."""
    rng = page.rng
    size = int(rng.integers(15, 21))
    gutter = size * rng.uniform(1.6, 3)
    width = (page.width - 2 * margin - gutter * (count - 1)) / count
    lowest = y
    for column in range(count):
        x = margin + column * (width + gutter)
        own = size + int(rng.integers(-1, 2))
        leading = rng.uniform(1.25, 1.55)
        bottom = y + (end - y) * (rng.uniform(0.6, 1) if column == count - 1 else 1)
        top = y + rng.uniform(0, own)
        if rng.random() < 0.25:
            top = page.picture(x, top, width, rng.uniform(60, 160))
        while top + 3 * leading * own < bottom:
            if rng.random() < 0.3:
                top = page.rows(x, top, [page.words(2)], own + 6, BOLD) + 4
            room = int((bottom - top) / (leading * own))
            if room < 1:
                break
            num_lines = min(room, int(rng.integers(3, 9)))
            top = page.paragraph(x, top, width, num_lines, own, leading=leading)
            top += rng.uniform(0.3, 1.2) * own
        lowest = max(lowest, top)
    return lowest


# ---- Layouts after real pages ------------------------------------------------------------------


def newspaper(page: Page) -> None:
    page.rows(350, 20, ["The Morning Letter"], 50, SERIF, align=0.5)
    page.rows(40, 95, ["A long headline runs over all the columns of it"], 26, BOLD)
    for x, start in ((40, 150), (255, 157), (470, 153)):
        y = page.paragraph(x, start, 195, 9, 15)
        if x == 255:
            y = page.picture(x, y, 190, 100)
        page.paragraph(x, y + 12, 195, 7 if x == 255 else 12, 15)


def front_page(page: Page) -> None:
    page.rows(40, 25, ["Two stories, one above the other"], 30, BOLD)
    for x, start in ((40, 80), (370, 86)):
        page.paragraph(x, start, 290, 10, 16)
    page.rows(40, 340, ["The second story has three columns in it"], 28, BOLD)
    for x, start in ((40, 400), (255, 404), (470, 409)):
        page.paragraph(x, start, 195, 12, 15)


def paper(page: Page) -> None:
    page.rows(350, 30, ["Detection of Text in Drawn Pages"], 28, BOLD, align=0.5)
    page.rows(350, 75, ["A. Writer and B. Reader"], 17, align=0.5)
    page.rows(350, 110, ["Abstract"], 18, BOLD, align=0.5)
    page.paragraph(120, 140, 460, 4, 14)
    for x in (50, 370):
        y = page.rows(x, 250, ["1  Introduction" if x == 50 else "2  Method"], 18, BOLD)
        y = page.paragraph(x, y + 4, 280, 8, 15)
        page.paragraph(x, y + 10, 280, 7, 15)
    page.rows(350, 700, ["1"], 15, align=0.5)


def receipt(page: Page) -> None:
    page.rows(350, 30, ["CORNER SHOP", "12 Market Street"], 24, align=0.5)
    page.block += 1
    y = 130.0
    for item, price in (("Bread", "2.40"), ("Milk 1 l", "1.15"), ("Apples 2 kg", "4.98"),
                        ("Coffee beans", "8.99")):  # fmt: skip
        page.text(180, y, item, 20)
        y = page.text(520, y, price, 20, align=1)
    page.block += 1
    page.text(180, y + 25, "TOTAL", 26, BOLD)
    page.text(520, y + 25, "17.52", 26, BOLD, align=1)
    page.rows(350, y + 100, ["Thank you, come again"], 18, align=0.5)


def form(page: Page) -> None:
    page.rows(40, 30, ["Registration"], 30, BOLD)
    page.block += 1
    y = 110.0
    for label, value in (("Name", "Ada Lovelace"), ("Street", "12 St James's Square"),
                         ("Town", "London"), ("Born", "10 December 1815")):  # fmt: skip
        page.text(40, y, label, 18)
        page.frame(200, y - 6, 420, 34)
        y = page.text(212, y, value, 18) + 22
    page.paragraph(40, y + 30, 600, 3, 16)
    page.block += 1
    page.text(40, y + 150, "Date", 16)
    page.text(400, y + 150, "Signature", 16)


def slide(page: Page) -> None:
    page.rows(40, 30, ["What we have learnt"], 40, BOLD)
    page.rows(60, 130, ["Good", "It is fast on small machines", "It is exact to the pixel",
                        "It says what went wrong"], 22, leading=1.8)  # fmt: skip
    page.rows(390, 140, ["Bad", "Curved lines are rare", "It knows no handwriting at all",
                         "Maps are left out for now"], 22, leading=1.8)  # fmt: skip
    page.rows(660, 640, ["7"], 16, align=1)


def menu(page: Page) -> None:
    page.rows(350, 30, ["MENU"], 46, SERIF, align=0.5)
    for x, start, dishes in ((40, 130, ("Soup", "Salad", "Bread", "Cheese")),
                             (380, 143, ("Fish", "Pasta", "Steak", "Pie", "Curry"))):  # fmt: skip
        y = page.rows(x, start, ["Starters" if x == 40 else "Mains"], 26, BOLD) + 10
        page.block += 1
        for number, dish in enumerate(dishes):
            page.text(x, y, f"{dish} of the day", 18)
            y = page.text(x + 280, y, f"{number + 5}.50", 18, align=1) + 14


def comic(page: Page) -> None:
    panels = (
        (60, 60, "Who is there?"),
        (420, 110, "It is me,|the cat!"),
        (70, 420, "Come in|then"),
        (400, 400, "Is there|any fish?"),
    )
    for number, (x, y, text) in enumerate(panels):
        page.frame(30 + 330 * (number % 2), 30 + 340 * (number // 2), 310, 320)
        page.rows(x + 20, y, text.split("|"), 24)


def table(page: Page) -> None:
    page.rows(40, 30, ["Results of the four machines"], 26, BOLD)
    page.block += 1
    rows = (("Machine", "Cores", "Time", "Power"), ("Small board", "4", "812", "6"),
            ("Laptop", "8", "95", "28"), ("Old server", "32", "44", "310"),
            ("New server", "96", "12", "350"))  # fmt: skip
    for number, row in enumerate(rows):
        for x, cell in zip((40, 260, 400, 540), row, strict=True):
            page.text(x, 110 + 44 * number, cell, 20)
    page.paragraph(40, 370, 600, 4, 17)


def wide_table(page: Page) -> None:
    page.block += 1
    for number in range(8):
        for x, cell in ((40, f"{number + 1}"), (90, page.words(5)), (420, f"{number * 7 + 3}"),
                        (520, page.words(1)), (620, f"{number}.{number}")):  # fmt: skip
            page.text(x, 60 + 52 * number, cell, 17)


def letter(page: Page) -> None:
    page.rows(40, 40, ["Ms. B. Reader", "4 Long Lane", "Oxford"], 18)
    page.rows(660, 190, ["3 May 2026"], 18, align=1)
    y = page.paragraph(40, 250, 600, 5, 18)
    y = page.paragraph(40, y + 14, 600, 6, 18)
    page.rows(40, y + 40, ["Yours", "A. Writer"], 18)


def poster(page: Page) -> None:
    page.rows(350, 60, ["SUMMER"], 90, BOLD, align=0.5)
    page.rows(350, 190, ["of music"], 60, SERIF, align=0.5)
    page.picture(150, 300, 400, 200)
    page.block += 1
    page.text(60, 540, "21 June", 30)
    page.text(640, 540, "8 pm", 30, align=1)
    page.rows(350, 640, ["Free for all who come early"], 22, align=0.5)


def contents(page: Page) -> None:
    page.rows(40, 40, ["Contents"], 34, BOLD)
    page.block += 1
    for number in range(9):
        y = 130 + 40 * number
        page.text(40, y, f"{number + 1}", 18)
        page.text(90, y, page.words(int(page.rng.integers(2, 6))), 18)
        page.text(650, y, f"{number * 12 + 3}", 18, align=1)


def sidebar(page: Page) -> None:
    page.rows(40, 30, ["A page with a narrow note beside the text"], 26, BOLD)
    y = page.paragraph(40, 100, 400, 9, 17)
    page.paragraph(40, y + 14, 400, 10, 17)
    page.frame(470, 100, 200, 300)
    y = page.rows(485, 118, ["Note"], 20, BOLD)
    page.paragraph(485, y, 175, 9, 15)


def staggered(page: Page) -> None:
    y = page.paragraph(40, 50, 250, 7, 17)
    page.picture(40, y, 250, 120)
    page.paragraph(40, y + 140, 250, 9, 17)
    y = page.picture(330, 50, 330, 170)
    page.paragraph(330, y + 6, 330, 15, 17)


def business_card(page: Page) -> None:
    page.frame(60, 150, 580, 340)
    page.rows(100, 190, ["Ada Lovelace"], 36, SERIF)
    page.rows(100, 245, ["Analyst"], 20)
    page.rows(100, 370, ["ada@engine.example", "+44 20 7946 0000"], 18)
    page.rows(600, 380, ["12 St James's", "London"], 18, align=1)


def crossing(page: Page) -> None:
    page.rows(90, 40, ["A plot with a label at its side"], 26, BOLD)
    page.turned(70, 160, ["Time in seconds"], 18)
    page.picture(90, 110, 520, 330)
    page.rows(350, 460, ["Number of texts"], 18, align=0.5)
    page.paragraph(60, 520, 580, 4, 17)


def landscape(page: Page) -> None:
    page.turned(660, 40, ["A page that was scanned on its side"], 28)
    page.turned(590, 40, [page.words(9) for _ in range(8)], 16)
    page.turned(370, 40, [page.words(9) for _ in range(7)], 16)


def street(page: Page) -> None:
    page.picture(0, 0, 700, 760)
    page.rows(120, 80, ["BAKERY"], 60, BOLD)
    page.rows(150, 165, ["since 1987"], 26, SERIF)
    page.rows(480, 330, ["OPEN"], 34, BOLD)
    page.rows(90, 520, ["Fresh bread", "every morning"], 30)


def screen(page: Page) -> None:
    page.block += 1
    for x, word in ((20, "File"), (90, "Edit"), (165, "View"), (250, "Help")):
        page.text(x, 12, word, 17)
    page.rows(20, 80, ["Home", "Mail", "Notes", "Trash"], 19, leading=2.1)
    y = page.rows(180, 76, ["Mail from a friend"], 26, BOLD)
    y = page.paragraph(180, y + 12, 460, 6, 17)
    page.paragraph(180, y + 16, 460, 5, 17)


LAYOUTS: tuple[Callable[[Page], None], ...] = (
    newspaper, front_page, paper, receipt, form, slide, menu, comic, table, wide_table,
    letter, poster, contents, sidebar, staggered, business_card, crossing, landscape, street,
    screen,
)  # fmt: skip


def layout_page(number: int) -> Page:
    """Draw the layout of this number, 0 to 19."""
    page = Page(700, 760, np.random.default_rng(number))
    LAYOUTS[number](page)
    return page
