# SPDX-License-Identifier: Apache-2.0
"""Hooks of MkDocs: pages and pictures that lie elsewhere in the repository join the site.

The pages link to files as they lie in the repository, as in ../benchmarks/results/x.png, so that
the links work where the pages are read without the site. Here pictures are copied into the site,
links between pages are put right, and links to other files become their plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {  # file: (page, title)
    "benchmarks/README.md": ("benchmarks.md", "Benchmarks"),
    "benchmarks/results/training/README.md": ("training-runs.md", "Training runs"),
    "CONTRIBUTING.md": ("contributing.md", "Contributing"),
    "CHANGELOG.md": ("changelog.md", "Changelog"),
}
"""Files elsewhere in the repository that join the site where they are there."""

SAME = {"SECURITY.md": "security.md", "README.md": "index.md", "web": "browser/index.html"}
"""Files and folders that are not copied, and the page that says or does the same."""

BROWSER = ROOT / "build" / "web"
"""The page that finds text in the browser, from web/build.py."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> None:
    """Add the pages from elsewhere to the end of the navigation."""
    there = [{title: page} for name, (page, title) in PAGES.items() if (ROOT / name).is_file()]
    config.nav[-1]["Project"].extend(there)


def on_files(files: Files, config: Any) -> None:
    """Add the pages from elsewhere, that for browsers, and all pictures that a page shows."""
    for name, (page, _) in PAGES.items():
        if (ROOT / name).is_file():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    for path in sorted(BROWSER.glob("*")):
        files.append(File.generated(config, f"browser/{path.name}", abs_src_path=str(path)))
    for file in list(files.documentation_pages()):
        folder = Path(str(file.abs_src_path)).parent
        for mark, _, target, _ in LINK.findall(Path(str(file.abs_src_path)).read_text()):
            source = _inside(folder, target)
            if not mark or source is None or source.startswith("docs/"):
                continue
            if files.get_file_from_path(source) is None:
                files.append(File.generated(config, source, abs_src_path=str(ROOT / source)))


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Rewrite links that lead out of the folder of the pages."""
    folder = Path(str(page.file.abs_src_path)).parent

    def rewrite(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups(default="")
        path = _inside(folder, target)
        if path is None:
            return link[0]  # strict mode reports it
        path = PAGES[path][0] if path in PAGES else SAME.get(path, path).removeprefix("docs/")
        if files.get_file_from_path(path) is None:
            return text
        return f"{mark}[{text}]({path}{anchor})"

    return LINK.sub(rewrite, markdown)


def _inside(folder: Path, target: str) -> str | None:
    """Return a link's path from the repository's root; None where nothing is there."""
    path = Path(os.path.normpath(folder / target))
    return path.relative_to(ROOT).as_posix() if path.exists() and ROOT in path.parents else None
