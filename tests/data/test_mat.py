# SPDX-License-Identifier: Apache-2.0
import io
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.mat import load_mat
from dbnet_trt.data.open import read_as_is
from dbnet_trt.evaluation.formats import BrokenLine, parse_truths
from photos import write_photo

scipy_io = pytest.importorskip("scipy.io")


def make_mat(compress: bool = True) -> bytes:
    """Two texts of Total-Text."""
    rows = np.empty((2, 6), object)
    for row, left in zip(rows, (10, 100), strict=True):
        row[:] = ["x:", [[left, left + 50, left + 50, left]], "y:", [[20, 20, 40, 40]], "word", "h"]
    file = io.BytesIO()
    scipy_io.savemat(file, {"polygt": rows}, do_compression=compress)
    return file.getvalue()


@pytest.mark.parametrize("compress", [False, True])
def test_limit_is_on_what_is_unpacked(compress: bool) -> None:
    data = make_mat(compress)
    assert len(load_mat(data)["polygt"]) == 2
    assert len(parse_truths(data, "totaltext")) == 2
    with pytest.raises(ValueError, match="at most 500 bytes, got more"):
        load_mat(data, max_bytes=500)


def test_a_small_file_that_unpacks_to_a_gigabyte() -> None:
    stream = zlib.compressobj(9)
    body = b"".join(stream.compress(bytes(1 << 20)) for _ in range(1024)) + stream.flush()
    data = make_mat()[:128] + struct.pack("<II", 15, len(body)) + body
    tracemalloc.start()
    with pytest.raises(BrokenLine, match="at most 16777216 bytes, got more"):
        parse_truths(data, "totaltext")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("compress", [False, True])
def test_values_are_those_that_scipy_reads(tmp_path: Path, compress: bool) -> None:
    cells = np.empty((2, 3), object)
    cells[:] = [[np.eye(3), "wörd", np.zeros((2, 4, 5))], [np.arange(4), "", np.float32(0.5)]]
    values = {
        "numbers": np.arange(24.0).reshape(2, 3, 4),
        "small": np.array([[1, 2], [3, 4]], np.uint8),
        "rows": np.array(["one  ", "two  ", "three"]),
        "cells": cells,
        "one": np.float64(7),
    }
    scipy_io.savemat(tmp_path / "a.mat", values, do_compression=compress)
    data = (tmp_path / "a.mat").read_bytes()
    found, expected = load_mat(data), scipy_io.loadmat(tmp_path / "a.mat")
    assert found.keys() == values.keys()
    for name in ("numbers", "small", "rows", "one"):
        np.testing.assert_array_equal(found[name], expected[name])
    for one, other in zip(found["cells"].ravel(), expected["cells"].ravel(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert load_mat(data, ["small"]).keys() == {"small"}


@pytest.mark.parametrize("compress", [False, True])
def test_mutated_files_are_read_or_refused(tmp_path: Path, compress: bool) -> None:
    whole = make_mat(compress)
    rng = random.Random(7)
    write_photo(tmp_path / "img1.png")
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.choice([len(data), rng.randrange(len(data))]) :]
        (tmp_path / "poly_gt_img1.mat").write_bytes(data)
        found = read_as_is(f"totaltext:{tmp_path}")
        assert len(found.samples) <= 1
        try:
            parse_truths(bytes(data), "totaltext")
        except BrokenLine:
            continue
