# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes of text, with exact outlines."""
