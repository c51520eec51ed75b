# SPDX-License-Identifier: Apache-2.0
"""Makes demo.jpg, the photo of a street that never was. Needs Pillow and the fonts below.

apt install fonts-lobster fonts-bebas-neue fonts-open-sans fonts-dejavu-core
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts")
LOBSTER = next(FONTS.rglob("[Ll]obster*.[ot]tf"))
BEBAS = next(FONTS.rglob("BebasNeue-Bold.otf"))
SANS = next(FONTS.rglob("OpenSans-Semibold.ttf"))
MONO = next(FONTS.rglob("DejaVuSansMono-Bold.ttf"))
SIZE = (1280, 800)


def label(text: str, font: Path, size: int, ink: str, paper: str, margin: int = 18) -> Image.Image:
    """A board with text on it, one line below the other."""
    face = ImageFont.truetype(str(font), size)
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox(
        (0, 0), text, face, spacing=14
    )
    board = Image.new("RGBA", (int(box[2]) + 2 * margin, int(box[3]) + 2 * margin), paper)
    ImageDraw.Draw(board).multiline_text((margin, margin), text, ink, face, spacing=14)
    return board


def hang(scene: np.ndarray, board: Image.Image, corners: list[tuple[int, int]]) -> np.ndarray:
    """Put a board into the scene, its corners (clockwise from the top left) at these pixels."""
    pixels = np.asarray(board, np.float32)
    height, width = pixels.shape[:2]
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(flat, np.array(corners, np.float32))
    placed = cv2.warpPerspective(pixels, turn, SIZE, flags=cv2.INTER_AREA)
    alpha = placed[:, :, 3:] / 255
    shadow = cv2.GaussianBlur(np.roll(alpha, (9, 7), (0, 1)), (0, 0), 7)[:, :, None]
    scene = scene * (1 - 0.5 * shadow * (1 - alpha))
    return scene * (1 - alpha) + placed[:, :, :3] * alpha


def arc(text: str, font: Path, size: int, ink: str, radius: float, degrees: float) -> Image.Image:
    """Text along the upper part of a circle."""
    face = ImageFont.truetype(str(font), size)
    canvas = Image.new("RGBA", (int(2 * radius + 2 * size), int(radius + 2 * size)), (0, 0, 0, 0))
    widths = np.array([face.getlength(letter) for letter in text])
    middles = (np.cumsum(widths) - widths / 2) / widths.sum()
    for letter, middle in zip(text, middles, strict=True):
        angle = np.radians((middle - 0.5) * degrees)
        tile = Image.new("RGBA", (2 * size, 2 * size), (0, 0, 0, 0))
        ImageDraw.Draw(tile).text((size, size), letter, ink, face, anchor="mm")
        tile = tile.rotate(-np.degrees(angle), Image.Resampling.BICUBIC)
        x = canvas.width / 2 + radius * np.sin(angle) - size
        y = 1.6 * size + radius * (1 - np.cos(angle)) - size
        canvas.alpha_composite(tile, (round(x), round(y)))
    return canvas


def wall(rng: np.random.Generator) -> np.ndarray:
    """(800, 1280, 3) float32 RGB: bricks in evening light, a window, a pavement."""
    scene = np.full((SIZE[1], SIZE[0], 3), (176, 104, 82), np.float32)
    for row in range(0, 640, 32):
        scene[row : row + 4] = (196, 184, 170)
        for x in range((row // 32 % 2) * 44, SIZE[0], 88):
            scene[row : row + 32, x : x + 4] = (196, 184, 170)
            scene[row + 4 : row + 32, x + 4 : x + 88] += rng.normal(0, 14)
    scene[640:] = (120, 118, 116)
    scene[300:640, 60:520] = (38, 48, 56)
    scene[312:628, 72:508] = np.linspace((96, 122, 134), (52, 66, 76), 316)[:, None]
    light = np.linspace(1.12, 0.72, SIZE[0])[None, :, None]
    texture = cv2.GaussianBlur(rng.normal(0, 22, scene.shape[:2]).astype(np.float32), (0, 0), 1.2)
    return np.asarray((scene + texture[:, :, None]) * light, np.float32)


def main() -> None:
    rng = np.random.default_rng(7)
    scene = wall(rng)
    name = label("Harbour Books", LOBSTER, 120, "#f6e7c8", "#1f4037", 30)
    scene = hang(scene, name, [(58, 92), (842, 70), (842, 238), (58, 252)])
    menu = label(
        "TODAY\nSoup of the day   4.50\nFresh bread   2.20\nCoffee and cake   5.90",
        SANS, 44, "#f4f4ee", "#23272b", 34,
    )  # fmt: skip
    scene = hang(scene, menu, [(566, 386), (826, 372), (846, 618), (560, 640)])
    street = label("LIGHTHOUSE ROAD", BEBAS, 90, "#ffffff", "#1b4f9c")
    scene = hang(scene, street, [(884, 150), (1236, 56), (1250, 122), (898, 218)])
    sale = label("SALE 50%", BEBAS, 110, "#ffffff", "#c4282d")
    scene = hang(scene, sale, [(920, 470), (1190, 548), (1166, 640), (896, 562)])
    glass = arc("OPEN EVERY DAY", SANS, 44, "#fdf6d8", 190, 150)
    scene = hang(scene, glass, [(90, 330), (490, 330), (490, 560), (90, 560)])
    plate = label("B 4711 DB", MONO, 60, "#151515", "#e9e9e2", 14)
    scene = hang(scene, plate, [(1010, 690), (1218, 694), (1217, 744), (1009, 739)])
    noisy = cv2.GaussianBlur(scene, (0, 0), 0.8) + rng.normal(0, 5, scene.shape)
    photo = np.clip(noisy, 0, 255).astype(np.uint8)
    target = Path(__file__).with_name("demo.jpg")
    cv2.imwrite(str(target), photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
