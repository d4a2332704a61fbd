import pytest

from cefm_core.errors import BadItemError, CefmError, ConfigurationError
from storage.isic_archive import IsicArchive
from tests.storage.isic_server import FakeArchive, served

IDS = [f"ISIC_{k:07d}" for k in range(5)]


@pytest.fixture
def archive():
    with served(FakeArchive({i: b"\xff\xd8" + i.encode() * 100 for i in IDS})) as running:
        yield running


def client(archive, **options):
    return IsicArchive(f"{archive.url}/api/v2", pause_s=0, first_wait_s=0.01, **options)


def test_every_page_is_followed_and_every_field_read(archive):
    found = list(client(archive).images('diagnosis_3:"Nevus"', [65, 212]))
    assert [image.isic_id for image in found] == IDS
    assert archive.asked["/api/v2/images/search/"] == 3
    first = found[0]
    assert (first.licence, first.attribution, first.size_bytes) == ("CC-0", "Anonymous, Hospital", len(archive.images[IDS[0]]))
    assert first.fields["image_type"] == "dermoscopic" and first.fields["age_approx"] == 55
    assert archive.agents == {next(iter(archive.agents))} and "cefm/" in next(iter(archive.agents))


@pytest.mark.parametrize("faults", [[503], [429, 500], ["cut"]])
def test_what_may_pass_is_asked_for_again(archive, faults):
    image = next(client(archive).images())
    archive.faults[f"/files/{IDS[0]}.jpg"] = list(faults)
    assert client(archive).read(image) == archive.images[IDS[0]]
    assert archive.asked[f"/files/{IDS[0]}.jpg"] == len(faults) + 1


def test_fewer_bytes_than_stated_are_a_reject(archive):
    image = next(client(archive).images())
    archive.faults[f"/files/{IDS[0]}.jpg"] = ["short"]
    with pytest.raises(BadItemError, match="truncated"):
        client(archive).read(image)


def test_what_is_not_there_is_asked_for_once_and_the_signature_is_not_told(archive):
    image = next(client(archive).images())
    archive.faults[f"/files/{IDS[0]}.jpg"] = [404]
    with pytest.raises(BadItemError, match="unreadable") as caught:
        client(archive).read(image)
    assert archive.asked[f"/files/{IDS[0]}.jpg"] == 1
    assert "s3cret" not in str(caught.value)


def test_a_wrong_query_and_a_dead_server_are_told_apart(archive):
    with pytest.raises(ConfigurationError, match="not understood"):
        list(client(archive).images("nonsense:"))
    with pytest.raises(CefmError, match="ConnectError"):
        list(IsicArchive("http://127.0.0.1:9/api/v2", pause_s=0, first_wait_s=0.001).images())


def test_something_else_is_no_page(archive):
    archive.page = lambda query: (200, ["not", "a", "page"])
    with pytest.raises(CefmError, match="no page of images"):
        list(client(archive).images())
    archive.page = lambda query: (200, {"results": [{"isic_id": "x"}], "next": None})
    with pytest.raises(CefmError, match="documented shape"):
        list(client(archive).images())


def test_a_next_page_elsewhere_is_not_followed(archive):
    archive.page = lambda query: (200, {"results": [], "next": "http://127.0.0.1:9/api/v2/images/"})
    with pytest.raises(CefmError, match="another server"):
        list(client(archive).images())
