# SPDX-License-Identifier: Apache-2.0
"""A few hundred mutated files on every run; `fuzz.py` runs as many as one likes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


COUNTS = {"images": 500, "models": 100, "cards": 200, "zips": 100, "annotations": 8}


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz.py")
    output = tmp_path / "table.json"
    counts = [f"{kind}={count}" for kind, count in COUNTS.items()]
    command = [sys.executable, str(script), *counts, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    table = json.loads(output.read_text())["table"]
    assert {name.partition(":")[0] for name in table} == COUNTS.keys()
    for name, row in table.items():
        assert row["cases"] == COUNTS[name.partition(":")[0]]
        assert row.get("read", 0) + row.get("refused", 0) == row["cases"]
    for name in ("images", "models", "cards", "zips"):
        assert table[name]["read"] > 0
        assert table[name]["refused"] > 0


def test_unknown_kinds_are_refused() -> None:
    script = Path(__file__).with_name("fuzz.py")
    for wrong in ("sounds", "images=many"):
        done = subprocess.run(
            [sys.executable, str(script), wrong], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "expected KIND or KIND=COUNT" in done.stderr
