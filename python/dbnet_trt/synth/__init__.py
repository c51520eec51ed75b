# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes with text, drawn with their outlines."""
