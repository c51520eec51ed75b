# SPDX-License-Identifier: Apache-2.0
"""Options of a detector's calls, checked, with its defaults in place of those left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ..errors import did_you_mean
from ..settings import (
    CpuConfig,
    DetectorOptions,
    PostprocessOptions,
    PostprocessParams,
    SizePolicy,
    Tiles,
    check_tiles,
)


def check_options(options: Mapping[str, object], known: type[DetectorOptions]) -> None:
    """Raise a TypeError for an option that there is not."""
    for name in options:
        if name not in known.__annotations__:
            names = known.__annotations__
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
            if name in CpuConfig.__dataclass_fields__:
                hint = f"; give it as cpu=CpuConfig({name}=...)"
            raise TypeError(f"there is no option {name!r}{hint}")


def choose_size(options: DetectorOptions, default: SizePolicy) -> SizePolicy:
    """Return the size of images in the network."""
    size = options.get("size")
    if size is not None and not isinstance(size, SizePolicy):
        raise TypeError(
            f"size must be a SizePolicy, as in SizePolicy(short_side=736), got {size!r}"
        )
    return size or default


def choose_tiles(
    options: DetectorOptions, default: Tiles | Literal["auto", "off"]
) -> Tiles | Literal["auto", "off"]:
    """Return the tiles in which images go through the network."""
    tiles = options.get("tiles")
    return default if tiles is None else check_tiles(tiles)


def choose_max_pixels(options: DetectorOptions, default: int) -> int:
    """Return the limit on width x height of image files."""
    limit = options.get("max_pixels")
    if limit is None:
        return default
    if isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1:
        raise ValueError(f"max_pixels must be a whole number, 1 or more, got {limit!r}")
    return int(limit)


def override(params: PostprocessParams, options: DetectorOptions) -> PostprocessParams:
    """Replace the parameters that the options set."""
    names = PostprocessOptions.__annotations__
    given: dict[str, Any] = {
        name: value for name, value in options.items() if name in names and value is not None
    }
    return dataclasses.replace(params, **given) if given else params


def check_count(name: str, value: object) -> None:
    """Raise a ValueError unless a number of images or batches is 1 or more."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or int(value) < 1:  # type: ignore[call-overload]
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
