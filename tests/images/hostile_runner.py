# SPDX-License-Identifier: Apache-2.0
"""Load each file of a folder in a process of its own, under a limit of memory and time.

Prints a line of JSON per file: its name, the answer, peak memory over the start in MB, and CPU
seconds. Forks after OpenCV is loaded: a process per file, and not an import per file.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import cv2
from dbnet_trt import ImageError
from dbnet_trt.images.load import load_image

LIMIT_BYTES = 1 << 30
LIMIT_SECONDS = 20


def load_within_limits(path: Path) -> None:
    """Load a file and print what came of it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.alarm(LIMIT_SECONDS)
    data = path.read_bytes()
    start = resource.getrusage(resource.RUSAGE_SELF)
    try:
        image = load_image(data)
        answer = f"{image.shape[1]}x{image.shape[0]}"
    except ImageError as error:
        answer = f"ImageError: {error}"
    except BaseException as error:  # the point of the test
        answer = f"{type(error).__name__}: {error}"
    end = resource.getrusage(resource.RUSAGE_SELF)
    used = {
        "name": path.name,
        "answer": answer,
        "megabytes": (end.ru_maxrss - start.ru_maxrss) // 1024,
        "seconds": round(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime, 2),
    }
    print(json.dumps(used), flush=True)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    for file in sorted(Path(sys.argv[1]).iterdir()):
        child = os.fork()
        if child == 0:
            load_within_limits(file)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            answer = f"died with status {status}"
            print(json.dumps({"name": file.name, "answer": answer, "megabytes": 0, "seconds": 0}))
