# SPDX-License-Identifier: Apache-2.0
"""Scores of detectors by the published protocols, and of results that others submitted."""
