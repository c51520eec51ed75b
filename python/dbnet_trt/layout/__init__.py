# SPDX-License-Identifier: Apache-2.0
"""Layout analysis: from quads to lines and blocks of text in reading order."""
