# SPDX-License-Identifier: Apache-2.0
"""A few hundred mutated files on every run; `fuzz.py` runs as many as one likes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz.py")
    output = tmp_path / "table.json"
    command = [sys.executable, str(script), "--images", "500", "--models", "100", "--cards", "200"]
    done = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    table = json.loads(output.read_text())["table"]
    assert {name: row["cases"] for name, row in table.items()} == {
        "images": 500,
        "models": 100,
        "cards": 200,
    }
    for row in table.values():
        assert row["read"] > 0
        assert row["refused"] > 0
        assert row["read"] + row["refused"] == row["cases"]
