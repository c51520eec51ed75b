# SPDX-License-Identifier: Apache-2.0
"""One thread for the tiny networks of these tests: fastest, and equal on every machine."""

import torch

torch.set_num_threads(1)
