# SPDX-License-Identifier: Apache-2.0
"""Words are joined to lines as engines/recipes/lines.py says."""

import lines
import numpy as np
import pytest
from dbnet_trt.data.samples import Text


def word(left: float, top: float, width: float, height: float, ignore: bool = False) -> Text:
    right, bottom = left + width, top + height
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return Text(np.array(corners, np.float64), ignore)


@pytest.mark.parametrize(
    ("second", "count"),
    [
        (word(110, 22, 80, 18), 1),
        (word(10, 22, 30, 18), 1),  # before the first, which was read later
        (word(130, 20, 80, 20), 2),  # a gap wider than the words are high
        (word(110, 34, 80, 20), 2),  # less than half the height shared
        (word(110, 10, 80, 50), 2),  # another size of letters
    ],
)
def test_two_words(second: Text, count: int) -> None:
    first = word(50, 20, 50, 20)
    assert len(lines.join_words([first, second])) == count


def test_a_line_of_three_words_with_one_to_ignore() -> None:
    words = [word(100, 20, 40, 20), word(0, 20, 40, 20, ignore=True), word(50, 20, 40, 20)]
    (line,) = lines.join_words(words)
    assert line.ignore
    np.testing.assert_allclose(sorted(line.polygon[:, 0]), [0, 0, 140, 140], atol=1e-3)
