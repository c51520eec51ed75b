# SPDX-License-Identifier: Apache-2.0
from xml.etree import ElementTree

import numpy as np
import pytest
from dbnet_trt import Detections
from dbnet_trt.reading import to_alto, to_hocr, to_markdown, to_text

XHTML = "{http://www.w3.org/1999/xhtml}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"


def read(*texts: tuple[float, float, float, float, str]) -> Detections:
    """Texts of (x, y, width, height, what was read)."""
    quads = [[[x, y], [x + w, y], [x + w, y + h], [x, y + h]] for x, y, w, h, _ in texts]
    count = len(texts)
    return Detections(
        np.array(quads, np.float32).reshape(-1, 4, 2), np.ones(count, np.float32), None, None,
        tuple(text for *_, text in texts), np.full(count, 0.87, np.float32),
    )  # fmt: skip


PAGE = read(
    (40, 200, 300, 20, "# of * all <b>"),
    (40, 20, 400, 50, "Prices"),
    (40, 226, 290, 20, "1. & more"),
    (40, 100, 60, 20, "Soup"), (250, 101, 50, 20, "4.50"),
    (40, 130, 70, 20, "Pas|ta"), (250, 131, 50, 20, "8.90"),
    (500, 500, 30, 20, " "),
)  # fmt: skip


def test_plain_text() -> None:
    assert to_text(PAGE) == "Prices\n\nSoup 4.50\nPas|ta 8.90\n\n# of * all <b>\n1. & more"


def test_markdown_has_headings_tables_and_escapes() -> None:
    heading, table, text = to_markdown(PAGE).split("\n\n")
    assert heading == "## Prices"
    assert table == "| Soup | 4.50 |\n|---|---|\n| Pas\\|ta | 8.90 |"
    assert text == "\\# of \\* all \\<b\\>\n1\\. & more"


def test_words_of_a_line_are_no_table() -> None:
    words = [
        (40 + 60 * i, 40 + 30 * row, 52, 20, f"w{row}{i}") for row in range(3) for i in range(4)
    ]
    assert to_markdown(read(*words)) == "\n".join(
        " ".join(f"w{row}{i}" for i in range(4)) for row in range(3)
    )


def test_a_table_from_right_to_left() -> None:
    found = read(
        (250, 100, 50, 20, "a"), (40, 101, 50, 20, "b"),
        (250, 130, 50, 20, "c"), (40, 131, 50, 20, "d"),
    )  # fmt: skip
    assert to_markdown(found, right_to_left=True) == "| a | b |\n|---|---|\n| c | d |"


def test_hocr_is_well_formed_and_has_boxes() -> None:
    page = to_hocr(PAGE, (600, 800), name='a "b" <c>.jpg')
    root = ElementTree.fromstring(page)
    texts = [each for each in root.iter(f"{XHTML}span") if each.get("class") == "ocrx_word"]
    assert [each.text for each in texts][:2] == ["Prices", "Soup"]
    assert texts[0].get("title") == "bbox 40 20 440 70; x_wconf 87"
    lines = [each for each in root.iter(f"{XHTML}span") if each.get("class") == "ocr_line"]
    assert lines[1].get("title") == "bbox 40 100 300 121"
    (whole,) = [each for each in root.iter() if each.get("class") == "ocr_page"]
    assert whole.get("title") == 'image "a "b" <c>.jpg"; bbox 0 0 800 600; ppageno 0'


def test_alto_is_well_formed_and_has_boxes() -> None:
    root = ElementTree.fromstring(to_alto(PAGE, (600, 800), name="<a>.jpg"))
    strings = list(root.iter(f"{ALTO}String"))
    assert [each.get("CONTENT") for each in strings][-2:] == ["# of * all <b>", "1. & more"]
    assert {**strings[0].attrib} == {
        "HPOS": "40", "VPOS": "20", "WIDTH": "400", "HEIGHT": "50",
        "CONTENT": "Prices", "WC": "0.87",
    }  # fmt: skip
    assert len(list(root.iter(f"{ALTO}TextBlock"))) == 3
    assert next(root.iter(f"{ALTO}fileName")).text == "<a>.jpg"


def test_characters_that_xml_cannot_hold() -> None:
    found = read((40, 20, 400, 50, 'a\x00"b"'))
    for text in (to_hocr(found, (99, 99)), to_alto(found, (99, 99))):
        ElementTree.fromstring(text)
        assert "�" in text


def test_text_that_was_not_read() -> None:
    found = Detections(PAGE.quads, PAGE.scores)
    for convert in (to_text, to_markdown):
        with pytest.raises(ValueError, match="pass the detections through read_text first"):
            convert(found)
    with pytest.raises(ValueError, match="was not read"):
        to_hocr(Detections.empty(), (9, 9))
