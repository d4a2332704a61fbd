"""A whole run speaks to nobody, and no personal data of its input reaches any output."""

from __future__ import annotations

import csv
import ipaddress
import logging
import sys

import pytest
from PIL import Image

from flows.full_run import full_run
from storage.backends import local_path
from storage.store import Store
from tasks.context import RunContext

pytestmark = pytest.mark.flow

OWNER, CAMERA, PLACE, PATIENT, NAME = "Erika Mustermann", "SN-20071969-CAM", "Praxis am Waldrand", "PAT-4711-XYZ", "Mustermann, Max"
SETTINGS = {
    "refine": {"refiner": "none"},
    "alignment": {"seeds": [1], "epochs": 2, "classifier_epochs": 2},
    "evaluation": {"bootstrap_samples": 100},
}
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    """Note every address that is connected to or looked up while ``_seen`` is a list."""
    if _seen is None:
        return
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _seen.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        _seen.append(host.decode() if isinstance(host, bytes) else str(host))


sys.addaudithook(_watch)


def personal_image(path):
    """Write EXIF with an owner, a serial number and a position into a JPEG."""
    exif = Image.Exif()
    exif[0x013B] = exif[0x8298] = OWNER
    exif[0x010E] = PLACE
    exif.get_ifd(0x8769)[0xA431] = CAMERA
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif, quality=92, comment=PLACE)


@pytest.fixture(scope="module")
def ran(prefect, tmp_path_factory):
    """A run on personal data: its summary, its store, the addresses it spoke to and what it logged."""
    global _seen
    from cefm_core.phantoms.dataset import write_phantom_dataset

    folder, store = tmp_path_factory.mktemp("personal"), tmp_path_factory.mktemp("store")
    write_phantom_dataset(folder, 16, 7)
    for path in sorted((folder / "images").iterdir())[:3]:
        personal_image(path)
    table = folder / "metadata.csv"
    rows = list(csv.DictReader(table.open()))
    for number, row in enumerate(rows):
        row |= {"patient_id": f"{PATIENT}{number // 2}", "patient_name": NAME, "birth_date": "1969-07-20"}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    _seen = []
    try:
        summary = full_run(RunContext(store=str(store), source=str(folder), metadata=str(table), config=SETTINGS))
    finally:
        seen, _seen = _seen, None
        logging.getLogger().removeHandler(handler)
    return summary, Store.open(str(store)), seen, lines, folder


def test_the_input_is_personal(ran):
    *_, folder = ran
    data = sorted((folder / "images").iterdir())[0].read_bytes()
    assert OWNER.encode() in data and CAMERA.encode() in data and PLACE.encode() in data


def test_no_connection_leaves_the_machine(ran):
    _, _, seen, _, _ = ran

    def outside(host):
        if host in ("localhost", "None", ""):
            return False
        try:
            return not ipaddress.ip_address(host.split("%")[0]).is_loopback
        except ValueError:
            return True

    assert seen, "the guard saw nothing, not even the run's own server"
    assert sorted({host for host in seen if outside(host)}) == []


def test_no_personal_data_reaches_the_store_or_the_log(ran):
    summary, store, _, lines, _ = ran
    import io

    import pyarrow.parquet as pq

    words = [word.encode() for word in (OWNER, CAMERA, PLACE, PATIENT, NAME, "1969-07-20")]
    files = [path for path in local_path(store.uri).rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
        assert [word for word in words if word in data] == [], path
        assert not data.startswith(b"\xff\xd8") or b"Exif\0" not in data, path
    assert lines
    text = "\n".join([*lines, summary.model_dump_json()]).encode()
    assert [word for word in words if word in text] == []


def test_the_servers_log_holds_none_either(ran):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        logged = [log.message for log in client.read_logs(limit=200)]
    assert not any(word in line for line in logged for word in (OWNER, CAMERA, PLACE, PATIENT, NAME))


def test_images_of_one_patient_share_a_split(ran):
    from storage.parquet import read_rows

    summary, store, *_ = ran
    splits: dict[str, set[str]] = {}
    for row in read_rows(store, summary.outputs["manifest"]):
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert len(splits) <= 8
    assert [group for group, found in splits.items() if len(found) > 1] == []
