# SPDX-License-Identifier: Apache-2.0
"""Large images in tiles: they overlap, and their maps are joined to one before text is looked for.

Each pixel of the joined map comes from the tile in whose middle it lies deepest. So the order of
tiles does not matter, and a line across a seam is one component. The map is held as bytes, the
probability times 255.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..settings import (
    MAX_CANDIDATES_LIMIT,
    MAX_ENLARGEMENT,
    MAX_REDUCTION,
    MAX_SIDE,
    PostprocessParams,
    ResizePlan,
    SizePolicy,
    Tiles,
    round_up,
)
from .postprocess import postprocess
from .text_limit import TextLimit

SURE_PIXELS = 50_400_000
"""Pixels from which an image that would be shrunk far is taken in tiles without a look: phones take
photos of up to 50 megapixels (8192x6144)."""

SMALL_TEXT_PX = 9.0
"""Height of outlines in the network, in pixels, below which text is small. Their median was 10 or
more on each of 276 photos with text (ICDAR 2003, 2011 and 2015, MSRA-TD500, SVT; ppocrv6-small,
dbnet-mobile), and 6 to 8 on drawings that lost text."""

CLOSER_SIDE = 2048
"""Largest long side of a second look, in pixels: engines are built for it by default."""

MAX_ASPECT = 10
"""Ratio of its sides from which an image that long_side_limit would shrink is in tiles: receipts
and long screenshots."""


class TileRunner(Protocol):
    """The part of a runner that the join in main memory calls."""

    limit: TextLimit

    def tile_maps(
        self, batches: Iterable[list[Any]], padded: tuple[int, int]
    ) -> Iterator[NDArray[np.float32]]:
        """Run batches of tiles through the network, without looking for text.

        Args:
            batches: Batches of B tiles, cut from an image from `load`; they are not resized.
            padded: Size of the network's input, which the tiles fit into.

        Yields:
            (B, h, w) float32 of size `padded`, for each batch: probabilities in [0, 1].

        Raises:
            EngineError: The network failed.
        """


class Axis(NamedTuple):
    """Tiles along one axis of the resized image, in pixels."""

    side: int
    """Length of each tile, a multiple of 32."""

    places: list[tuple[int, tuple[int, int]]]
    """Where each begins, a multiple of 32, and the part [begin, end) of the joined map that it
    gives."""


class TilePlan(NamedTuple):
    """Sizes of an image, and its tiles."""

    image: tuple[int, int]
    """Size (height, width) of the original image."""

    resized: tuple[int, int]
    """Size of the resized image, and of the joined map."""

    rows: Axis
    """Tiles from top to bottom."""

    columns: Axis
    """Tiles from left to right."""

    @property
    def padded(self) -> tuple[int, int]:
        """Size (height, width) of the network's input."""
        return self.rows.side, self.columns.side

    @property
    def num_tiles(self) -> int:
        """Number of tiles."""
        return len(self.rows.places) * len(self.columns.places)


def must_tile(
    plan: ResizePlan, size: SizePolicy, tiles: Tiles | Literal["auto", "off"]
) -> bool | None:
    """Decide by its size whether an image is taken in tiles; None where its text must decide.

    Args:
        plan: How it is resized without tiles.
        size: Size of images in the network.
        tiles: Option of the call.
    """
    (height, width), (rows, columns) = plan.image, plan.resized
    if tiles == "off":
        return False
    if isinstance(tiles, Tiles):
        return rows < height or columns < width or max(plan.padded) > tiles.side
    wanted = min(size.short_side / min(height, width), MAX_ENLARGEMENT)
    is_shrunk_by_limit = size.long_side_limit < max(height, width) * min(wanted, 1)
    if is_shrunk_by_limit and max(height, width) > MAX_ASPECT * min(height, width):
        return True
    if max(height, width) <= MAX_REDUCTION * max(rows, columns):
        return False
    return True if height * width > SURE_PIXELS else None


def closer_plan(plan: ResizePlan) -> ResizePlan:
    """Plan a second look at an image in which no text was found: twice as large in the network,
    or as far as `CLOSER_SIDE` allows. Text that is lost at the first look is often there, and its
    height tells whether tiles are needed."""
    long_side = max(*plan.resized, min(2 * max(plan.resized), CLOSER_SIDE))
    return SizePolicy(long_side, long_side).plan(*plan.image)


def has_small_text(found: Detections | None, plan: ResizePlan) -> bool:
    """Whether most text that was found in an image is small in the network, by this plan."""
    if not found:
        return False
    sides = np.linalg.norm(found.quads[:, :2] - found.quads[:, 1:3], axis=2).min(axis=1)
    return bool(np.median(sides) * max(plan.resized) < SMALL_TEXT_PX * max(plan.image))


def plan_tiles(image: Any, size: SizePolicy, tiles: Tiles) -> TilePlan:
    """Plan the tiles of an image: it is never shrunk, and enlarged where `size` asks for it.

    Args:
        image: Image from `Runner.load`; only one in main memory, in BGR, can be enlarged.
        size: Size of images in the network.
        tiles: Maximum side and overlap.
    """
    height, width = image.shape[:2]
    factor = 1.0
    if isinstance(image, np.ndarray):
        factor = max(1.0, min(size.short_side / min(height, width), MAX_ENLARGEMENT))
        factor = min(factor, MAX_SIDE / max(height, width))
    resized = (max(1, round(height * factor)), max(1, round(width * factor)))
    rows, columns = (_plan_axis(length, tiles) for length in resized)
    return TilePlan((height, width), resized, rows, columns)


def _plan_axis(length: int, tiles: Tiles) -> Axis:
    """Cut an axis into the fewest tiles, all equally long and no longer than needed."""
    if length <= tiles.side:
        return Axis(round_up(length), [(0, (0, length))])
    count = -(-(length - tiles.overlap) // (tiles.side - tiles.overlap))
    side = round_up(-(-(length + (count - 1) * tiles.overlap) // count))
    starts = [i * (side - tiles.overlap) for i in range(count)]
    seams = [0, *(start + tiles.overlap // 2 for start in starts[1:]), length]
    return Axis(side, list(zip(starts, itertools.pairwise(seams), strict=True)))


def detect_in_tiles(
    runner: TileRunner,
    image: Any,
    plan: TilePlan,
    params: PostprocessParams,
    prob_map: bool,
    batch_size: int,
) -> Detections:
    """Detect the text in one image, and join its map in main memory.

    Args:
        runner: Runner of the network.
        image: Image from `Runner.load`.
        plan: Its tiles.
        params: Thresholds and ratios; `max_candidates` counts per tile.
        prob_map: Whether the result contains the probability map, of size `plan.resized`.
        batch_size: Number of tiles that go through the network at once.

    Raises:
        EngineError: The network cannot run.
    """
    joined = join_maps(runner, image, plan, batch_size)
    params = params_of_all(params, plan)
    whole = [ResizePlan(plan.image, plan.resized, plan.resized)]
    found = postprocess(joined[None], whole, runner.limit.ask(params), logits=False)
    best = runner.limit.keep_best(found, params)[0]
    return dataclasses.replace(best, prob_map=joined * np.float32(1 / 255)) if prob_map else best


def params_of_all(params: PostprocessParams, plan: TilePlan) -> PostprocessParams:
    """Multiply the limit on texts, which counts per tile, by the number of tiles."""
    limit = min(int(params.max_candidates) * plan.num_tiles, MAX_CANDIDATES_LIMIT)
    return dataclasses.replace(params, max_candidates=limit)


def join_maps(runner: TileRunner, image: Any, plan: TilePlan, batch_size: int) -> NDArray[np.uint8]:
    """Run the tiles of an image through the network, and join their maps.

    Returns:
        (h, w) uint8 of size `plan.resized`: the probability times 255.
    """
    import cv2

    joined = np.zeros(plan.resized, np.uint8)
    cut, parts = itertools.tee(cut_tiles(image, plan, batch_size))
    maps_of = runner.tile_maps((tiles for tiles, _ in cut), plan.padded)
    for maps, (_, places) in zip(maps_of, parts, strict=True):
        for values, (y, x, height, width, to_y, to_x) in zip(maps, places, strict=True):
            as_bytes = cv2.convertScaleAbs(values[y : y + height, x : x + width], alpha=255)
            _copy_text(as_bytes, joined[to_y : to_y + height, to_x : to_x + width])
    return joined


def _copy_text(values: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Copy what is not 0 into zeros, with as little around it as is simple: untouched zeros take
    no memory."""
    has_text = values.any(axis=1)
    bands = np.flatnonzero(np.diff(has_text, prepend=False, append=False)).reshape(-1, 2)
    for top, bottom in bands.tolist():
        columns = np.flatnonzero(values[top:bottom].any(axis=0))
        band = np.s_[top:bottom, columns[0] : columns[-1] + 1]
        target[band] = values[band]


Part = tuple[int, int, int, int, int, int]
"""A part of a tile's map: y and x in the tile, height and width, y and x in the joined map."""


def cut_tiles(
    image: Any, plan: TilePlan, batch_size: int
) -> Iterator[tuple[list[Any], list[Part]]]:
    """Cut an image, resized to its plan, into batches of tiles of one size.

    Yields:
        Batches of B tiles, and the part of the joined map that each gives.
    """
    if plan.resized != plan.image:
        import cv2

        image = cv2.resize(image, plan.resized[::-1], interpolation=cv2.INTER_LINEAR)
    places = list(itertools.product(plan.rows.places, plan.columns.places))
    size = min(batch_size, len(places))
    for i in range(0, len(places), size):
        group = places[i : i + size]
        group += group[-1:] * (size - len(group))  # filled up with the last tile: one shape for all
        tiles, parts = [], []
        for (y, (top, bottom)), (x, (left, right)) in group:
            tiles.append(_cut(image, y, x, plan.padded))
            parts.append((top - y, left - x, bottom - top, right - left, top, left))
        yield tiles, parts


def _cut(image: Any, y: int, x: int, size: tuple[int, int]) -> Any:
    """Cut out a tile, or the part of it that lies within the image, without copying."""
    if isinstance(image, np.ndarray):
        return image[y : y + size[0], x : x + size[1]]
    height, width = image.shape[:2]
    return image.cut(y, x, min(size[0], height - y), min(size[1], width - x))


def plan_as_they_are(tiles: Sequence[Any], padded: tuple[int, int]) -> list[ResizePlan]:
    """Plan the resizing of tiles: none, only padding."""
    sizes = [tile.shape[:2] for tile in tiles]
    return [ResizePlan(size, size, padded) for size in sizes]
