"""Files as nobody should send them: made from a few good pictures by drawn mutations."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

Mutation = Callable[[np.ndarray, random.Random], bytes]


def _encoded(rgb: np.ndarray, rng: random.Random, **options: object) -> bytes:
    """Encode a picture in a drawn format."""
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, rng.choice(("JPEG", "JPEG", "PNG", "TIFF")), **options)
    return sink.getvalue()


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def _truncated(rgb: np.ndarray, rng: random.Random) -> bytes:
    data = _encoded(rgb, rng)
    return data[: rng.randrange(len(data))]


def _zero_bytes(rgb: np.ndarray, rng: random.Random) -> bytes:
    return b""


def _bits_flipped(rgb: np.ndarray, rng: random.Random) -> bytes:
    data = bytearray(_encoded(rgb, rng))
    for _ in range(rng.randrange(1, 60)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _header_flipped(rgb: np.ndarray, rng: random.Random) -> bytes:
    data = bytearray(_encoded(rgb, rng))
    for _ in range(rng.randrange(1, 8)):
        data[rng.randrange(min(64, len(data)))] = rng.randrange(256)
    return bytes(data)


_SIGNATURES = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", bytes(128) + b"DICM", b"GIF89a")


def _noise(rgb: np.ndarray, rng: random.Random) -> bytes:
    return rng.choice(_SIGNATURES) + rng.randbytes(rng.randrange(1, 4000))


def _spliced(rgb: np.ndarray, rng: random.Random) -> bytes:
    first, second = _encoded(rgb, rng), _encoded(rgb[::-1].copy(), rng)
    return first[: rng.randrange(len(first))] + second[rng.randrange(len(second)) :]


def _appended(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _encoded(rgb, rng) + rng.randbytes(rng.randrange(1, 5000))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_bomb(rgb: np.ndarray, rng: random.Random) -> bytes:
    """A few kilobytes that say they are gigapixels."""
    side = rng.choice((20_000, 65_000, 2**31 - 1))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(b"\0" * 300_000, 9)) + _chunk(b"IEND", b"")


def _text_bomb(rgb: np.ndarray, rng: random.Random) -> bytes:
    """A good PNG with a text chunk that unpacks to sixty megabytes."""
    data = _saved(Image.fromarray(rgb), "PNG")
    return data[:33] + _long_text() + data[33:]


@cache
def _long_text() -> bytes:
    return _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 60_000_000, 9))


def _jpeg_bomb(rgb: np.ndarray, rng: random.Random) -> bytes:
    """A JPEG whose frame header says 65,000 x 65,000."""
    data = bytearray(_saved(Image.fromarray(rgb), "JPEG"))
    place = data.find(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


def _cmyk(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _saved(Image.fromarray(rgb).convert("CMYK"), rng.choice(("JPEG", "TIFF")))


def _deep(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _saved(Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), rng.choice(("PNG", "TIFF")))


def _rotated(rgb: np.ndarray, rng: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 2, 3, 6, 8, 9, 77))
    return _saved(Image.fromarray(rgb), "JPEG", exif=exif)


def _few_colours(rgb: np.ndarray, rng: random.Random) -> bytes:
    mode = rng.choice(("P", "1", "L", "LA", "RGBA"))
    return _saved(Image.fromarray(rgb).convert(mode), "PNG")


def _moving(rgb: np.ndarray, rng: random.Random) -> bytes:
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    return _saved(frames[0], rng.choice(("GIF", "TIFF", "WEBP")), save_all=True, append_images=frames[1:])


def _tiny(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _encoded(rgb[: rng.randrange(1, 4), : rng.randrange(1, 200)].copy(), rng)


def _flat(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _encoded(np.full_like(rgb, rng.randrange(256)), rng)


def _page(rgb: np.ndarray, rng: random.Random) -> bytes:
    return rng.choice((b"<html><body>404</body></html>", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04" + bytes(60)))


def _good(rgb: np.ndarray, rng: random.Random) -> bytes:
    return _encoded(rgb, rng)


MUTATIONS: dict[str, Mutation] = {
    "truncated": _truncated, "bits flipped": _bits_flipped, "header altered": _header_flipped, "zero bytes": _zero_bytes,
    "noise behind a signature": _noise, "two files spliced": _spliced, "bytes appended": _appended, "PNG bomb": _png_bomb,
    "PNG with a text bomb": _text_bomb, "JPEG bomb": _jpeg_bomb, "CMYK": _cmyk, "16 bits": _deep, "odd EXIF orientation": _rotated,
    "palette, bilevel, grey, alpha": _few_colours, "several frames": _moving, "tiny": _tiny, "one colour": _flat,
    "no picture at all": _page, "good": _good,
}  # fmt: skip

_ODD = (
    "{n}", "лезия {n}", "a b  {n} ", "-{n}", ".hidden{n}", "{n}'\"`$(x)", "<b>{n}", "{n}|=cmd", "x" * 180 + "{n}", "{n}\n", "..{n}",
    "é{n}", "{n}#b", "%2e%2e{n}",
)  # fmt: skip
_SUFFIXES = (".jpg", ".jpg", ".JPG", ".jpeg", ".png", ".tif", ".tiff", ".gif", ".webp", ".jpg.jpg", "")


def write_hostile_files(folder: Path, good: list[np.ndarray], seed: int, count: int) -> dict[str, str]:
    """Write ``count`` mutated files and return the mutation of each by its name."""
    rng = random.Random(seed)
    kinds = list(MUTATIONS)
    folder.mkdir(parents=True)
    written = {}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        odd = rng.choice(_ODD) if rng.random() < 0.2 else "ISIC_{n}"
        name = odd.format(n=f"{number:07d}") + rng.choice(_SUFFIXES)
        (folder / name).write_bytes(MUTATIONS[kind](rng.choice(good), rng))
        written[name] = kind
    return written
