# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ say what the code says."""

import ast
import json
import re
import runpy
from pathlib import Path
from typing import Any

import dbnet_trt
import pytest
from dbnet_trt.card import ModelCard
from dbnet_trt.cli.app import COMMANDS
from dbnet_trt.data.open import OPTIONS
from dbnet_trt.data.readers import READERS
from dbnet_trt.zoo import MODELS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = Path(dbnet_trt.__file__).parent
MAX_README_WORDS = 900
GAP = "\0"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def texts_of_code() -> str:
    """All string literals of the package, one a line, with a gap where a value is filled in."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    each.value if isinstance(each, ast.Constant) else GAP for each in node.values
                ]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(text.replace("\n", " ") for text in found)


def messages() -> list[str]:
    return re.findall(r"^### `(.+)`$", page("troubleshooting.md"), re.MULTILINE)


@pytest.fixture(scope="module")
def code() -> str:
    return texts_of_code()


@pytest.mark.parametrize("message", messages())
def test_a_message_of_the_troubleshooting_page_is_in_the_code(message: str, code: str) -> None:
    words = [re.escape(part) for part in message.split("…")]
    if not re.search(".*".join(words), code):
        pytest.fail(f'no message of the code is "{message}"', pytrace=False)


def test_the_troubleshooting_page_has_messages() -> None:
    assert len(messages()) > 20


@pytest.fixture(scope="module")
def drawing() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "drawing.py"))


def test_the_pictures_are_those_of_the_code(drawing: dict[str, Any]) -> None:
    for name, text in drawing["pictures"]().items():
        drawn = (DOCS / "images" / name).read_text(encoding="utf-8")
        assert drawn == text, f"docs/images/{name} is out of date; run python docs/drawing.py"


def test_the_pictures_name_files_that_are_there(drawing: dict[str, Any]) -> None:
    assert drawing["missing_files"]() == []


def test_the_pictures_show_every_package(drawing: dict[str, Any]) -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    passing_on = {"cli", "serving", "bulk"}  # they only pass on what they are told
    assert packages - drawing["rooms_drawn"]() == passing_on


def test_the_architecture_page_names_every_room(drawing: dict[str, Any]) -> None:
    text = page("architecture.md")
    for floor in drawing["FLOORS"]:
        for room in floor:
            if room != "__main__":
                assert re.search(rf"`{re.escape(room)}(/|\.py)?`", text), room


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "engines/README.md"]
)
def test_links_lead_somewhere(name: str) -> None:
    """MkDocs looks at those of docs/."""
    file = ROOT / name
    text = file.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_snippets_are_run_or_say_why_not() -> None:
    for path in (ROOT / "README.md", *DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        languages = set(re.findall(r"^```(.+)$", text, re.MULTILINE))
        assert languages <= {"python", "bash"}, f"{path}: only these are run"
        skips = re.findall(r"<!-- skip: (.*) -->", text)
        assert all(re.fullmatch(r'next ".+"', skip) for skip in skips), path


def test_every_command_is_on_a_page() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for command in COMMANDS:
        assert re.search(rf"dbnet[ -]{command}\b", pages), command


def test_every_model_is_listed() -> None:
    for name in MODELS:
        assert f"`{name}`" in page("models.md"), name
        assert f"`{name}`" in page("../README.md"), name


def test_the_table_of_models_shows_their_own_sizes() -> None:
    readme = page("../README.md")
    for name, model in MODELS.items():
        (row,) = re.findall(rf"^\| `{name}`.*$", readme, re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2] == f"{model.card.text_level}s"
        assert cells[4] == str(model.card.short_side)


def test_every_format_is_listed() -> None:
    for name in READERS:
        assert f"`{name}`" in page("training.md"), name


def test_every_option_of_a_data_set_is_listed() -> None:
    for name in OPTIONS:
        assert f"?{name}" in page("training.md"), name


def test_fields_of_a_card_are_as_they_are_called() -> None:
    table = page("cards.md").partition("| question |")[2].partition("\n\n")[0]
    named = [cell for row in table.splitlines()[2:] for cell in [row.split("|")[2]]]
    fields = {name for cell in named for name in re.findall(r"`(\w+)`", cell)}
    assert fields
    assert fields <= set(ModelCard.__dataclass_fields__)


def test_the_scores_of_models_are_those_of_their_cards() -> None:
    for text in (page("../README.md"), page("models.md")):
        for name, model in MODELS.items():
            (row,) = re.findall(
                rf"^\| `{name}`.*$", text.partition("Choose by need")[0], re.MULTILINE
            )
            score = row.split("|")[3].strip()
            told = model.card.source + model.card.scores
            if score == "not yet":
                assert told.count("Not judged blind yet") == 1, name
                continue
            assert re.search(rf"[Bb]lind.*F {score}|F {score}.*blind", told), f"{name}: {score}"


def test_the_times_of_peers_are_those_of_the_run() -> None:
    results = ROOT / "benchmarks" / "results" / "epyc-avx2-2core"
    run = json.loads((results / "compare.json").read_text(encoding="utf-8"))
    ratios = run["comparison"]["geometric_mean_ratios"]
    for ratio in ratios.values():
        assert f"| {ratio:g} |" in page("accuracy.md")
    sentence = page("../README.md").partition("With the same weights for all ")[2].partition(":")[0]
    told = {float(each) for each in re.findall(r"\d\.\d\d", sentence)}
    assert len(told) == 3
    assert told <= set(ratios.values())


def test_the_models_are_those_of_the_run() -> None:
    results = ROOT / "benchmarks" / "results" / "epyc-avx2-2core"
    rows = json.loads((results / "models.json").read_text(encoding="utf-8"))["models"]
    times = {row["model"]: row["times_as_long"] for row in rows}
    rapidocr = times["RapidOCR as installed"]
    readme = page("../README.md")
    assert f"takes {rapidocr / times['dbnet-lines']:.1f} times as long as the default" in readme
    assert f"{rapidocr / times['dbnet-lines@608']:.1f} times as long as it does at" in readme
    for row in rows:
        fs = " | ".join(f"{f:.1f}" for f in row["f"].values())
        assert f"| {fs} | {1000 * row['cpu_seconds']:.0f} ms |" in page("accuracy.md")


def test_the_readme_is_short() -> None:
    words = page("../README.md").split()
    assert len(words) <= MAX_README_WORDS
