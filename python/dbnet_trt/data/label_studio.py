# SPDX-License-Identifier: Apache-2.0
"""Detections as predictions for Label Studio: outlines to correct instead of to draw.

Defined at https://labelstud.io/guide/predictions and https://labelstud.io/guide/task_format.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..detections import Detections

LOCAL_FILES = "/data/local-files/?d="
"""Address at which Label Studio serves files of its document root."""

CONFIG = """\
<View>
  <Image name="image" value="$image" zoom="true"/>
  <PolygonLabels name="label" toName="image" strokeWidth="2">
    <Label value="Text"/>
    <Label value="Ignore"/>
  </PolygonLabels>
  <TextArea name="transcription" toName="image" editable="true" perRegion="true" required="false"/>
</View>
"""
"""Labelling interface whose names the predictions have."""

PERCENT_DECIMALS = 4
"""Decimals of coordinates in percent: a hundredth of a pixel at 10,000 pixels."""


def local_address(path: str | Path, root: Path) -> str:
    """Return the address at which Label Studio serves an image.

    Args:
        path: The image, below `root`.
        root: Label Studio's document root for local files.

    Raises:
        ValueError: The image is not below the root.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if not real.is_relative_to(folder):
        raise ValueError(
            f"expected images below {root}, from which Label Studio serves them, got {path}; name "
            "a folder that holds all by --root"
        )
    return LOCAL_FILES + quote(real.relative_to(folder).as_posix(), errors="surrogateescape")


def make_task(address: str, prediction: dict[str, Any]) -> dict[str, Any]:
    """Make the task of one image.

    Args:
        address: From `local_address`.
        prediction: From `make_prediction`.
    """
    return {"data": {"image": address}, "predictions": [prediction]}


def make_prediction(found: Detections, size: tuple[int, int], model: str) -> dict[str, Any]:
    """Make a prediction of what was found in an image: polygons, and texts if they were read.

    Args:
        found: Polygons, or quads if there are none.
        size: (height, width) of the upright image, in pixels.
        model: Name of the model.
    """
    height, width = size
    outlines = found.quads if found.polygons is None else found.polygons
    image = {"original_width": width, "original_height": height, "image_rotation": 0}
    result: list[dict[str, Any]] = []
    for index, (outline, score) in enumerate(zip(outlines, found.scores, strict=True)):
        percent = outline.astype(np.float64) / (width, height) * 100
        shape = {"points": np.round(percent, PERCENT_DECIMALS).tolist(), "closed": True}
        region = {
            "id": f"text{index}",
            "to_name": "image",
            "score": round(float(score), 4),
            **image,
        }
        labels = {**shape, "polygonlabels": ["Text"]}
        result.append({**region, "from_name": "label", "type": "polygonlabels", "value": labels})
        if found.texts is not None:
            text = {**shape, "text": [found.texts[index]]}
            named = {"from_name": "transcription", "type": "textarea", "value": text}
            result.append({**region, **named})
    mean = round(float(found.scores.mean()), 4) if len(found) else 0.0
    return {"model_version": model, "score": mean, "result": result}
