# SPDX-License-Identifier: Apache-2.0
"""Draw demo.jpg, a street with straight, slanted, curved and foreshortened text.

It needs Pillow and the Debian packages fonts-dejavu-core, fonts-bebas-neue, fonts-lobster and
fonts-open-sans. The picture is committed, so that nobody else needs them.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, WIDTH = 800, 1280
FONTS = "/usr/share/fonts"
BEBAS = f"{FONTS}/opentype/bebas-neue/BebasNeue-Bold.otf"
LOBSTER = f"{FONTS}/opentype/lobster/lobster.otf"
SANS = f"{FONTS}/truetype/open-sans/OpenSans-Semibold.ttf"
BOLD = f"{FONTS}/truetype/dejavu/DejaVuSans-Bold.ttf"

Color = tuple[int, int, int]
Font = tuple[str, int]  # file and size
Corners = list[tuple[float, float]]

CREAM, INK, GOLD, WHITE = (250, 240, 220), (38, 34, 40), (246, 205, 120), (255, 255, 255)


def board(size: tuple[int, int], fill: Color, frame: Color | None = None) -> Image.Image:
    """Draw an empty sign of (width, height) pixels with round corners."""
    sign = Image.new("RGBA", size, (0, 0, 0, 0))
    box = (0, 0, size[0] - 1, size[1] - 1)
    ImageDraw.Draw(sign).rounded_rectangle(box, 18, fill, frame, 8 if frame else 0)
    return sign


def write(sign: Image.Image, text: str, y: float, font: Font, color: Color) -> None:
    """Write a line of text, centred at height y of a sign."""
    face = ImageFont.truetype(*font)
    ImageDraw.Draw(sign).text((sign.width / 2, y), text, color, face, "mm")


def write_arc(
    sign: Image.Image, text: str, arc: tuple[float, float], size: int, color: Color
) -> None:
    """Write along a circle around the sign's middle: an arc of (radius, direction in degrees)."""
    radius, middle_degrees = arc
    face = ImageFont.truetype(BOLD, size)
    below = 0 < middle_degrees < 180
    direction = -1 if below else 1
    widths = [face.getlength(letter) + 3 for letter in text]
    angle = middle_degrees - direction * np.degrees(sum(widths) / 2 / radius)
    for letter, width in zip(text, widths, strict=True):
        step = direction * np.degrees(width / radius)
        at = np.radians(angle + step / 2)
        glyph = Image.new("RGBA", (3 * size, 3 * size), (*color, 0))
        ImageDraw.Draw(glyph).text((1.5 * size, 1.5 * size), letter, color, face, "mm")
        turned = glyph.rotate(-np.degrees(at) + (90 if below else -90), Image.Resampling.BICUBIC)
        x = sign.width / 2 + radius * np.cos(at) - 1.5 * size
        y = sign.height / 2 + radius * np.sin(at) - 1.5 * size
        sign.alpha_composite(turned, (round(x), round(y)))
        angle += step


def hang(street: np.ndarray, sign: Image.Image, corners: Corners, shadow: float = 9) -> None:
    """Put a sign into the street, its corners (clockwise from the top left) at these points."""
    width, height = sign.size
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    pixels = np.asarray(sign).astype(np.float32)
    pixels[:, :, :3] *= pixels[:, :, 3:] / 255
    transform = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
    warped = cv2.warpPerspective(pixels, transform, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
    alpha = warped[:, :, 3:] / 255
    if shadow:
        moved = np.roll(alpha, (round(shadow), round(shadow * 0.7)), (0, 1))
        street *= 1 - 0.45 * cv2.GaussianBlur(moved, (0, 0), shadow / 1.6)[:, :, None]
    street *= 1 - alpha
    street += warped[:, :, :3]


def gradient(street: np.ndarray, rows: slice, top: Color, foot: Color) -> None:
    """Fill rows with a gradient between two colours."""
    count = rows.stop - rows.start
    share = np.linspace(0, 1, count, dtype=np.float32)[:, None, None]
    street[rows] = np.float32(top) * (1 - share) + np.float32(foot) * share


def bricks(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw a wall of slightly different bricks."""
    wall = Image.new("RGBA", (width, height), (118, 96, 88, 255))
    draw = ImageDraw.Draw(wall)
    for row in range(height // 20 + 1):
        for column in range(-1, width // 46 + 1):
            shade = rng.normal(0, 9)
            color = tuple(int(c + shade) for c in (150, 80, 66))
            x, y = column * 46 + row % 2 * 23, row * 20
            draw.rectangle((x + 2, y + 2, x + 43, y + 17), (*color, 255))
    return wall


def window(width: int, height: int) -> Image.Image:
    """Draw a lit shop window with four panes."""
    pane = board((width, height), (52, 38, 34))
    light = np.zeros((height - 32, width - 32, 4), np.uint8)
    rows, columns = np.mgrid[0 : height - 32, 0 : width - 32].astype(np.float32)
    glow = np.exp(-(((columns / width - 0.45) / 0.5) ** 2 + ((rows / height - 0.3) / 0.6) ** 2))
    light[:, :, :3] = np.float32((110, 74, 44)) + glow[:, :, None] * np.float32((140, 130, 80))
    light[:, :, 3] = 255
    pane.alpha_composite(Image.fromarray(light), (16, 16))
    draw = ImageDraw.Draw(pane)
    draw.rectangle((width // 2 - 5, 0, width // 2 + 5, height), (52, 38, 34))
    draw.rectangle((0, height // 4, width, height // 4 + 9), (52, 38, 34))
    return pane


def awning(width: int, height: int) -> Image.Image:
    """Draw a striped awning with a scalloped edge."""
    cloth = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(cloth)
    stripe = width / 14
    for i in range(14):
        color = (176, 44, 48) if i % 2 else CREAM
        x = i * stripe
        draw.rectangle((x, 0, x + stripe, height - stripe / 2), color)
        draw.ellipse((x, height - stripe, x + stripe, height - 1), color)
    return cloth


def scenery(rng: np.random.Generator) -> np.ndarray:
    """Draw the street without its signs: (HEIGHT, WIDTH, 3) float32 RGB."""
    street = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    gradient(street, slice(0, 520), (94, 128, 176), (250, 206, 160))
    gradient(street, slice(520, HEIGHT), (128, 118, 114), (66, 64, 70))
    hang(street, bricks(rng, 900, 640), [(-20, -60), (560, 120), (560, 560), (-20, 690)], 0)
    hang(
        street,
        board((540, 640), (214, 200, 176)),
        [(760, -40), (1300, -40), (1300, 600), (760, 600)],
    )
    hang(street, window(420, 330), [(60, 330), (400, 348), (400, 556), (60, 606)], 4)
    hang(street, window(400, 300), [(830, 300), (1060, 300), (1060, 540), (830, 540)], 4)
    hang(
        street,
        board((150, 300), (60, 88, 84), (40, 60, 58)),
        [(1100, 290), (1240, 290), (1240, 598), (1100, 598)],
    )
    hang(street, awning(700, 150), [(40, 262), (420, 290), (436, 372), (16, 356)])
    pavement = board((900, 90), (168, 160, 152))
    hang(street, pavement, [(-300, 690), (560, 556), (600, 580), (-300, 760)], 0)
    hang(street, pavement, [(730, 596), (1400, 596), (1400, 640), (700, 640)], 0)
    return street


def add_signs(street: np.ndarray) -> None:
    """Add every sign with text."""
    bakery = board((760, 150), (44, 60, 74), GOLD)
    write(bakery, "Corner Bakery", 70, (LOBSTER, 112), GOLD)
    hang(street, bakery, [(30, 122), (440, 202), (440, 284), (30, 238)])

    cafe = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    ImageDraw.Draw(cafe).ellipse((0, 0, 399, 399), (122, 32, 44), GOLD, 10)
    ImageDraw.Draw(cafe).ellipse((98, 98, 301, 301), (148, 44, 54), GOLD, 4)
    write_arc(cafe, "FRESH COFFEE", (146, -90), 42, CREAM)
    write_arc(cafe, "SINCE 1987", (146, 90), 36, CREAM)
    write(cafe, "Café", 194, (LOBSTER, 96), GOLD)
    hang(street, cafe, [(868, 26), (1108, 26), (1108, 266), (868, 266)])

    menu = board((300, 380), (36, 42, 42), (150, 104, 62))
    for i, line in enumerate(("TODAY", "Soup 4.50", "Pasta 8.90", "Cake 3.20")):
        write(menu, line, 66 + 86 * i, (BEBAS, 76) if i == 0 else (SANS, 54), CREAM)
    hang(street, menu, [(650, 470), (786, 452), (806, 640), (664, 656)])

    way = board((520, 120), (26, 84, 150), WHITE)
    write(way, "HARBOUR  ST.", 64, (BEBAS, 92), WHITE)
    pole = Image.new("RGBA", (16, 560), (92, 96, 102, 255))
    hang(street, pole, [(600, 130), (610, 130), (612, 600), (600, 600)], 3)
    hang(street, way, [(496, 176), (714, 148), (714, 200), (496, 226)])
    detour = board((460, 120), (238, 178, 40), INK)
    write(detour, "DETOUR  300 M", 64, (BEBAS, 78), INK)
    hang(street, detour, [(522, 256), (700, 288), (690, 336), (512, 302)])

    lit = board((260, 120), (40, 30, 34))
    write(lit, "OPEN", 64, (BEBAS, 96), (255, 120, 96))
    hang(street, lit, [(112, 446), (228, 442), (228, 494), (112, 502)], 4)
    door = board((120, 60), CREAM)
    write(door, "No. 12", 30, (SANS, 34), INK)
    hang(street, door, [(1126, 322), (1214, 322), (1214, 366), (1126, 366)], 3)
    offer = board((300, 200), CREAM)
    write(offer, "ESPRESSO", 66, (BEBAS, 76), (122, 32, 44))
    write(offer, "to go", 140, (LOBSTER, 76), INK)
    hang(street, offer, [(872, 400), (1012, 388), (1020, 480), (880, 494)], 4)

    paint = Image.new("RGBA", (700, 240), (0, 0, 0, 0))
    write(paint, "SLOW", 120, (BEBAS, 260), (226, 222, 210))
    hang(street, paint, [(490, 680), (800, 680), (900, 780), (440, 780)], 0)


def photograph(street: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Imitate a camera: soft light, darker corners, slight blur and noise; returns uint8 BGR."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    off = ((rows / HEIGHT - 0.5) ** 2 + (columns / WIDTH - 0.5) ** 2)[:, :, None]
    bloom = cv2.GaussianBlur(np.clip(street - 150, 0, None), (0, 0), 22)
    lit = (street + 0.25 * bloom) * (1.05 - 0.55 * off)
    noise = cv2.GaussianBlur(rng.normal(0, 5, street.shape).astype(np.float32), (0, 0), 0.8)
    seen = cv2.GaussianBlur(lit, (0, 0), 0.7) + noise
    return np.clip(seen, 0, 255).astype(np.uint8)[:, :, ::-1]


if __name__ == "__main__":
    rng = np.random.default_rng(7)
    street = scenery(rng)
    add_signs(street)
    path = str(Path(__file__).with_name("demo.jpg"))
    cv2.imwrite(path, photograph(street, rng), [cv2.IMWRITE_JPEG_QUALITY, 85])
