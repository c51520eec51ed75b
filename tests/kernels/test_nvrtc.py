# SPDX-License-Identifier: Apache-2.0
"""Kernels compile for a GPU that current nvcc no longer supports: GTX 1080 Ti, by NVRTC 12.9."""

import ctypes
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from fakes.emulator import ROOT

# Parts of the standard library's headers that the sources use; NVRTC has none of them.
HEADERS = {
    "algorithm": "namespace std { template <class T> T clamp(T value, T low, T high); }",
    "cmath": "namespace std { using ::floor; using ::lrint; }",
    "cstddef": "namespace std { using size_t = decltype(sizeof 0); using ptrdiff_t = long; }",
    "cstdint": """namespace std {
        using int16_t = short; using int32_t = int;
        using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned;
        }""",
    "vector": """namespace std {
        template <class T> struct vector { vector(int size); T& operator[](int i); };
        }""",
}

KERNELS = [
    ("boxes", ["boxes_kernel"]),
    ("components", ["tile_kernel", "border_kernel", "resolve_kernel", "labels_kernel"]),
    ("preprocess", ["preprocess_kernel"]),
]


def in_wheel(package: str, path: str) -> Path:
    """Find a file of one of NVIDIA's wheels; without it the test is skipped."""
    try:
        return Path(str(metadata.distribution(package).locate_file(f"nvidia/{path}")))
    except metadata.PackageNotFoundError:
        pytest.skip(f"no {package}, which the dev extra brings on Linux")


def strings(values: list[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(values))(*(value.encode() for value in values))


def read(get_size: Callable[..., int], get: Callable[..., int], program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    get_size(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.raw


def compile_for(architecture: str, source: str) -> tuple[bytes, str]:
    """Compile a source: machine code, or b"" if it fails, and the compiler's messages."""
    nvrtc = ctypes.CDLL(str(in_wheel("nvidia-cuda-nvrtc-cu12", "cuda_nvrtc/lib/libnvrtc.so.12")))
    folders = [
        ROOT,
        in_wheel("nvidia-cuda-runtime-cu12", "cuda_runtime/include"),
        in_wheel("nvidia-cuda-cccl-cu12", "cuda_cccl/include"),
    ]
    options = [f"--gpu-architecture={architecture}", "-std=c++17", "-default-device"]
    options += [f"-I{folder}" for folder in folders]
    program = ctypes.c_void_p()
    names, texts = strings(list(HEADERS)), strings(list(HEADERS.values()))
    nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"kernel.cu", len(HEADERS), texts, names
    )
    status = nvrtc.nvrtcCompileProgram(program, len(options), strings(options))
    log = read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode()
    if status != 0:
        return b"", log
    return read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log


@pytest.mark.parametrize(("name", "kernels"), KERNELS)
def test_kernels_compile_for_sm_61(name: str, kernels: list[str]) -> None:
    code, log = compile_for("sm_61", (ROOT / "kernels" / f"{name}.cu").read_text())
    assert code, log
    for kernel in kernels:
        assert kernel.encode() in code


def test_every_source_is_compiled() -> None:
    assert {name for name, _ in KERNELS} == {path.stem for path in ROOT.glob("kernels/*.cu")}


def test_errors_are_seen() -> None:
    code, log = compile_for("sm_61", "__global__ void broken() { __nanosleep(1); }")
    assert not code
    assert "__nanosleep" in log
