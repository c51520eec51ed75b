# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

HEAVY = ["torch", "openvino", "onnxruntime", "onnx", "cv2", "cyclopts", "rich", "PIL", "pyclipper"]


def test_import_is_light() -> None:
    """Optional and slow libraries are imported on first use only; torch never."""
    program = f"import sys, dbnet_trt; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_cuda_available_never_raises() -> None:
    program = "import dbnet_trt; print(dbnet_trt.cuda_available())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("True", "False")
