# SPDX-License-Identifier: Apache-2.0
"""Instructions of this CPU for int8, and where int8 is faster."""

from __future__ import annotations

import functools
from pathlib import Path

MIN_GAIN = 1.1
"""Least gain for which int8 is taken: it finds slightly other text."""

CPU_INFO = Path("/proc/cpuinfo")

INT8_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2")
"""Instructions that compute in int8, the fastest first, as Linux names them."""

INT8_GAIN = {
    ("amx_int8", "openvino"): 0.87,
    ("amx_int8", "onnxruntime"): 0.69,
    ("avx512_vnni", "openvino"): 1.01,
    ("avx2", "openvino"): 0.95,
    ("avx2", "onnxruntime"): 0.77,
}
"""Time of a network in the precision that is taken otherwise (bf16 where the CPU has it, else fp32)
over its time in int8, by instructions and library: dbnet-lines at short sides 736 and 544, by
benchmarks/int8.py, on Zen 1 and on Emerald Rapids, which has AMX and was limited to AVX512-VNNI
without bf16 for the row of that name. What is not listed was not measured. On AVX512-VNNI older
files of PP-OCRv4 mobile had 1.21 in OpenVINO and 0.77 in ONNX Runtime: there depthwise convolutions
and sums were in int8, too."""


@functools.cache
def int8_feature() -> str:
    """Return the fastest of `INT8_FEATURES` that this CPU has; "" for none, or if unknown."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return next((feature for feature in INT8_FEATURES if feature in flags), "")


def int8_is_faster(backend: str) -> bool:
    """Tell whether int8 was measured to be faster on such a CPU by more than `MIN_GAIN`.

    Args:
        backend: Library that runs it: "openvino" or "onnxruntime".
    """
    return INT8_GAIN.get((int8_feature(), backend), 0.0) > MIN_GAIN
