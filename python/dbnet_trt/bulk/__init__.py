# SPDX-License-Identifier: Apache-2.0
"""Detect the text in millions of images on a cluster of machines, by Ray."""

from .config import BulkConfig, BulkEstimate, BulkProgress, BulkSummary
from .dataset import detect_dataset, estimate_dataset

__all__ = [
    "BulkConfig",
    "BulkEstimate",
    "BulkProgress",
    "BulkSummary",
    "detect_dataset",
    "estimate_dataset",
]
