# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of `architecture.md` from the code: python docs/drawing.py.

The floors and imports are those of tests/test_layers.py. Of the imports, those that follow from
others are left out: where A imports B and B imports C, no arrow goes from A to C.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_layers import FILES, FLOORS, imports  # noqa: E402

IMAGES = Path(__file__).parent / "images"
WIDTH = 760
PYTHON, NATIVE, OUTSIDE = "python", "native", "outside"
FILL = {PYTHON: "#e8eefc", NATIVE: "#e6f4ea", OUTSIDE: "#ffffff"}
EDGE = {PYTHON: "#4a6fc4", NATIVE: "#3d8b55", OUTSIDE: "#9aa0a6"}


class Box(NamedTuple):
    """A room, native sources, or something outside of the package, and what is inside."""

    kind: str
    title: str
    parts: str = ""


class Step(NamedTuple):
    """Boxes side by side, and what the arrow to the next step carries."""

    boxes: tuple[Box, ...]
    carries: str = ""


DETECTION = (
    Step((Box(OUTSIDE, "path, bytes, array, PIL image, video, camera"),)),
    Step(
        (Box(PYTHON, "images", "load · video · nv12 · gpu_memory"),),
        "image (H, W, 3), uint8, BGR",
    ),
    Step(
        (
            Box(NATIVE, "on the CPU", "csrc/preprocess.cpp"),
            Box(PYTHON, "pipeline", "preprocess · batching"),
            Box(NATIVE, "on the GPU", "kernels/preprocess.cu"),
        ),
        "tensor (B, 3, h, w), normalised, h and w multiples of 32",
    ),
    Step(
        (
            Box(PYTHON, "engines", "openvino · onnxruntime · torch"),
            Box(PYTHON, "opening", ""),
            Box(PYTHON, "engines", "tensorrt · torch"),
        ),
        "map (B, h, w): logits or probabilities, as the card says",
    ),
    Step(
        (
            Box(NATIVE, "on the CPU", "csrc/postprocess.cpp"),
            Box(PYTHON, "pipeline", "postprocess · polygons"),
            Box(NATIVE, "on the GPU", "kernels/components.cu\nkernels/boxes.cu"),
        ),
        "quads (N, 4, 2) and scores (N,), in pixels of the image",
    ),
    Step(
        (
            Box(PYTHON, "detections", ""),
            Box(PYTHON, "layout", "runs · cuts · paragraphs"),
            Box(PYTHON, "reading", "reading · ctc · markup"),
            Box(PYTHON, "tracking", "tracker · motion · overlap"),
        )
    ),
)

LEARNING = (
    Step(
        (
            Box(OUTSIDE, "photos and outlines"),
            Box(PYTHON, "synth", "scenes · surfaces · text_rendering"),
        ),
        "FORMAT:PATH#PART",
    ),
    Step(
        (Box(PYTHON, "data", "open · guess · readers · checks · dataset"),),
        "samples: image, outlines, which to ignore",
    ),
    Step(
        (
            Box(PYTHON, "training", "augment · targets · losses · train"),
            Box(PYTHON, "network", "backbone · dbnet · dcn · config"),
        ),
        "checkpoint (.safetensors)",
    ),
    Step(
        (Box(PYTHON, "network", "checkpoints · export"),),
        "model (.onnx) with its card",
    ),
    Step(
        (
            Box(PYTHON, "evaluation", "evaluate · protocols · report"),
            Box(PYTHON, "detector", ""),
            Box(PYTHON, "building", "build · lowering · compile · verify"),
        ),
    ),
)


def main() -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (IMAGES / name).write_text(text, encoding="utf-8")


def pictures() -> dict[str, str]:
    """Return the SVG text of each picture by its file name."""
    return {
        "detection.svg": draw_steps(DETECTION, "The way of an image through the package"),
        "learning.svg": draw_steps(LEARNING, "The way from photos to a model"),
        "rooms.svg": draw_rooms(),
    }


def missing_files() -> list[str]:
    """Return what the pictures name and the code does not have."""
    missing = []
    for step in DETECTION + LEARNING:
        for box in step.boxes:
            if box.kind == PYTHON:
                missing += [name for name in _modules(box) if not _is_module(name)]
            if box.kind == NATIVE:
                missing += [part for part in box.parts.split("\n") if not (ROOT / part).is_file()]
    return missing


def rooms_drawn() -> set[str]:
    """Return the rooms that `DETECTION` and `LEARNING` show."""
    boxes = [box for step in DETECTION + LEARNING for box in step.boxes]
    return {box.title for box in boxes if box.kind == PYTHON}


def _modules(box: Box) -> list[str]:
    parts = [part for part in box.parts.split(" · ") if part]
    return [f"{box.title}.{part}" for part in parts] or [box.title]


def _is_module(name: str) -> bool:
    return name in FILES or f"{name}.__init__" in FILES


def room_imports() -> dict[str, set[str]]:
    """Return which rooms each room imports, but for those that follow from others."""
    direct: dict[str, set[str]] = {}
    for name, file in FILES.items():
        room = name.partition(".")[0]
        others = {other.partition(".")[0] for other in imports(file)}
        direct.setdefault(room, set()).update(others - {room, "__init__"})

    def below(room: str) -> set[str]:
        found: set[str] = set()
        for other in direct.get(room, ()):
            found |= {other} | below(other)
        return found

    return {
        room: {
            other
            for other in others
            if not any(other in below(between) for between in others - {other})
        }
        for room, others in direct.items()
    }


def draw_steps(steps: tuple[Step, ...], title: str) -> str:
    """Return an SVG of steps from top to bottom."""
    parts, y = [], 16.0
    for number, step in enumerate(steps):
        height = 34 + 18 * max(len(box.parts.split("\n")) if box.parts else 0 for box in step.boxes)
        width = (WIDTH - 32 - 16 * (len(step.boxes) - 1)) / len(step.boxes)
        width = min(width, 420)
        left = (WIDTH - width * len(step.boxes) - 16 * (len(step.boxes) - 1)) / 2
        for index, box in enumerate(step.boxes):
            parts += _box(box, left + index * (width + 16), y, width, height)
        y += height
        if number < len(steps) - 1:
            parts.append(_arrow(WIDTH / 2, y + 3, WIDTH / 2, y + 35))
            parts.append(_text(WIDTH / 2 + 12, y + 24, step.carries, anchor="start", size=13))
            y += 40
    return _svg(parts, y + 16, title)


def draw_rooms() -> str:
    """Return an SVG of the floors, the rooms on them, and their imports."""
    row, height = 78, 36
    places: dict[str, tuple[float, float, float]] = {}
    parts = []
    for level, rooms in enumerate(reversed(FLOORS)):
        y = 16.0 + level * row
        parts.append(
            f'<rect x="8" y="{y - 8:.0f}" width="{WIDTH - 16}" height="{height + 16}" rx="8" '
            'fill="#f4f5f7"/>'
        )
        for index, room in enumerate(rooms):
            x = WIDTH * (index + 1) / (len(rooms) + 1)
            places[room] = (x, y, max(84.0, 9.5 * len(_shown(room)) + 20))
    arrows = []
    for room, others in sorted(room_imports().items()):
        x, y, width = places[room]
        ordered = sorted(others, key=lambda other: (places[other][0], other))
        for index, other in enumerate(ordered):
            start = x + width * 0.7 * ((index + 1) / (len(ordered) + 1) - 0.5)
            arrows.append(_arrow(start, y + height, places[other][0], places[other][1] - 3))
    boxes = []
    for room, (x, y, width) in places.items():
        kind = NATIVE if room == "_core" else PYTHON
        boxes += _box(Box(kind, _shown(room)), x - width / 2, y, width, height)
    return _svg(parts + arrows + boxes, 16 + len(FLOORS) * row - 18, "Who imports whom")


def _shown(room: str) -> str:
    is_package = f"{room}.__init__" in FILES
    return {"__init__": "dbnet_trt", "__main__": "python -m dbnet_trt"}.get(
        room, f"{room}/" if is_package else room
    )


def _box(box: Box, x: float, y: float, width: float, height: float) -> list[str]:
    title = f"{box.title}/" if box.parts and box.kind == PYTHON else box.title
    weight = "400" if box.kind == OUTSIDE else "600"
    lines = box.parts.split("\n") if box.parts else []
    return [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.0f}" rx="6" '
        f'fill="{FILL[box.kind]}" stroke="{EDGE[box.kind]}"/>',
        _text(x + width / 2, y + (22 if lines else height / 2 + 5), title, weight=weight),
        *(
            _text(x + width / 2, y + 42 + 18 * index, line, size=12.5)
            for index, line in enumerate(lines)
        ),
    ]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
        f'{x2:.1f} {y2:.1f}" fill="none" stroke="#6b7280" stroke-width="1.4" '
        'marker-end="url(#tip)"/>'
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", size: float = 14, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _svg(parts: list[str], height: float, title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" '
        'fill="#1f2937">'
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#6b7280"/></marker></defs>'
    )
    ground = f'<rect width="{WIDTH}" height="{height:.0f}" rx="10" fill="#fdfdfd"/>'
    return "\n".join([head, tip, ground, *parts, "</svg>", ""])


if __name__ == "__main__":
    main()
