# SPDX-License-Identifier: Apache-2.0
"""Reads within limits, and appended lines that are whole."""

import errno
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest
from dbnet_trt.files import PIECE_BYTES, append_whole, read_limited, read_up_to


class Recorded:
    """An open file that records the numbers of bytes asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.asked: list[int] = []
        self.fileno = file.fileno

    def read(self, num_bytes: int) -> bytes:
        self.asked.append(num_bytes)
        return self._file.read(num_bytes)


@pytest.mark.parametrize("num_bytes", [0, 1, 99, 100, 101, 1 << 40])
def test_no_more_is_reserved_than_a_file_has(num_bytes: int, tmp_path: Path) -> None:
    """Python reserves the bytes asked for: a limit of gigabytes would fail where memory is less."""
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with path.open("rb") as opened:
        file = Recorded(opened)
        data = read_up_to(file, num_bytes)  # type: ignore[arg-type]
    assert data == bytes(range(100))[:num_bytes]
    assert max(file.asked, default=0) <= PIECE_BYTES
    assert file.asked[:1] <= [101]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_pipes_are_read_to_their_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = bytes(3 * PIECE_BYTES + 7)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert read_limited(pipe, max_bytes=len(data)) == data
    writer.join()


def test_what_is_appended_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("first\n")
    descriptor = os.open(path, os.O_RDWR)
    append_whole(descriptor, b"second\n")
    write = os.write

    def fill_up(target: int, data: memoryview) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(target, data[:3])

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(OSError, match="No space"):
        append_whole(descriptor, b"third\n")
    os.close(descriptor)
    assert path.read_text() == "first\nsecond\n"
