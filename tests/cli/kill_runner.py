# SPDX-License-Identifier: Apache-2.0
"""Run a command in children that are killed, until one ends by itself.

    python kill_runner.py FILE COMMAND...

A child is killed when FILE has grown by some bytes. Each write of it is torn in two, with a pause
between them. Prints how often a child was killed, and how often it left half a line; the exit code
is that of the last child. It has not opened a detector itself, so that it may fork.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from dbnet_trt.cli.app import main

write = os.write


def torn_write(descriptor: int, data: memoryview) -> int:
    done = write(descriptor, data[: len(data) // 2])
    time.sleep(0.01)
    return done + write(descriptor, data[len(data) // 2 :])


def run(command: list[str], file: Path, growth: int) -> int | None:
    """Run the command in a child; returns its exit code, or None if it was killed."""
    size = file.stat().st_size if file.exists() else 0
    child = os.fork()
    if child == 0:
        os.write = torn_write  # type: ignore[assignment]
        os._exit(main(command))
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if file.exists() and file.stat().st_size >= size + growth:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.001)
    return 1 if file.exists() else 2


if __name__ == "__main__":
    target, arguments, rng = Path(sys.argv[1]), sys.argv[2:], random.Random(0)
    num_killed = num_torn = 0
    while run(arguments, target, rng.randint(1, 1500)) is None:
        num_killed += 1
        num_torn += not target.read_bytes().endswith(b"\n")
    print(num_killed, num_torn)
    sys.exit(1)
