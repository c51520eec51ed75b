# SPDX-License-Identifier: Apache-2.0
"""PDF files made by a test, one image per page, and a folder of images and documents."""

from pathlib import Path

import cv2
import numpy as np

from fakes.tiny_model import scene

PASSWORD_OF_ANOTHER = b"<</Filter/Standard/V 1/R 2/P -4/O(%b)/U(%b)>>" % (b"x" * 32, b"y" * 32)


def make_pdf(
    path: Path,
    images: list[np.ndarray],
    *,
    dpi: int = 72,
    page_points: tuple[float, float] | None = None,
    encrypted: bool = False,
) -> Path:
    """Write a PDF of (H, W, 3) uint8 BGR images.

    Args:
        path: File to write.
        images: One per page, which it fills.
        dpi: Pixels per inch, from which sizes of pages follow.
        page_points: (width, height) of each page in points, in place of `dpi`.
        encrypted: Whether to say that the file needs a password, which nobody knows.
    """
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    kids = []
    for image in images:
        height, width = image.shape[:2]
        wide, high = page_points or (72 * width / dpi, 72 * height / dpi)
        drawing = b"%f 0 0 %f 0 0 cm /I Do" % (wide, high)
        jpeg = bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
        first = len(objects) + 1
        kids.append(b"%d 0 R" % first)
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %f %f]/Contents %d 0 R"
            b"/Resources<</XObject<</I %d 0 R>>>>>>" % (wide, high, first + 1, first + 2),
            b"<</Length %d>>stream\n%b\nendstream" % (len(drawing), drawing),
            b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB"
            b"/BitsPerComponent 8/Filter/DCTDecode/Length %d>>stream\n%b\nendstream"
            % (width, height, len(jpeg), jpeg),
        ]
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(kids))
    data, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    lock = b"/Encrypt %b/ID[(a)(a)]" % PASSWORD_OF_ANOTHER if encrypted else b""
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table) + (
        b"trailer<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, lock, len(data))
    )
    path.write_bytes(data)
    return path


def make_folder(folder: Path) -> Path:
    """Write nine images in three folders, a damaged file and a document of five pages."""
    for i in range(9):
        path = folder / f"{i % 3}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene(100 + i, 150, 1 + i % 4))
    (folder / "1" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    cv2.imwritemulti(str(folder / "2" / "scan.tif"), [scene(num_texts=1 + i % 4) for i in range(5)])
    return folder
