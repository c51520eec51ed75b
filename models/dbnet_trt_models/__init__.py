# SPDX-License-Identifier: Apache-2.0
"""Weights of the larger models of dbnet_trt, which finds them here by name."""
