# SPDX-License-Identifier: Apache-2.0
"""Frames of video decoders on the fake GPU: same results as on the CPU, without conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dbnet_trt import ImageError, Nv12Frame
from fakes.cuda import FakeCuda
from fakes.engines import assert_same, nv12_photo, photo
from fakes.pairs import OnDevice, OnDeviceByDLPack, Pair, make_pair
from numpy.lib.stride_tricks import as_strided

SIZES = [(64, 96), (90, 128), (2, 2), (48, 64), (34, 98)]


def pitched(frame: np.ndarray, padding: int) -> np.ndarray:
    """Copy a frame to an array with padded rows."""
    wide: np.ndarray = np.full((len(frame), frame.shape[1] + padding), 200, np.uint8)
    wide[:, : frame.shape[1]] = frame
    return wide[:, : frame.shape[1]]


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_frames_in_host_memory(
    cuda: FakeCuda, is_half: bool, seed: int, rng: np.random.Generator
) -> None:
    """Frames are alone, or in batches with BGR images of the same size in the network."""
    cuda.configure(seed)
    pair = make_pair(cuda, is_half=is_half)
    images: list[Any] = []
    for size in SIZES:
        frame = nv12_photo(*size, rng)
        images += [Nv12Frame(frame), photo(*size, rng), Nv12Frame(pitched(frame, 7))]
        images.append(Nv12Frame(frame[: size[0]], pitched(frame[size[0] :], 32)))
    expected = pair.cpu.detect_batch(images)
    assert sum(map(len, expected)) > 10
    for _ in range(3):
        for found, other in zip(pair.gpu.detect_batch(images), expected, strict=True):
            assert_same(found, other)
    assert pair.gpu.gpu_usage.num_graphs > 1


@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_frames_on_the_device_are_read_where_they_are(
    pair: Pair, kind: type, rng: np.random.Generator
) -> None:
    for height, width in SIZES:
        frame = nv12_photo(height, width, rng)
        expected = pair.cpu.detect(Nv12Frame(frame))
        apart = pitched(frame, 30)
        chroma = frame[height:].reshape(height // 2, width // 2, 2)
        for given in [
            Nv12Frame(kind(frame)),
            Nv12Frame(kind(apart)),
            Nv12Frame(kind(frame[:height]), kind(frame[height:].copy())),
            Nv12Frame(kind(apart[:height, :, None]), kind(chroma)),
        ]:
            assert_same(pair.gpu.detect(given), expected)


def test_half_as_much_is_uploaded(cuda: FakeCuda, rng: np.random.Generator) -> None:
    pinned = {}
    images = {"nv12": Nv12Frame(nv12_photo(512, 512, rng)), "bgr": photo(512, 512, rng)}
    for name, image in images.items():
        pair = make_pair(cuda)
        pair.gpu.detect(image, tiles="off")
        pinned[name] = pair.gpu.gpu_usage.pinned_bytes
    assert pinned["bgr"] - pinned["nv12"] == pytest.approx(512 * 512 * 1.5, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_both_planes_are_read_in_the_order_of_their_streams(
    cuda: FakeCuda, seed: int, rng: np.random.Generator
) -> None:
    cuda.configure(seed)
    pair = make_pair(cuda)
    frames = [nv12_photo(64, 96, rng) for _ in range(4)]
    shared = np.zeros_like(frames[0])
    luma, chroma = shared[:64], shared[64:]
    tickets = []
    for source in frames:  # each overwrites the previous one as soon as the streams allow
        cuda.copy(luma.ctypes.data, source.ctypes.data, luma.nbytes, 1)
        cuda.copy(chroma.ctypes.data, source[64:].ctypes.data, chroma.nbytes, 1)
        tickets.append(pair.gpu.submit([Nv12Frame(OnDevice(luma), OnDevice(chroma, stream=1))]))
    for ticket, source in zip(tickets, frames, strict=True):
        assert_same(ticket.collect()[0], pair.cpu.detect(Nv12Frame(source)))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((zeros(47, 64),), "even H and W"),
        ((zeros(48, 63),), "even H and W"),
        ((zeros(32, 64), zeros(15, 64)), r"got \(32, 64\) and \(15, 64\)"),
        ((zeros(32, 64, 3),), "NV12 must be one array"),
        ((zeros(48, 64).astype(np.uint16),), "NV12 must be uint8"),
        ((zeros(48, 128)[:, ::2],), "dense rows"),
        ((zeros(48, 64)[::-1],), "dense rows"),
        ((zeros(32, 64), zeros(32, 64)[::-2]), "dense rows"),
        # A pitch smaller than a row, as a wrong interface may give.
        ((as_strided(zeros(64, 64), (48, 64), (60, 1)),), "dense rows"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_wrong_frames_on_the_device(
    pair: Pair, kind: type, arrays: tuple[np.ndarray, ...], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        pair.gpu.detect(Nv12Frame(*map(kind, arrays)))


def test_planes_in_different_memories(pair: Pair) -> None:
    for planes in [
        (zeros(32, 64), OnDevice(zeros(16, 64))),
        (OnDevice(zeros(32, 64)), zeros(16, 64)),
    ]:
        with pytest.raises(ImageError, match="one plane .* in GPU memory"):
            pair.gpu.detect(Nv12Frame(*planes))
