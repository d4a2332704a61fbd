"""The kinds of changes: what each does to a copy of a finished workspace, and what has to follow."""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.reliability.workspace import Workspace

Change = Callable[[Workspace, random.Random], Workspace]


@dataclass(frozen=True)
class Kind:
    """One kind of change.

    Attributes:
        name: What is changed, in words.
        change: Makes the change in a copied workspace and returns the place to run.
        damages_store: Whether the store is damaged; else something that decides the outputs is changed.
        stays_damaged: Whether the damaged object stays as it is, since another takes its place.
        stage: A stage that has to run after such a change.
        spared: Stages that must not run after it.
    """

    name: str
    change: Change
    damages_store: bool = False
    stays_damaged: bool = False
    stage: str = ""
    spared: tuple[str, ...] = ()


def _deleted(path: Path, _: random.Random) -> None:
    path.unlink()


def _truncated(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(1, len(data))])


def _emptied(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def _flipped(path: Path, rng: random.Random) -> None:
    """Flip one bit somewhere."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def _flipped_quietly(path: Path, rng: random.Random) -> None:
    """Flip one bit; size and time of modification stay."""
    facts = path.stat()
    _flipped(path, rng)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _still_json(path: Path, rng: random.Random) -> None:
    """Change one hexadecimal digit of a record, so that it can still be read; size and time stay."""
    facts, text = path.stat(), path.read_text()
    places = [n for n, sign in enumerate(text) if sign in "0123456789" and text[n - 1] in "0123456789abcdef"]
    place = rng.choice(places)
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _swapped(path: Path, rng: random.Random) -> None:
    """Put the bytes of another object in its place."""
    others = [other for other in path.parents[2].rglob("*" + path.suffix) if other.read_bytes() != path.read_bytes()]
    shutil.copyfile(rng.choice(sorted(others)), path)


def _in_store(pattern: str, damage: Callable[[Path, random.Random], None]) -> Change:
    def change(place: Workspace, rng: random.Random) -> Workspace:
        damage(rng.choice(sorted(path for path in place.store.glob(pattern) if path.is_file())), rng)
        return place

    return change


def _damage(name: str, pattern: str, damage: Callable[[Path, random.Random], None]) -> Kind:
    return Kind(name, _in_store(pattern, damage), damages_store=True)


def _without_folder(place: Workspace, _: random.Random) -> Workspace:
    shutil.rmtree(place.store / "rows" / "measure_abc")
    return place


def _image(place: Workspace, rng: random.Random) -> Path:
    return rng.choice(sorted((place.source / "images").iterdir()))


def _other_picture(place: Workspace, rng: random.Random) -> Workspace:
    """Draw one picture anew; size in bytes and time of modification stay, as with a careless synchronisation."""
    import cv2

    path = _image(place, rng)
    facts = path.stat()
    blurred = cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 1.5)
    data = cv2.imencode(".jpg", blurred, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    if len(data) > facts.st_size:
        raise AssertionError("the blurred picture is longer than the sharp one")
    # A comment segment after the start marker makes up the length; a longer gap needs several.
    data = data[:2] + _comments(facts.st_size - len(data)) + data[2:]
    path.write_bytes(data + b"\0" * (facts.st_size - len(data)))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return place


def _comments(length: int) -> bytes:
    parts = []
    while length >= 4:
        body = min(length - 4, 60000)
        parts.append(b"\xff\xfe" + (body + 2).to_bytes(2, "big") + b"x" * body)
        length -= body + 4
    return b"".join(parts)


def _image_added(place: Workspace, rng: random.Random) -> Workspace:
    import cv2

    picture = cv2.flip(cv2.imread(str(_image(place, rng))), 1)
    cv2.imwrite(str(place.source / "images" / "PHANTOM_0000000.jpg"), picture)
    return place


def _image_removed(place: Workspace, rng: random.Random) -> Workspace:
    _image(place, rng).unlink()
    return place


def _image_renamed(place: Workspace, rng: random.Random) -> Workspace:
    path = _image(place, rng)
    path.rename(path.with_name("PHANTOM_0009999.jpg"))
    return place


def _image_truncated(place: Workspace, rng: random.Random) -> Workspace:
    path = _image(place, rng)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return place


def _mask_changed(place: Workspace, rng: random.Random) -> Workspace:
    import cv2

    path = rng.choice(sorted((place.source / "masks").iterdir()))
    facts = path.stat()
    cv2.imwrite(str(path), cv2.erode(cv2.imread(str(path), 0), None, iterations=5))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return place


Cells = list[dict[str, str]]


def _metadata(edit: Callable[[Cells, random.Random], Cells]) -> Change:
    """Rewrite the metadata table; the time of modification stays."""

    def change(place: Workspace, rng: random.Random) -> Workspace:
        path = place.source / "metadata.csv"
        facts = path.stat()
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows = edit(rows, rng)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        return place

    return change


def _other_label(rows: Cells, rng: random.Random) -> Cells:
    """Call one nevus a melanoma, and every image of its lesion with it."""
    lesion = rng.choice([row["lesion_id"] for row in rows if row["diagnosis"] == "nevus"])
    return [row | ({"diagnosis": "melanoma"} if row["lesion_id"] == lesion else {}) for row in rows]


def _other_age(rows: Cells, rng: random.Random) -> Cells:
    lesion = rng.choice([row["lesion_id"] for row in rows])
    return [row | ({"age_approx": "85"} if row["lesion_id"] == lesion else {}) for row in rows]


def _row_dropped(rows: Cells, rng: random.Random) -> Cells:
    gone = rng.randrange(len(rows))
    return rows[:gone] + rows[gone + 1 :]


def _setting(**changed: str) -> Change:
    return lambda place, rng: place.with_settings(**changed)


def _weights_file(place: Workspace, rng: random.Random) -> Workspace:
    """Change the weight file that the package carries, size and time of modification kept."""
    return _weight_bit(place, "ultralight_vmunet.safetensors")


def _encoder_file(place: Workspace, rng: random.Random) -> Workspace:
    """Change the encoder that the package carries; the probes refuse one that they were not learned on, and are left out."""
    return _weight_bit(place, "vit_small_d4_distilled.safetensors").with_settings(descriptors__scorer="none")


def _weight_bit(place: Workspace, name: str) -> Workspace:
    place = place.with_own_code()
    path = place.code / "cefm_core" / "weights" / name
    facts, data = path.stat(), bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return place


def _code(module: str, added: str = "\n\ndef _added() -> int:\n    return 1\n") -> Change:
    """Edit one file of the code; the time of modification stays."""

    def change(place: Workspace, rng: random.Random) -> Workspace:
        place = place.with_own_code()
        path = place.code / module
        facts = path.stat()
        path.write_text(path.read_text() + added)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        return place

    return change


def _newer_library(place: Workspace, rng: random.Random) -> Workspace:
    """Let scipy say that it is of another version."""
    facts = place.folder / "libraries" / "scipy-99.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 99.0\n")
    (facts / "top_level.txt").write_text("scipy\n")
    return replace(place, environment={"PYTHONPATH": f"{place.code}{os.pathsep}{facts.parent}"})


_MASKS, _PAGES = "objects/mask/*/*.png", "objects/page/*/*.html"
_EARLY = ("assess_images", "segment_coarse", "rank_descriptors", "embed_images")

KINDS = [
    _damage("mask deleted", _MASKS, _deleted),
    _damage("mask truncated", _MASKS, _truncated),
    _damage("mask emptied", _MASKS, _emptied),
    _damage("mask, one bit flipped", _MASKS, _flipped),
    _damage("mask, one bit flipped, size and time kept", _MASKS, _flipped_quietly),
    _damage("mask with another image's bytes", _MASKS, _swapped),
    _damage("report page deleted", _PAGES, _deleted),
    _damage("report page, one bit flipped, size and time kept", _PAGES, _flipped_quietly),
    _damage("report's picture deleted", "objects/picture/*/*.jpg", _deleted),
    _damage("report's thumbnail truncated", "objects/thumb/*/*.jpg", _truncated),
    _damage("part of a stage deleted", "rows/*/*/*.parquet", _deleted),
    _damage("part of a stage, one bit flipped, size and time kept", "rows/*/*/*.parquet", _flipped_quietly),
    _damage("part of a stage with another part's bytes", "rows/*/*/*.parquet", _swapped),
    _damage("record of a part deleted", "rows/*/*/*.json", _deleted),
    _damage("record of a part truncated", "rows/*/*/*.json", _truncated),
    _damage("record of a part, one digit changed, size and time kept", "rows/*/*/*.json", _still_json),
    _damage("record of a gathered table truncated", "gathered/*/*.json", _truncated),
    _damage("record of a gathered table, one digit changed, size and time kept", "gathered/*/*.json", _still_json),
    Kind("all parts of a stage deleted", _without_folder, damages_store=True),
    _damage("table deleted", "tables/abc_features/*.parquet", _deleted),
    _damage("table, one bit flipped, size and time kept", "tables/*/*.parquet", _flipped_quietly),
    _damage("checkpoint, one bit flipped, size and time kept", "objects/checkpoint/*/*", _flipped_quietly),
    _damage("figure deleted", "objects/figure/*/*.png", _deleted),
    _damage("model card truncated", "objects/model_card/*/*.md", _truncated),
    _damage("record of training truncated", "cache/train_alignment/*.json", _truncated),
    _damage("record of evaluation, one digit changed, size and time kept", "cache/evaluate_alignment/*.json", _still_json),
    _damage("record of the manifest, one digit changed, size and time kept", "cache/assemble_manifest/*.json", _still_json),
    _damage("what a fingerprint stands for, emptied", "fingerprints/*/*.json", _emptied),
    Kind("record of the published version truncated", _in_store("published/*.json", _truncated), damages_store=True, stays_damaged=True),
    Kind("image drawn anew, size and time kept", _other_picture, stage="segment_coarse"),
    Kind("image added", _image_added, stage="build_manifest"),
    Kind("image removed", _image_removed, stage="train_alignment", spared=_EARLY),
    Kind("image renamed", _image_renamed, stage="build_manifest"),
    Kind("image truncated", _image_truncated, stage="build_manifest", spared=_EARLY),
    Kind("reference mask edited, time kept", _mask_changed, stage="segment_coarse", spared=("assess_images", "embed_images")),
    Kind("label edited in the metadata, time kept", _metadata(_other_label), stage="train_alignment", spared=_EARLY),
    Kind("age edited in the metadata, time kept", _metadata(_other_age), stage="build_manifest", spared=_EARLY),
    Kind("row dropped from the metadata", _metadata(_row_dropped), stage="build_manifest"),
    Kind("threshold of the masks", _setting(coarse__threshold="0.4"), stage="segment_coarse", spared=("assess_images", "build_manifest")),
    Kind("working scale of the measurements", _setting(abc__working_side_px="448"), stage="measure_abc", spared=_EARLY),
    Kind("epochs of the training", _setting(alignment__epochs="3"), stage="train_alignment", spared=(*_EARLY, "measure_abc")),
    Kind("seed of the bootstrap", _setting(evaluation__bootstrap_seed="4"), stage="evaluate_alignment", spared=("train_alignment",)),
    Kind("language of the reports", _setting(reports__language="de"), stage="write_reports", spared=("evaluate_alignment",)),
    Kind("share held out", _setting(manifest__val_share="0.4"), stage="train_alignment", spared=_EARLY),
    Kind("weights of the coarse network, size and time kept", _weights_file, stage="segment_coarse", spared=("assess_images",)),
    Kind("weights of the encoder, size and time kept", _encoder_file, stage="embed_images", spared=("segment_coarse", "measure_abc")),
    Kind("helper of the measurements edited, time kept", _code("cefm_core/abc_features/tds.py"), stage="measure_abc", spared=_EARLY),
    Kind("decoder of the images edited", _code("cefm_core/imaging/decode.py"), stage="segment_coarse"),
    Kind("module of a task edited", _code("tasks/assess_images.py"), stage="assess_images", spared=("segment_coarse",)),
    Kind("helper of several tasks edited", _code("tasks/images.py"), stage="segment_coarse"),
    Kind(
        "declaration of a table edited",
        _code("cefm_core/tables/image_quality.py"),
        stage="assess_images",
        spared=("segment_coarse", "measure_abc"),
    ),
    Kind("data file beside a module edited", _code("cefm_core/abc_features/level_cuts.csv", "\n"), stage="measure_abc", spared=_EARLY),
    Kind("template of the pages edited", _code("cefm_core/reports/templates/style.css", "\nb{}\n"), stage="write_reports", spared=_EARLY),
    Kind("library in another version", _newer_library, stage="train_alignment", spared=(*_EARLY, "measure_abc")),
]  # fmt: skip


def _environment(**variables: str) -> Change:
    return lambda place, rng: replace(place, environment=variables)


def _moved(what: str) -> Change:
    def change(place: Workspace, rng: random.Random) -> Workspace:
        target = place.folder / "elsewhere ü" / what
        target.parent.mkdir()
        if what == "store":
            shutil.move(place.store, target)
            return replace(place, store_uri=str(target))
        shutil.move(place.folder, place.folder.with_name("moved"))
        shutil.move(place.folder.with_name("moved"), place.folder.with_name(place.folder.name + " moved"))
        return replace(place, folder=place.folder.with_name(place.folder.name + " moved"))

    return change


def _touched(place: Workspace, rng: random.Random) -> Workspace:
    for path in [*place.source.rglob("*"), *place.store.rglob("*")]:
        os.utime(path, (rng.randrange(10**9), rng.randrange(10**9)))
    return place


def _other_order(place: Workspace, rng: random.Random) -> Workspace:
    """Make the files of the source anew in another order, which is the order a folder lists them in."""
    images = place.source / "images"
    files = sorted(images.iterdir())
    aside = images.with_name("aside")
    images.rename(aside)
    images.mkdir()
    for path in rng.sample(files, len(files)):
        shutil.move(aside / path.name, path)
    aside.rmdir()
    return place


def _shuffled(rows: Cells, rng: random.Random) -> Cells:
    return rng.sample(rows, len(rows))


def _columns_shuffled(rows: Cells, rng: random.Random) -> Cells:
    order = rng.sample(list(rows[0]), len(rows[0]))
    return [{name: row[name] for name in order} for row in rows]


def _unrelated_file(place: Workspace, rng: random.Random) -> Workspace:
    (place.source / "notes.txt").write_text("to do: ask for more images")
    return place


def _commented(place: Workspace, rng: random.Random) -> Workspace:
    place = _code("cefm_core/abc_features/colour.py", "\n# A remark.\n")(place, rng)
    path = place.code / "cefm_core" / "imaging" / "decode.py"
    path.write_text('"""Another docstring."""\n' + path.read_text().split('"""', 2)[2])
    return place


def _own_code(place: Workspace, rng: random.Random) -> Workspace:
    return place.with_own_code()


HARMLESS = [
    Kind("number of workers", _setting(runtime__workers="1")),
    Kind("batch size", _setting(runtime__batch_size="3")),
    Kind("shard size", _setting(runtime__shard_size="5")),
    Kind("device named instead of found", _setting(runtime__device="cpu")),
    Kind("threads of the libraries", _environment(OMP_NUM_THREADS="2")),
    Kind("hash seed, time zone and language", _environment(PYTHONHASHSEED="7", TZ="Asia/Tokyo", LANG="de_DE.UTF-8")),
    Kind("store moved", _moved("store")),
    Kind("source moved", _moved("source")),
    Kind("code moved", _own_code),
    Kind("times of modification", _touched),
    Kind("order of the files", _other_order),
    Kind("order of the metadata's rows", _metadata(_shuffled)),
    Kind("order of the metadata's columns", _metadata(_columns_shuffled)),
    Kind("a file that is no image", _unrelated_file),
    Kind("comments and docstrings", _commented),
    Kind("timeout of the language model, with the template writer", _setting(runtime__llm_timeout_s="5", reports__max_tokens="500")),
]
