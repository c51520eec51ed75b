# SPDX-License-Identifier: Apache-2.0
"""Training of DBNet detectors. Needs PyTorch; no module that runs a model imports this package."""
