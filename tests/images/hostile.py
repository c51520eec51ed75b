# SPDX-License-Identifier: Apache-2.0
"""Image files that are built to do harm, drawn by code, and small honest ones beside them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image

HUGE = 20_000
"""Side of a canvas beyond the limit: 400 megapixels."""

LARGE = 13_000
"""Side of a canvas within the limit of plain formats: 169 megapixels."""


def photo(height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """(H, W, channels) uint8 noise, the same on every call."""
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(suffix: str, image: np.ndarray | None = None, flags: tuple[int, ...] = ()) -> bytes:
    """A file of OpenCV's encoder."""
    return bytes(cv2.imencode(suffix, photo() if image is None else image, flags)[1])


def encode_by_pillow(kind: str, image: np.ndarray | None = None, **options: object) -> bytes:
    """A file of Pillow's encoder."""
    target = io.BytesIO()
    PIL.Image.fromarray(photo() if image is None else image).save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A chunk of a PNG, which may lie about its size."""
    length = len(data) if size is None else size
    return struct.pack(">I", length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2) -> bytes:
    """A PNG of given chunks between its header and its end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def flat_png(side: int, depth: int, color: int, channels: int) -> bytes:
    """A whole PNG of one colour."""
    row = bytes(1 + side * channels * depth // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, chunk(b"IDAT", data), depth=depth, color=color)


def gif(width: int, height: int, frame: tuple[int, int] = (1, 1)) -> bytes:
    """A GIF whose only frame holds one pixel."""
    canvas = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return canvas + b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\x00\x3b"


def bmp(width: int, height: int, bits: int, compression: int, pixels: bytes) -> bytes:
    """A BMP that may lie about its size."""
    palette = b"\0\0\0\0\xff\xff\xff\0" * (1 << bits >> 1) if bits <= 8 else b""
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + palette + pixels


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says another size."""
    at = next(data.find(b"\xff" + kind) for kind in (b"\xc0", b"\xc2") if b"\xff" + kind in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def many_scans(width: int, height: int, count: int) -> bytes:
    """A progressive JPEG that repeats its first scan."""
    flat = np.full((16, 16, 3), 90, np.uint8)
    data = resized_jpeg(encode(".jpg", flat, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), width, height)
    first = data.find(b"\xff\xda")
    end = data.find(b"\xff", first + 12)
    while data[end + 1] == 0:
        end = data.find(b"\xff", end + 2)
    return data[:first] + data[first:end] * count + b"\xff\xd9"


def tiff(width: int, height: int, *, tile: int = 0, samples: int = 3, bits: int = 8) -> bytes:
    """A TIFF whose one strip or tile holds ten bytes."""
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: 2, 273: 8, 277: samples, 279: 10}
    if tile:
        fields |= {322: tile, 323: tile, 324: 8, 325: 10}
        del fields[273], fields[279]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, fields[tag]) for tag in sorted(fields))
    start = struct.pack("<2sHI", b"II", 42, 18)
    return start + bytes(10) + struct.pack("<H", len(fields)) + entries + bytes(4)


def tiff_circle() -> bytes:
    """A TIFF whose page follows itself."""
    data = tiff(16, 16)
    return data[:-4] + struct.pack("<I", 18)


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is larger than its frame."""
    flags = struct.pack("<I", 0x10)
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    inner = encode(".webp")[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + flags + size + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_lossless(width: int, height: int) -> bytes:
    """A WebP that says another size."""
    data = encode(".webp", None, (cv2.IMWRITE_WEBP_QUALITY, 101))
    at = data.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", data, at)
    bits = bits >> 28 << 28 | (height - 1) << 14 | (width - 1)
    return data[:at] + struct.pack("<I", bits) + data[at + 4 :]


def resized_jp2(width: int, height: int, tile: int, channels: int = 3) -> bytes:
    """A JPEG 2000 image that says another size."""
    data = bytearray(encode(".jp2", photo(200, 200)))
    at = data.index(b"\xff\x4f\xff\x51") + 4
    struct.pack_into(">IIIIII", data, at + 4, width, height, 0, 0, tile, tile)
    struct.pack_into(">H", data, at + 36, channels)
    return bytes(data)


def resized_avif(width: int, height: int) -> bytes:
    """An AVIF that says another size."""
    data = bytearray(encode(".avif", photo(64, 64)))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    return bytes(data)


def text_bomb(count: int) -> bytes:
    """A PNG with many chunks of text that unpack to 7 MB each."""
    text = b"a\0\0" + zlib.compress(bytes(7_000_000), 9)
    honest = encode(".png")
    return honest[:33] + chunk(b"zTXt", text) * count + honest[33:]


REFUSED: dict[str, Callable[[], bytes]] = {
    "png_chunk_1gb": lambda: png(16, 16, struct.pack(">I", 10**9) + b"tEXtIEND"),
    "png_chunk_4gb": lambda: png(16, 16, struct.pack(">I", 0xFFFFFFF0) + b"tEXtIEND"),
    "png_canvas": lambda: png(HUGE, HUGE, chunk(b"IDAT", zlib.compress(bytes(100)))),
    "png_canvas_no_data": lambda: png(LARGE, LARGE, chunk(b"IDAT", zlib.compress(bytes(100)))),
    "png_1_bit": lambda: flat_png(HUGE, 1, 0, 1),
    "png_frame_outside": lambda: png(
        16, 16, chunk(b"acTL", bytes(8)), chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, HUGE, HUGE,
        0, 0, 1, 1, 0, 0)), chunk(b"IDAT", zlib.compress(bytes(49 * 16)))),
    "png_half": lambda: encode(".png")[:5000],
    "gif_canvas": lambda: gif(HUGE, HUGE),
    "gif_canvas_65535": lambda: gif(65535, 65535),
    "gif_within_plain_limit": lambda: gif(LARGE, LARGE),
    "gif_frame": lambda: gif(16, 16, (HUGE, HUGE)),
    "gif_no_frame": lambda: gif(16, 16)[:19],
    "jpeg_canvas": lambda: resized_jpeg(encode(".jpg"), HUGE, HUGE),
    "jpeg_canvas_65500": lambda: resized_jpeg(encode(".jpg"), 65500, 65500),
    "jpeg_no_pixels": lambda: resized_jpeg(encode(".jpg"), 4000, 4000),
    "jpeg_no_pixels_large": lambda: resized_jpeg(encode(".jpg"), LARGE, LARGE),
    "jpeg_progressive_no_pixels": lambda: resized_jpeg(
        encode(".jpg", None, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), 9000, 9000),
    "jpeg_restarts_lost": lambda: resized_jpeg(
        encode(".jpg", photo(400, 400), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)), 1200, 1200),
    "jpeg_scans": lambda: many_scans(8000, 8000, 4000),
    "jpeg_scans_small": lambda: many_scans(64, 64, 4000),
    "jpeg_half": lambda: encode(".jpg")[:2000],
    "jpeg_empty": lambda: b"\xff\xd8\xff\xd9",
    "bmp_canvas": lambda: bmp(HUGE, HUGE, 24, 0, bytes(10)),
    "bmp_canvas_negative": lambda: bmp(HUGE, -HUGE, 24, 0, bytes(10)),
    "bmp_1_bit": lambda: bmp(HUGE, HUGE, 1, 0, bytes(10)),
    "bmp_rle8": lambda: bmp(HUGE, HUGE, 8, 1, b"\0\1"),
    "bmp_rle4": lambda: bmp(HUGE, HUGE, 4, 2, b"\0\1"),
    "bmp_int_min": lambda: bmp(-(2**31), -(2**31), 24, 0, bytes(10)),
    "bmp_cut_off": lambda: encode(".bmp")[:5000],
    "bmp_no_pixels": lambda: bmp(LARGE, LARGE, 1, 0, bytes(10)),
    "tiff_canvas": lambda: tiff(HUGE, HUGE),
    "tiff_canvas_2g": lambda: tiff(2**31, 2**31),
    "tiff_tile": lambda: tiff(64, 64, tile=HUGE),
    "tiff_samples": lambda: tiff(64, 64, samples=60000),
    "tiff_64_bit": lambda: tiff(LARGE, LARGE, samples=4, bits=64),
    "tiff_circle": tiff_circle,
    "tiff_no_pages": lambda: b"II*\0\0\0\0\0",
    "tiff_cut_off": lambda: encode(".tif")[:2000],
    "webp_canvas": lambda: webp_canvas(1 << 24, 1 << 24),
    "webp_canvas_wide": lambda: webp_canvas(HUGE, HUGE),
    "webp_lossless": lambda: webp_lossless(16384, 16384),
    "webp_cut_off": lambda: encode(".webp")[:500],
    "jp2_canvas": lambda: resized_jp2(HUGE, HUGE, HUGE),
    "jp2_tiles": lambda: resized_jp2(6000, 6000, 1),
    "jp2_channels": lambda: resized_jp2(200, 200, 200, 16384),
    "jp2_cut_off": lambda: encode(".jp2", photo(200, 200))[:200],
    "avif_canvas": lambda: resized_avif(HUGE, HUGE),
    "avif_cut_off": lambda: encode(".avif")[:200],
    "pbm_canvas": lambda: b"P4\n%d %d\n" % (HUGE, HUGE),
    "ppm_no_pixels": lambda: b"P6\n%d %d\n255\n" % (LARGE, LARGE),
    "ppm_text": lambda: b"P3\n%d %d\n255\n1 2 3" % (LARGE, LARGE),
    "pam_canvas": lambda: b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    % (HUGE, HUGE),
    "pfm_canvas": lambda: b"PF\n%d %d\n-1\n" % (LARGE, LARGE),
    "hdr_canvas": lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (HUGE, HUGE),
    "sun_canvas": lambda: struct.pack(">8I", 0x59A66A95, HUGE, HUGE, 24, 0, 1, 0, 0),
    "sun_rle": lambda: struct.pack(">8I", 0x59A66A95, HUGE, HUGE, 24, 0, 2, 0, 0) + bytes(10),
    "exr_canvas": lambda: b"\x76\x2f\x31\x01\x02\0\0\0dataWindow\0box2i\0\x10\0\0\0"
    + struct.pack("<4i", 0, 0, HUGE, HUGE),
    "zeros": lambda: bytes(10_000),
    "text": lambda: b"this is no image",
}  # fmt: skip
"""Files that must be an ImageError."""

TAKEN: dict[str, Callable[[], bytes]] = {
    "png_texts": lambda: text_bomb(200),
    "png_flat": lambda: flat_png(6000, 8, 2, 3),
    "png_flat_16_bit": lambda: flat_png(6000, 16, 0, 1),
    "pgm_16_bit": lambda: encode(".pgm", photo(channels=1)[:, :, 0].astype(np.uint16) * 257),
    "pfm_gray": lambda: encode(".pfm", photo(channels=1)[:, :, 0].astype(np.float32)),
    "tiff_gray_alpha": lambda: encode_by_pillow("TIFF", np.full((48, 64, 2), 9, np.uint8)),
    "jp2_gray_alpha": lambda: encode_by_pillow("JPEG2000", np.full((48, 64, 2), 9, np.uint8)),
    "jpeg": lambda: encode(".jpg"),
    "png": lambda: encode(".png"),
    "png_16_bit": lambda: encode(".png", photo().astype(np.uint16) * 257),
    "gif": lambda: encode_by_pillow("GIF"),
    "tiff": lambda: encode(".tif"),
    "webp": lambda: encode(".webp"),
    "avif": lambda: encode(".avif"),
    "jp2": lambda: encode(".jp2", photo(200, 200)),
    "bmp": lambda: encode(".bmp"),
    "ppm": lambda: encode(".ppm"),
    "pgm": lambda: encode(".pgm", photo(channels=1)[:, :, 0]),
    "pbm": lambda: encode(".pbm", photo(channels=1)[:, :, 0]),
    "pfm": lambda: encode(".pfm", photo().astype(np.float32)),
    "hdr": lambda: encode(".hdr", photo().astype(np.float32)),
    "sun": lambda: encode(".ras"),
}
"""Honest files of every format, and some that cost libpng much without us."""
