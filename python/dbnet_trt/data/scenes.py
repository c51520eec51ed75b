# SPDX-License-Identifier: Apache-2.0
"""Photos of one scene: near-duplicates, and views of the same sign, by keypoints that match.

SIFT keypoints with RootSIFT descriptors (Arandjelovic and Zisserman, CVPR 2012) are matched where
each is the other's nearest and clearly nearer than the next (Lowe's ratio); photos are linked if
enough matches fit one homography.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..cache import cache_folder, prune_cache
from ..errors import ImageError
from ..files import parse_json, write_atomically
from ..images.load import load_image

logger = logging.getLogger("dbnet_trt")

LONG_SIDE = 640
"""Long side in pixels at which keypoints are sought."""

MAX_KEYPOINTS = 600
"""Keypoints of a photo, the strongest."""

MAX_RATIO = 0.8
"""Largest distance of a match over that of the next nearest descriptor, as Lowe (2004) has it."""

MAX_ERROR_PX = 8.0
"""Largest error of a match that fits a homography, in pixels at `LONG_SIDE`."""

MIN_MATCHES = 20
"""Matches that fit one homography, from which photos show the same. In MSRA-TD500 train nearly all
pairs from 24 on show the same sign or print; from 20 to 23 about half do; below, most only share
some letters of a font, at 13 nearly all."""

CANDIDATES = 50
"""Photos that each photo is compared with: those that share most visual words. In MSRA-TD500 train
they hold all 24 pairs of 20 matches or more that comparing all with all found."""

VOCABULARY = 4000
"""Maximum number of visual words: descriptors drawn from those of all photos, one in ten at most,
so that words are shared."""

MAX_PHOTOS = 10_000
"""Largest number of photos, of 80 kB of descriptors each: under half an hour of one core."""

MAX_CACHE_BYTES = 50_000_000
"""Limit on the cache of links; the oldest are dropped first."""

CACHE_FORMAT = 1
"""Version of the cache; increase it when the same photos give other links."""


class Keypoints(NamedTuple):
    """Keypoints of one photo."""

    points: NDArray[np.float32]
    """(N, 2), (x, y) in pixels at `LONG_SIDE`."""

    descriptors: NDArray[np.uint8]
    """(N, 128) SIFT."""


def link_scenes(images: Sequence[Path]) -> list[tuple[int, int]]:
    """Find the pairs of photos that show the same scene.

    Each photo is compared with at most `CANDIDATES` others, so the time grows with the number of
    photos: 0.1 s of one core for the keypoints of a photo of 2 MP, and 2.5 ms for each comparison.
    The result is kept in the user's cache folder, for the same files.

    Args:
        images: Image files; one that is damaged is linked with none.

    Returns:
        Pairs of indices (i, j), i < j.

    Raises:
        ValueError: There are more than `MAX_PHOTOS`.
    """
    if len(images) > MAX_PHOTOS:
        raise ValueError(
            f"expected at most {MAX_PHOTOS} photos to be compared by scene, got {len(images)}; "
            "split the data set into folders of your own"
        )
    folder = cache_folder("scenes")
    entry = None if folder is None else folder / f"{_digest(images)}.blob"
    kept = _read_cache(entry, len(images))
    if kept is not None:
        return kept
    logger.info("comparing %d photos by keypoints, once: this takes a while", len(images))
    found = [_find_keypoints(image) for image in images]
    links = [pair for pair in _choose_pairs(found) if show_same(found[pair[0]], found[pair[1]])]
    if entry is not None:
        _keep(entry, links)
    return links


def join(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """Join linked photos into scenes: the smallest index of its scene, for each of `count`."""
    parents = list(range(count))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    for first, second in links:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    return [root(index) for index in range(count)]


def show_same(first: Keypoints, second: Keypoints) -> bool:
    """Whether two photos show the same, by the keypoints that match."""
    if min(len(first.points), len(second.points)) < MIN_MATCHES:
        return False
    similar = _to_root(first.descriptors) @ _to_root(second.descriptors).T
    nearest = similar.argmax(axis=1)
    two = -np.partition(-similar, 1, axis=1)[:, :2]
    distances = 2 - 2 * two  # squared
    matches = distances[:, 0] < MAX_RATIO**2 * distances[:, 1]
    matches &= similar.argmax(axis=0)[nearest] == np.arange(len(nearest))
    if matches.sum() < MIN_MATCHES:
        return False
    points = first.points[matches], second.points[nearest[matches]]
    _, fitting = cv2.findHomography(*points, cv2.RANSAC, MAX_ERROR_PX)
    return fitting is not None and int(fitting.sum()) >= MIN_MATCHES


def _find_keypoints(path: Path) -> Keypoints:
    try:
        gray = cv2.cvtColor(load_image(path), cv2.COLOR_BGR2GRAY)
    except ImageError as error:
        logger.debug("compared with no photo: %s", error)
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    factor = LONG_SIDE / max(gray.shape)
    if factor < 1:
        gray = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found, descriptors = cv2.SIFT_create(MAX_KEYPOINTS).detectAndCompute(gray, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    points = np.array([each.pt for each in found], np.float32).reshape(-1, 2)
    return Keypoints(points, descriptors.astype(np.uint8))


def _to_root(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert SIFT to RootSIFT, of length 1: (N, 128) float32."""
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-6))


def _choose_pairs(found: Sequence[Keypoints]) -> list[tuple[int, int]]:
    """Choose the pairs to compare: each photo with those that share most visual words."""
    if len(found) <= CANDIDATES:
        return [(i, j) for j in range(len(found)) for i in range(j)]
    every = np.concatenate([each.descriptors for each in found])
    if not len(every):
        return []
    num_words = min(VOCABULARY, max(1, len(every) // 10))
    drawn = np.random.default_rng(0).choice(len(every), num_words, replace=False)
    words = _to_root(every[drawn]).T
    counts = np.zeros((len(found), words.shape[1]), np.float32)
    for index, each in enumerate(found):
        nearest = (_to_root(each.descriptors) @ words).argmax(axis=1)
        counts[index] = np.bincount(nearest, minlength=words.shape[1])
    rarity = np.log(len(found) / np.maximum(1, (counts > 0).sum(axis=0)))
    weights = np.sqrt(counts) * rarity.astype(np.float32)
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-6)
    pairs = set()
    for index, row in enumerate(weights):
        shared = weights @ row
        shared[index] = -1
        for other in np.argpartition(-shared, CANDIDATES - 1)[:CANDIDATES].tolist():
            pairs.add((min(index, other), max(index, other)))
    return sorted(pairs)


def _digest(images: Sequence[Path]) -> str:
    """Name these files, as they are: by path, size and time of change."""
    key = [str(CACHE_FORMAT), cv2.__version__]
    for image in images:
        try:
            status = image.stat()
            key.append(f"{image.absolute()} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            key.append(str(image))
    return hashlib.sha256("\n".join(key).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read_cache(entry: Path | None, count: int) -> list[tuple[int, int]] | None:
    """Read kept links; None where they are missing or damaged."""
    if entry is None:
        return None
    try:
        links = [(int(i), int(j)) for i, j in parse_json(entry.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
    return links if all(0 <= i < j < count for i, j in links) else None


def _keep(entry: Path, links: list[tuple[int, int]]) -> None:
    """Store links in the cache; a cache that cannot be written is only a note."""
    try:
        write_atomically(entry, lambda file: file.write_text(json.dumps(links), "utf-8"))
        prune_cache(entry.parent, MAX_CACHE_BYTES)
    except OSError as error:
        logger.debug("the links are not kept: %s", error)
