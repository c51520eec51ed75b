# SPDX-License-Identifier: Apache-2.0
"""From a model to a TensorRT engine: build, check, serve. The way of `dbnet-build`."""
