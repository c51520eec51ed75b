# SPDX-License-Identifier: Apache-2.0
"""Data sets: formats, checks and statistics. Needs no torch."""
