# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m dbnet_trt`, the same as the command `dbnet`."""

import sys

from .cli.app import main

sys.exit(main())
