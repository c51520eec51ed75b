# SPDX-License-Identifier: Apache-2.0
"""Read the text that was found, with the recogniser of RapidOCR.

Usage: python examples/read_text.py IMAGE
Both come with `pip install 'dbnet-trt[pretrained]'`, and neither downloads anything.
"""

import argparse

from dbnet_trt import Detection, Detector
from rapidocr import RapidOCR


def read_text(path: str) -> list[tuple[str, float, Detection]]:
    """Find and read the text of an image.

    Returns:
        (text, certainty in [0, 1], where it is) in reading order.
    """
    found = Detector().detect(path).in_reading_order()
    if len(found) == 0:
        return []
    recogniser = RapidOCR(params={"Global.log_level": "error"})
    read = recogniser.recognize_txt(found.crops(path))
    return list(zip(read.txts, read.scores, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    for text, certainty, where in read_text(parser.parse_args().image):
        x, y = where.quad[0]
        print(f"{certainty:.2f}  {x:6.0f},{y:6.0f}  {text}")


if __name__ == "__main__":
    main()
