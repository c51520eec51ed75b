# SPDX-License-Identifier: Apache-2.0
"""DBNet in PyTorch: layers, checkpoints, ONNX export. Needs PyTorch."""
