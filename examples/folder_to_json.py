# SPDX-License-Identifier: Apache-2.0
"""Find the text in every image of a folder, and write one line of JSON per image.

Usage: python examples/folder_to_json.py FOLDER RESULTS.jsonl [--model NAME_OR_FILE]
"""

import argparse
import json
import sys
from pathlib import Path

from dbnet_trt import Detector, ImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def write_results(detector: Detector, folder: Path, results: Path) -> int:
    """Detect text in all images below a folder, and return the number that could not be read."""
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    failed = 0
    with results.open("w", encoding="utf-8") as file:
        for path in images:
            try:
                found = detector.detect(path)
            except ImageError as error:
                print(f"skipped: {error}", file=sys.stderr)
                failed += 1
                continue
            texts = [
                {
                    "score": round(float(text.score), 3),
                    "quad": text.quad.astype(float).round(1).tolist(),
                }
                for text in found.in_reading_order()
            ]
            record = {"image": str(path.relative_to(folder)), "texts": texts}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", help="name or file of a model; the default model if left out")
    arguments = parser.parse_args()
    failed = write_results(Detector(arguments.model), arguments.folder, arguments.results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
