# SPDX-License-Identifier: Apache-2.0
"""Texts followed through the frames of a video."""

from .reading import Track, TrackReader
from .tracker import TrackConfig, Tracker

__all__ = ["Track", "TrackConfig", "TrackReader", "Tracker"]
