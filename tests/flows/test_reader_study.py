"""The reader study from a finished store: sheets, answers given in a real browser, results."""

from __future__ import annotations

import json

import pytest

from cefm_core.errors import ConfigurationError
from flows.commands.reader_study import make, score
from tests.flows.browser import Browser, chromium

pytestmark = pytest.mark.flow
ARMS = ("published", "measurements", "published@1")

_ANSWER = """new Promise(done => {
  document.querySelectorAll(".item-study").forEach((item, n) => item.querySelectorAll("fieldset").forEach((field, m) =>
    field.querySelectorAll("input")[(n + m) % 5].click()));
  URL.createObjectURL = blob => { blob.text().then(done); return "about:blank#"; };
  HTMLAnchorElement.prototype.click = function () { document.body.dataset.file = this.download; };
  document.getElementById("download").click();
})"""


@pytest.fixture(scope="module")
def study(finished, tmp_path_factory):
    """Folder of the sheets and file of the key."""
    folder = tmp_path_factory.mktemp("study")
    make(finished[0].store, folder / "sheets", folder / "key.json", 10, 2, ARMS, 11)
    return folder / "sheets", folder / "key.json"


def test_a_sheet_and_a_table_for_each_rater_and_no_key_among_them(finished, study):
    sheets, key = study
    assert sorted(file.name for file in sheets.iterdir()) == ["answers-R1.csv", "answers-R2.csv", "sheet-R1.html", "sheet-R2.html"]
    items = json.loads(key.read_text())["items"]
    assert len(items) == 30 and {item["arm"] for item in items} == set(ARMS)
    page = (sheets / "sheet-R1.html").read_text()
    assert not [item["image_id"] for item in items if item["image_id"] in page]
    assert "comparison leaves" not in page
    for wrong, message in ((sheets / "key.json", "outside of"), (key, "already")):
        with pytest.raises(ConfigurationError, match=message):
            make(finished[0].store, sheets, wrong, 2, 1, ARMS, 1)
    with pytest.raises(ConfigurationError, match="--arm nothing"):
        make(finished[0].store, sheets, sheets.parent / "other.json", 2, 1, ("nothing",), 1)


def test_answers_of_a_browser_are_scored(study, tmp_path, capsys):
    if chromium() is None:
        pytest.skip("no chromium here: the sheet is not filled in")
    sheets, key = study
    browser, files = Browser(tmp_path / "profile"), []
    try:
        for rater in ("R1", "R2"):
            browser.open((sheets / f"sheet-{rater}.html").as_uri())
            files.append(tmp_path / f"{rater}.csv")
            files[-1].write_text(browser.evaluate(_ANSWER), encoding="utf-8")
            assert browser.errors == [] and browser.evaluate("document.getElementById('done').textContent") == "30 of 30 reports rated"
    finally:
        browser.close()
    score(key, files, tmp_path / "result.html", True)
    result = json.loads(capsys.readouterr().out)
    assert result["given"] == result["expected"] == 180 and result["images"] == 10
    assert all(1 < arm["means"]["usefulness"]["value"] < 5 for arm in result["arms"])
    assert "Reader study" in (tmp_path / "result.html").read_text(encoding="utf-8")


def test_files_without_a_rating_are_refused(study, tmp_path):
    sheets, key = study
    with pytest.raises(ConfigurationError, match="no file holds a rating"):
        score(key, [sheets / "answers-R1.csv"], tmp_path / "r.html", False)
    with pytest.raises(ConfigurationError, match="not a key"):
        (tmp_path / "k.json").write_text("{}")
        score(tmp_path / "k.json", [], tmp_path / "r.html", False)
