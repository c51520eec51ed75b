# SPDX-License-Identifier: Apache-2.0
"""Instructions of this CPU for int8, and where int8 is faster."""

from __future__ import annotations

import functools
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

INT8_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2")
"""Instructions that compute in int8, the fastest first, as Linux names them."""

INT8_GAIN = {
    ("avx512_vnni", "openvino"): 1.21,
    ("avx512_vnni", "onnxruntime"): 0.77,
    ("avx2", "openvino"): 1.0,
    ("avx2", "onnxruntime"): 0.84,
}
"""Time of a network in the precision that is taken otherwise (bf16 where the CPU has it, else fp32)
over its time in int8, by instructions and library: PP-OCRv4 mobile at short sides 736 and 544, by
benchmarks/int8.py (ppocrv6-small: 1.3 and 0.58), in files that dbnet-build made when it still
quantized depthwise convolutions and sums; on AVX2 (Zen 1) dbnet-lines, in a file as it makes them
now. What is not listed was not measured."""


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
    """Whether a network in int8 was measured to be faster on CPUs like this one.

    Args:
        backend: Library that runs it: "openvino" or "onnxruntime".
    """
    return INT8_GAIN.get((int8_feature(), backend), 0.0) > 1.0
