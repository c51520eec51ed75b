# SPDX-License-Identifier: Apache-2.0
"""Data sets: their formats, checks, statistics. Needs no torch."""
