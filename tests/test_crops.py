# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from dbnet_trt.crops import crop_text, reading_corners
from dbnet_trt.pipeline.polygons import order_corners


def leaning(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A text that runs downwards, its first half bright, turned clockwise; and its quad."""
    bar = np.full((100, 24, 3), 60, np.uint8)
    bar[:50] = 250
    turn = cv2.getRotationMatrix2D((11.5, 49.5), -degrees, 1)
    turn[:, 2] += [70, 30]
    image = np.asarray(cv2.warpAffine(bar, turn, (180, 170)), np.uint8)
    corners = np.array([[0, 0], [23, 0], [23, 99], [0, 99]], np.float32)
    return image, order_corners((corners @ turn[:, :2].T + turn[:, 2]).astype(np.float32))


@pytest.mark.parametrize("degrees", [-28, -20, -10, 0, 10, 20, 28])
def test_text_that_runs_downwards_is_turned_the_same_way(degrees: float) -> None:
    image, quad = leaning(degrees)
    crop = crop_text(image, quad)
    assert crop.shape[:2] == (23, 99)
    assert crop[4:-4, 4:44].mean() > 240
    assert crop[4:-4, 55:-4].mean() < 70


@pytest.mark.parametrize("degrees", [35, 60, 89])
def test_text_that_climbs_is_read_upwards(degrees: float) -> None:
    """Leaning right by more than 30 degrees: its lower end is the left one."""
    image, quad = leaning(degrees)
    crop = crop_text(image, quad)
    assert crop.shape[:2] == (23, 99)
    assert crop[4:-4, 55:-4].mean() > 240


def test_corners_of_a_square_stay() -> None:
    quad = np.array([[0, 0], [20, 1], [19, 21], [-1, 20]], np.float32)
    np.testing.assert_array_equal(reading_corners(quad), quad)


def arc(radius: float, reach: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """A text along an arc, its upper half bright, its last third red; and its outline."""
    ys, xs = np.mgrid[:300, :500].astype(np.float32)
    distance, angle = np.hypot(xs - 250, ys - radius - 60), np.arctan2(xs - 250, radius + 60 - ys)
    inside = (abs(angle) < reach) & (abs(distance - radius) < height / 2)
    image = np.full((300, 500, 3), 128, np.uint8)
    image[inside & (distance > radius)] = 250
    image[inside & (distance <= radius)] = 10
    image[inside & (angle > reach / 3), :2] = 0
    angles = np.linspace(-reach, reach, 13)
    sides = [
        np.stack([250 + r * np.sin(a), radius + 60 - r * np.cos(a)], axis=1)
        for r, a in ((radius + height / 2, angles), (radius - height / 2, angles[::-1]))
    ]
    return image, np.concatenate(sides).astype(np.float32)


@pytest.mark.parametrize(("radius", "reach"), [(200, 0.8), (300, 0.6), (500, 0.35)])
def test_curved_text_is_straightened(radius: float, reach: float) -> None:
    image, polygon = arc(radius, reach, 40)
    quad = order_corners(cv2.boxPoints(cv2.minAreaRect(polygon)))
    crop = crop_text(image, quad, polygon)
    assert abs(crop.shape[0] - 40) <= 3
    assert abs(crop.shape[1] - 2 * reach * radius) <= 0.05 * 2 * reach * radius
    width = crop.shape[1]
    red = crop[:, :, 2].astype(float)
    assert (red[6:15, 8:-8] > 200).all()  # the upper half, in every column
    assert (red[-15:-6, 8:-8] < 60).all()
    assert crop[4:15, 8 : int(0.62 * width), 0].mean() > 230
    assert crop[4:15, int(0.7 * width) : -8, 0].mean() < 20
    assert crop_text(image, quad).shape[0] > 60  # its quad holds far more


def test_straight_and_jagged_outlines_are_cut_by_their_quad() -> None:
    image, _ = arc(300, 0.6, 40)
    quad = np.array([[100, 60], [400, 60], [400, 110], [100, 110]], np.float32)
    top = np.stack([np.linspace(100, 400, 13), 60 + 40 * (np.arange(13) % 2)], axis=1)
    jagged = np.concatenate([top, np.add(top, [0, 50])[::-1]]).astype(np.float32)
    for polygon in (quad, jagged):
        np.testing.assert_array_equal(crop_text(image, quad, polygon), crop_text(image, quad))


def test_margin() -> None:
    image, polygon = arc(300, 0.6, 40)
    quad = np.array([[150, 100], [250, 100], [250, 140], [150, 140]], np.float32)
    plain, wide = crop_text(image, quad), crop_text(image, quad, margin=0.25)
    assert wide.shape == (60, 120, 3)
    np.testing.assert_array_equal(wide[10:-10, 10:-10], plain)
    curved = order_corners(cv2.boxPoints(cv2.minAreaRect(polygon)))
    plain, wide = (crop_text(image, curved, polygon, margin) for margin in (0, 0.25))
    assert abs(wide.shape[0] - 1.5 * plain.shape[0]) <= 1
    assert abs(wide.shape[1] - plain.shape[1] - 0.5 * plain.shape[0]) <= 2


def test_text_of_no_size() -> None:
    quad = np.full((4, 2), 3, np.float32)
    assert crop_text(np.zeros((9, 9, 3), np.uint8), quad, quad).shape == (1, 1, 3)
