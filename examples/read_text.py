# SPDX-License-Identifier: Apache-2.0
"""Read the text of an image, block by block, in the order a person would.

Usage: python examples/read_text.py IMAGE
The recogniser comes with `pip install 'dbnet-trt[pretrained]'`, and nothing is downloaded.
"""

import argparse

from dbnet_trt import Detections, Detector
from dbnet_trt.reading import rapidocr_reader, read_text


def read_blocks(path: str) -> list[list[Detections]]:
    """Find and read the text of an image.

    Returns:
        Blocks of lines; each line holds its texts in order, with `text`, `confidence` and `quad`.
    """
    found = Detector().detect(path, polygons=True)
    return read_text(found, path, rapidocr_reader()).blocks()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    for number, block in enumerate(read_blocks(parser.parse_args().image), 1):
        for line in block:
            for text in line:
                x, y = text.quad[0]
                print(f"{number:3d}  {text.confidence:.2f}  {x:6.0f},{y:6.0f}  {text.text}")


if __name__ == "__main__":
    main()
