# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.settings import PostprocessParams, ResizePlan
from maps import ADVERSARIAL


def ring_sector(height: int, width: int) -> np.ndarray:
    """Draw a curved line of text: a quarter of a thick circle."""
    prob_map = np.zeros((height, width), np.float32)
    cv2.ellipse(prob_map, (width // 2, height), (width // 3, width // 3), 0, 200, 340, 0.95, 12)
    return prob_map


def test_curved_text_gives_a_curved_outline() -> None:
    prob_map = ring_sector(200, 300)
    plan = ResizePlan((200, 300), (200, 300), (200, 300))
    (found,) = postprocess(prob_map[None], [plan], PostprocessParams(polygons=True), logits=False)
    assert len(found) == 1
    assert found.polygons is not None
    mask = np.zeros(prob_map.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(found.polygons[0]).astype(np.int32)], 1)
    text = prob_map > 0.3
    assert mask[text].mean() > 0.99  # covers the text
    assert mask.sum() < 3 * text.sum()  # and little else
    assert len(found.polygons[0]) > 8
    # The score is the mean inside the polygon; the quad around the arc holds mostly background.
    assert found.scores[0] > 0.9
    assert cv2.contourArea(found.quads[0]) > 2 * mask.sum()


def test_polygons_of_bars_are_their_quads() -> None:
    prob_map = np.zeros((200, 300), np.float32)
    prob_map[40:60, 50:200] = 0.9
    prob_map[120:160, 100:130] = 0.8
    plan = ResizePlan((200, 300), (200, 300), (200, 300))
    (quads,) = postprocess(prob_map[None], [plan], PostprocessParams(), logits=False)
    (found,) = postprocess(prob_map[None], [plan], PostprocessParams(polygons=True), logits=False)
    np.testing.assert_allclose(found.quads, quads.quads, atol=0.1)
    np.testing.assert_allclose(found.scores, quads.scores, atol=0.01)


def test_text_inside_a_hole_is_found() -> None:
    prob_map = np.zeros((120, 160), np.float32)
    prob_map[5:115, 5:155] = 0.9
    prob_map[15:105, 15:145] = 0
    prob_map[50:70, 40:120] = 0.9
    plan = ResizePlan((120, 160), (120, 160), (120, 160))
    params = PostprocessParams(polygons=True, score_threshold=0)
    (found,) = postprocess(prob_map[None], [plan], params, logits=False)
    assert len(found) == 2


def test_polygons_of_adversarial_maps(rng: np.random.Generator) -> None:
    for make in ADVERSARIAL.values():
        prob_map = make(rng)
        plan = ResizePlan(prob_map.shape, prob_map.shape, prob_map.shape)
        params = PostprocessParams(polygons=True, score_threshold=0)
        (found,) = postprocess(prob_map[None], [plan], params, logits=False)
        assert found.polygons is not None
        assert len(found.polygons) == len(found)
        assert all(np.isfinite(polygon).all() for polygon in found.polygons)
