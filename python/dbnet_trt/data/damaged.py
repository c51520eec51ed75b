# SPDX-License-Identifier: Apache-2.0
"""Find image files that do not decode, before a run stops at them or learns gray background."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import ImageError
from .samples import Problem, Sample, load_prob_map, load_sample_image

AHEAD = 4
"""Number of images per thread that are decoded ahead of the one being yielded."""

MAX_NAMED = 5
"""Maximum number of damaged images that an error names."""


def check_images(samples: Iterable[Sample], num_threads: int = 0) -> Iterator[Problem | None]:
    """Decode the images of samples, and their probability maps, as training will.

    Args:
        samples: The samples.
        num_threads: Number of threads that decode; 0 uses one per core.

    Yields:
        The problem of each sample's image, None if it has none.
    """
    count = num_threads or os.cpu_count() or 1
    waiting: deque[Future[Problem | None]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="check_images") as pool:
        for sample in samples:
            waiting.append(pool.submit(_check, sample))
            if len(waiting) > AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def require_whole(samples: Iterable[Sample], remedy: str) -> None:
    """Check that the images of samples decode, before hours of work would stop at one.

    Args:
        samples: The samples.
        remedy: What to do about damaged ones, for the message.

    Raises:
        ImageError: Some are damaged; the message names up to `MAX_NAMED`.
    """
    damaged = [problem for problem in check_images(samples) if problem is not None]
    if damaged:
        named = "; ".join(str(problem) for problem in damaged[:MAX_NAMED])
        more = len(damaged) - MAX_NAMED
        raise ImageError(f"{named}{f'; and {more} more' if more > 0 else ''}; {remedy}")


def _check(sample: Sample) -> Problem | None:
    file = sample.image
    try:
        load_sample_image(sample)
        if sample.prob_map is not None:
            file = sample.prob_map
            load_prob_map(file)
    except ImageError as error:
        reason = str(error).removeprefix(f"{file}").removeprefix(":").strip()
        message = f"expected an image that decodes; {reason}"
        return Problem(file, 0, message, "image unreadable", sample.image)
    return None
