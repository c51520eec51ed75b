# SPDX-License-Identifier: Apache-2.0
"""The files around the code agree with it and with each other."""

import re
import tomllib
from pathlib import Path

import dbnet_trt
import pytest
from dbnet_trt.cli.app import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    path = ROOT / name
    if not path.is_file():
        pytest.skip(f"no {name} beside the tests")
    return path.read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == dbnet_trt.__version__
    assert f"\nversion: {dbnet_trt.__version__}\n" in read("CITATION.cff")


@pytest.mark.parametrize("tool", ["ruff", "mypy", "clang-format"])
def test_hooks_run_the_pinned_versions(tool: str) -> None:
    requirements = PROJECT["project"]["optional-dependencies"]["dev"]
    (version,) = (each.split("==")[1] for each in requirements if each.startswith(f"{tool}=="))
    hooks = read(".pre-commit-config.yaml")
    assert f"{tool}=={version}" in hooks or f"{tool} ({version})" in hooks
    found = re.findall(rf"{tool}(?:==| \w+ \(| \()([\d.]+)", hooks)
    assert set(found) == {version}


def test_files_that_contributors_are_sent_to_exist() -> None:
    path = r"`([\w./-]+(?:\.(?:py|pyi|hpp|cpp|cu|md|sh|yaml|txt|toml)|/))`"
    named = {name for name in re.findall(path, read("CONTRIBUTING.md")) if "NAME" not in name}
    roots = [ROOT, ROOT / "python" / "dbnet_trt", ROOT / "csrc"]
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert sorted(missing) == []
    assert len(named) > 40


def test_names_that_contributors_are_sent_to_exist() -> None:
    text = read("CONTRIBUTING.md")
    sources = [*ROOT.glob("python/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("csrc/*")]
    sources += [
        *ROOT.glob("kernels/*"),
        ROOT / "CMakeLists.txt",
        ROOT / "python/dbnet_trt/_core.pyi",
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    names = set(re.findall(r"`([A-Z][A-Z_]{3,}|[a-z]+(?:_[a-z0-9]+)+|[A-Z][a-z]+[A-Z]\w+)`", text))
    assert len(names) > 25
    assert [name for name in sorted(names) if name not in code] == []


def test_the_changelog_names_every_command() -> None:
    text = read("CHANGELOG.md")
    assert "## Unreleased" in text
    for name in COMMANDS:
        assert re.search(rf"`{name}( check)?`", text), name
