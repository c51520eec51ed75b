# SPDX-License-Identifier: Apache-2.0
"""The scripts of a release: versions, CHANGELOG, checksums, contents of a wheel."""

import hashlib
import zipfile
from pathlib import Path

import installed
import make
import pytest
import wheels
from dbnet_trt import CpuConfig, Detections, Detector

CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A\n\n## 0.1.0 (2026-01-01)\n\n- B\n"


def repository(root: Path) -> Path:
    """A git repository with the files that hold the version, at 0.1.0."""
    (root / "python" / "dbnet_trt").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.1.0"\n')
    (root / "python" / "dbnet_trt" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (root / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.1.0\n")
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    make.git("init", "-q", "-b", "main", folder=root)
    for name, value in (("user.name", "A"), ("user.email", "a@example.org")):
        make.git("config", name, value, folder=root)
    make.git("add", ".", folder=root)
    make.git("commit", "-q", "-m", "first", folder=root)
    return root


def test_a_release_writes_the_version_everywhere(tmp_path: Path) -> None:
    root = repository(tmp_path)
    make.prepare("0.2.0rc1", root)
    assert make.tagged_version(root) == "0.2.0rc1"
    assert make.git("status", "--porcelain", folder=root) == ""
    assert (root / "CITATION.cff").read_text() == "cff-version: 1.2.0\nversion: 0.2.0rc1\n"
    text = (root / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n\n## Unreleased\n\n## 0.2.0rc1 (20")
    assert make.release_notes(text, "0.2.0rc1") == "### Added\n\n- A\n"


def test_a_release_needs_a_clean_tree_and_a_version(tmp_path: Path) -> None:
    root = repository(tmp_path)
    with pytest.raises(SystemExit, match=r"a version is like 1\.2\.3"):
        make.prepare("v0.2", root)
    (root / "CITATION.cff").write_text("version: 0.1.0\n")
    with pytest.raises(SystemExit, match="not committed"):
        make.prepare("0.2.0", root)


def test_the_tag_is_the_version(tmp_path: Path) -> None:
    root = repository(tmp_path)
    with pytest.raises(SystemExit, match=r"one tag like v1\.2\.3 at HEAD, found \[\]"):
        make.tagged_version(root)
    make.git("tag", "v0.2.0", folder=root)
    with pytest.raises(
        SystemExit, match=r"pyproject.toml has version 0\.1\.0, the tag .* v0\.2\.0"
    ):
        make.tagged_version(root)


def test_the_changelog_has_a_section() -> None:
    assert make.release_notes(CHANGELOG, "0.1.0") == "- B\n"
    with pytest.raises(SystemExit, match="no section"):
        make.release_notes(CHANGELOG, "0.1")
    with pytest.raises(SystemExit, match="none"):
        make.date_changelog(CHANGELOG, "0.1.0", "2026-02-02")


def test_checksums_are_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.tar.gz").write_bytes(b"b")
    make.write_checksums(tmp_path)
    make.write_checksums(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines[0] == f"{hashlib.sha256(b'a').hexdigest()}  a.whl"
    assert len(lines) == 2


WHEEL = "dbnet_trt-0.1.0-cp311-cp311-manylinux2014_x86_64.whl"
CONTENTS = {
    *(f"dbnet_trt/{name}" for name in wheels.EXPECTED),
    "dbnet_trt/_core.cpython-311-x86_64-linux-gnu.so",
    "dbnet_trt-0.1.0.dist-info/METADATA",
}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (CONTENTS, None),
        (CONTENTS - {"dbnet_trt/py.typed"}, r"lacks \['py.typed'\]"),
        (CONTENTS | {"tests/x.py"}, r"does not belong: \['tests/x.py'\]"),
        (CONTENTS | {"dbnet_trt.libs/libc++.so.1"}, "libraries"),
        ({name.replace("x86_64", "aarch64") for name in CONTENTS}, r"expected .*x86_64.* alone"),
    ],
)
def test_contents_of_a_wheel(names: set[str], message: str | None, tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in sorted(names):
            archive.writestr(name, "")
    if message is None:
        wheels.check_contents(wheel, "x86_64")
    else:
        with pytest.raises(SystemExit, match=message):
            wheels.check_contents(wheel, "x86_64")


def test_a_heavy_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in CONTENTS:
            archive.writestr(name, "")
    monkeypatch.setattr(wheels, "MAX_BYTES", 100)
    with pytest.raises(SystemExit, match="at most"):
        wheels.check_contents(wheel, "x86_64")


def test_the_default_model_finds_what_a_release_expects() -> None:
    """A change of its weights is followed by `installed.py --write`."""
    found = Detector(cpu=CpuConfig(precision="fp32", num_threads=1)).detect(installed.DEMO)
    expected = Detections.from_json(installed.FOUND.read_text(encoding="utf-8"))
    assert installed.difference(found, expected) < 0.5
