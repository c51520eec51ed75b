# SPDX-License-Identifier: Apache-2.0
"""Make a release, up to the upload.

python release/make.py 0.2.0     # writes the version, commits, tags v0.2.0, and builds
python release/make.py           # builds from the tag at HEAD, as CI does

Into dist/VERSION go wheels (release/wheels.py), both source archives, dbnet-trt-models, the
documentation, release notes (the CHANGELOG's section), an SBOM (CycloneDX), and SHA256SUMS.
Install the extra `release` first.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import shutil
import sys
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path

from wheels import ROOT, find_pythons, run

PLACES = {
    "pyproject.toml": r'(?m)^version = "(.+)"$',
    "python/dbnet_trt/__init__.py": r'(?m)^__version__ = "(.+)"$',
    "CITATION.cff": r"(?m)^version: (.+)$",
}
"""Where the version stands, by file: a pattern whose group is the version."""

UNRELEASED = "## Unreleased\n"


def git(*arguments: str, folder: Path = ROOT) -> str:
    """Run git in a folder."""
    return run("git", "-C", folder, *arguments).strip()


def replace_version(text: str, pattern: str, version: str) -> str:
    """Replace the version that a pattern of `PLACES` finds."""
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"no line fits {pattern}")
    return text[: match.start(1)] + version + text[match.end(1) :]


def date_changelog(text: str, version: str, date: str) -> str:
    """Give what is unreleased a version and a date, below an empty section for what comes."""
    if UNRELEASED not in text or f"\n## {version} " in text:
        sys.exit(
            f'CHANGELOG.md must have a line "{UNRELEASED.strip()}" and none "## {version} ..."'
        )
    return text.replace(UNRELEASED, f"{UNRELEASED}\n## {version} ({date})\n", 1)


def release_notes(text: str, version: str) -> str:
    """Return the CHANGELOG's section of a version.

    Raises:
        SystemExit: There is none, or it is empty.
    """
    match = re.search(rf"(?ms)^## {re.escape(version)} .*?\n(.*?)(?=^## |\Z)", text)
    if match is None or not match[1].strip():
        sys.exit(f'CHANGELOG.md has no section "## {version} (date)", or an empty one')
    return match[1].strip() + "\n"


def prepare(version: str, root: Path = ROOT) -> None:
    """Write the version everywhere, date the CHANGELOG, commit and tag."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        sys.exit(f"a version is like 1.2.3 or 1.2.3rc1, got {version}")
    if git("status", "--porcelain", "--untracked-files=no", folder=root):
        sys.exit("there are changes that are not committed; commit or stash them first")
    for name, pattern in PLACES.items():
        path = root / name
        text = replace_version(path.read_text(encoding="utf-8"), pattern, version)
        path.write_text(text, encoding="utf-8")
    path = root / "CHANGELOG.md"
    date = datetime.date.today().isoformat()
    path.write_text(date_changelog(path.read_text(encoding="utf-8"), version, date), "utf-8")
    git("commit", "-q", "-m", f"release: {version}", "--", *PLACES, "CHANGELOG.md", folder=root)
    git("tag", "-a", f"v{version}", "-m", version, folder=root)


def tagged_version(root: Path = ROOT) -> str:
    """Return the version of the tag at HEAD.

    Raises:
        SystemExit: There is no such tag, or a file names another version.
    """
    tags = [tag for tag in git("tag", "--points-at", "HEAD", folder=root).split() if tag[:1] == "v"]
    if len(tags) != 1:
        sys.exit(f"expected one tag like v1.2.3 at HEAD, found {tags}; give a version to make it")
    version = tags[0][1:]
    for name, pattern in PLACES.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"))
        if match is None or match[1] != version:
            sys.exit(f"{name} has version {match and match[1]}, the tag at HEAD is v{version}")
    return version


def write_sbom(wheel: Path, python: str, output: Path) -> None:
    """Write what an installation of the wheel consists of, and what is compiled into it."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", "--without-pip", folder)
        inside = Path(folder) / "bin" / "python"
        run(python, "-m", "pip", "--python", inside, "install", "--no-compile", wheel)
        arguments = ("--output-reproducible", "--of", "JSON", "-o", output)
        run(sys.executable, "-m", "cyclonedx_py", "environment", *arguments, inside)
    sbom = json.loads(output.read_text(encoding="utf-8"))
    for component in sbom["components"]:
        for reference in component.get("externalReferences", []):
            if reference["url"].startswith("file:"):  # the wheel, by a path of this machine
                reference["url"] = wheel.name
    static = {
        "pybind11": "BSD-3-Clause",
        "ziglang": "MIT; its libc++ is Apache-2.0 WITH LLVM-exception",
    }
    for name, terms in static.items():
        sbom["components"].append({
            "type": "library",
            "bom-ref": f"static-{name}",
            "name": name,
            "version": installed_version(name),
            "licenses": [{"license": {"name": terms}}],
            "description": "compiled into _core",
        })  # fmt: skip
    output.write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS of all files, which `sha256sum --check` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def build(version: str, source: Path, output: Path, pythons: list[str]) -> None:
    """Build and check all that a release has, from a clean clone of its tag."""
    python = sys.executable
    run(python, source / "release" / "wheels.py", "--output", output, "--python", *pythons)
    run(python, "-m", "build", "--sdist", "-o", output, source)
    run(python, "-m", "build", "-o", output, source / "models")
    run(python, "-m", "twine", "check", "--strict", *output.glob("*"))
    run(python, "-m", "mkdocs", "build", "--strict", "-q", "-f", source / "mkdocs.yml",
        "-d", source / "site")  # fmt: skip
    shutil.make_archive(str(output / f"documentation-{version}"), "zip", source / "site")
    changelog = (source / "CHANGELOG.md").read_text(encoding="utf-8")
    (output / "notes.md").write_text(release_notes(changelog, version), encoding="utf-8")
    wheel = sorted(output.glob("dbnet_trt-*.whl"))[0]
    write_sbom(wheel, pythons[0], output / f"sbom-{version}.json")
    write_checksums(output)


def main(version: str | None) -> None:
    """Make the release, and say what is left to do."""
    if version is not None:
        prepare(version)
    version = tagged_version()
    output = ROOT / "dist" / version
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        git("clone", "-q", "--branch", f"v{version}", "--depth", "1", f"file://{ROOT}", str(source))
        build(version, source, output, find_pythons())
    for path in sorted(output.iterdir()):
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")
    print(
        f"to publish: git push --follow-tags, then\n  twine upload {output}/*.whl {output}/*.tar.gz"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
