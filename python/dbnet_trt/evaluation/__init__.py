# SPDX-License-Identifier: Apache-2.0
"""Score detectors and results files by the published protocols."""
