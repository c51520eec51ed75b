# SPDX-License-Identifier: Apache-2.0
"""Building of TensorRT engines from models: convert, compile, check, serve."""
