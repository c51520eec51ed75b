# SPDX-License-Identifier: Apache-2.0
"""Networks of the tests are tiny: one thread is fastest, and the same on every machine."""

import torch

torch.set_num_threads(1)
