# SPDX-License-Identifier: Apache-2.0
"""Run-time choice of AVX2, in any compiler's build."""

from pathlib import Path

import pytest
from dbnet_trt import _core

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.is_file(), reason="no /proc/cpuinfo")
def test_avx2_is_used_where_the_cpu_has_it() -> None:
    assert _core.uses_avx2() == (" avx2 " in CPUINFO.read_text(encoding="utf-8"))
