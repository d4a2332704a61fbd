"""Which objects of a source are images, which are masks, and what each image is called.

Only names are looked at here; a text file called ``.jpg`` is found when it is decoded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cefm_core.errors import BadItemError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".dicom")
# The object key holds the id plus a suffix, and file systems end a name at 255 bytes.
MAX_ID_BYTES = 200

_MASK_SUFFIX = re.compile(r"[_-](segmentation|mask|lesion|seg|groundtruth|gt)$", re.IGNORECASE)
_SUPERPIXELS = re.compile(r"_superpixels$", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"_attribute_[a-z_]+$", re.IGNORECASE)
_DOWNSAMPLED = re.compile(r"_downsampled$", re.IGNORECASE)
_MASK_FOLDER = re.compile(r"^(masks?|labels?|segmentations?|.*ground[_ -]?truth|.*_lesion)$", re.IGNORECASE)
_ROI_FOLDER = re.compile(r".*_roi$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceName:
    """One image of a source: its id, and its name there exactly as it is stored."""

    image_id: str
    name: str


class NameReject(NamedTuple):
    """One image that cannot be taken because of its name (``bad_id``, ``duplicate_id``, ``unicode_collision``)."""

    item: str
    code: str
    message: str


@dataclass(frozen=True)
class Classified:
    """What the names of a source say; every name stands in exactly one of the four lists.

    Attributes:
        images: Images, in the order of their ids.
        masks: Image id to the name of its reference mask.
        ignored: ``(name, reason)`` of every other object.
        rejects: Images that cannot be taken, with code and message.
    """

    images: list[SourceName] = field(default_factory=list)
    masks: dict[str, str] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    rejects: list[NameReject] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of images with a mask (``paired``), without one (``image_only``), and of masks without an image (``mask_only``)."""
        orphans = sum(reason == "mask_without_image" for _, reason in self.ignored)
        return {"paired": len(self.masks), "image_only": len(self.images) - len(self.masks), "mask_only": orphans}


def classify_names(names: Iterable[str]) -> Classified:
    """Sort the object names of a source into images, masks and the rest.

    One image has one id, the file's name without folder and extension, in NFC, without a trailing ``_downsampled``. Where
    two files claim an id, the first by name stands and the other becomes a reject (``duplicate_id``, or ``unicode_collision``
    where only the spelling of the same characters differs). The order of ``names`` has no influence.

    Args:
        names: Names relative to the source folder or prefix, with ``/`` between folders.
    """
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    result = Classified()
    for name in sorted(set(names), key=lambda text: (unicodedata.normalize("NFC", text), text)):
        kind = _kind(name)
        if kind not in ("image", "mask"):
            result.ignored.append((name, kind))
            continue
        try:
            image_id = image_id_of(name, is_mask=kind == "mask")
        except BadItemError as error:
            result.rejects.append(NameReject(printable(name), error.code, error.message))
            continue
        if kind == "mask":
            _add_mask(masks, image_id, name, result)
        elif image_id in images:
            result.rejects.append(_clash(image_id, images[image_id], name))
        else:
            images[image_id] = name
    result.images.extend(SourceName(image_id, images[image_id]) for image_id in sorted(images))
    for image_id, name in sorted(masks.items()):
        if image_id in images:
            result.masks[image_id] = name
        else:
            result.ignored.append((name, "mask_without_image"))
    return result


def image_id_of(text: str, *, is_mask: bool = False) -> str:
    """Turn a file name or a metadata cell into the id that both share.

    Args:
        text: ``ISIC_0000000``, ``images/ISIC_0000000.JPG``, ``ISIC_0000000_downsampled`` and the like.
        is_mask: Whether a trailing ``_segmentation`` or ``_mask`` is to be cut off too.

    Raises:
        BadItemError: ``bad_id``: absolute, with ``..`` or a backslash, with control characters, empty or too long.
    """
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Zl", "Zp") for c in text):
        raise BadItemError("bad_id", f"{printable(text)} has control characters in its name; rename the file")
    text = text.strip()
    parts = text.split("/")
    if text.startswith("/") or "\\" in text or ".." in parts or re.match(r"^[A-Za-z]:", text):
        raise BadItemError("bad_id", f"{printable(text)} points outside the source; an id is a plain name without `..`, `\\` or a root")
    stem = _stem(parts[-1])
    if is_mask:
        stem = _MASK_SUFFIX.sub("", stem)
    stem = _DOWNSAMPLED.sub("", stem).strip()
    if not stem or stem.startswith("."):
        raise BadItemError("bad_id", f"{printable(text)} leaves no id once folder and extension are cut off")
    if len(stem.encode()) > MAX_ID_BYTES:
        raise BadItemError("bad_id", f"{printable(stem)[:60]}... is longer than {MAX_ID_BYTES} bytes; shorten the file name")
    return stem


def printable(text: str) -> str:
    """Return ``text`` with control characters and lone surrogates written as escapes, so that it can stand in a table."""
    return "".join(
        c if unicodedata.category(c) not in ("Cc", "Cs", "Co", "Zl", "Zp") else c.encode("unicode_escape").decode() for c in text
    )


def _kind(name: str) -> str:
    """Return ``image``, ``mask``, or the reason why the object is ignored."""
    *folders, base = name.split("/")
    if base.startswith(".") or "__MACOSX" in folders or base.lower() in ("thumbs.db", "desktop.ini"):
        return "system_file"
    if not base.lower().endswith(IMAGE_EXTENSIONS):
        return "not_image"
    stem = _stem(base)
    if _SUPERPIXELS.search(stem):
        return "superpixel"
    if _ATTRIBUTE.search(stem):
        return "attribute_mask"
    if any(_ROI_FOLDER.match(folder) for folder in folders):
        return "region_of_interest"
    if _MASK_SUFFIX.search(stem) or any(_MASK_FOLDER.match(folder) for folder in folders):
        return "mask"
    return "image"


def _stem(base: str) -> str:
    """Cut off an image extension, whatever its case; any other dot belongs to the name."""
    lower = base.lower()
    for extension in IMAGE_EXTENSIONS:
        if lower.endswith(extension):
            return base[: -len(extension)]
    return base


def _add_mask(masks: dict[str, str], image_id: str, name: str, result: Classified) -> None:
    if image_id in masks:
        result.ignored.append((name, "second_mask"))
    else:
        masks[image_id] = name


def _clash(image_id: str, kept: str, name: str) -> NameReject:
    same_text = unicodedata.normalize("NFC", kept) == unicodedata.normalize("NFC", name)
    code = "unicode_collision" if same_text else "duplicate_id"
    return NameReject(printable(name), code, f"{printable(kept)} already has the id {image_id}; rename one of the two files")
