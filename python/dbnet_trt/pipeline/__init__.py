# SPDX-License-Identifier: Apache-2.0
"""From an image to detections: resize, network, post-processing, on the CPU or the GPU."""
