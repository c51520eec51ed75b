# SPDX-License-Identifier: Apache-2.0
"""Keep the best texts of an image, and say when some were left out."""

from __future__ import annotations

import dataclasses
import logging

from ..detections import Detections
from ..settings import MAX_CANDIDATES_LIMIT, PostprocessParams

logger = logging.getLogger("dbnet_trt")


class TextLimit:
    """Applies `max_candidates`. It asks for one text more, so that it shows when one is lost."""

    def __init__(self) -> None:
        self._is_told = False

    def ask(self, params: PostprocessParams) -> PostprocessParams:
        """Return parameters that find one text more than is wanted."""
        number = min(int(params.max_candidates) + 1, MAX_CANDIDATES_LIMIT)
        return dataclasses.replace(params, max_candidates=number)

    def keep_best(self, found: list[Detections], params: PostprocessParams) -> list[Detections]:
        """Cut the results off at the limit, and warn the first time that this takes a text."""
        limit = int(params.max_candidates)
        if all(len(each) <= limit for each in found):
            return found
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "an image has more than %d texts, only those with the best scores are kept; raise "
                "max_candidates (--max-candidates) to get more (said once per detector)",
                limit,
            )
        return [each[:limit] if len(each) > limit else each for each in found]
