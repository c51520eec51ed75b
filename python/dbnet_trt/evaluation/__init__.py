# SPDX-License-Identifier: Apache-2.0
"""Score detectors, and results in files, by the published protocols."""
