# SPDX-License-Identifier: Apache-2.0
"""`python -m dbnet_trt` is the command `dbnet`."""

import sys

from .cli.app import main

sys.exit(main())
