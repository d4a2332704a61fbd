"""Correcting on the page, in a real browser: what is chosen there is the file that the command reads."""

from dataclasses import replace

import pytest

from cefm_core.reports.contexts import ImagePageContext
from cefm_core.reports.corrections import Correction, apply_corrections, read_corrections, seen_of
from cefm_core.reports.pages import image_page
from cefm_core.reports.template_writer import write_report
from tests.flows.browser import Browser, chromium

_PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
_DOWNLOAD = """new Promise(done => {
  URL.createObjectURL = blob => { blob.text().then(done); return "about:blank#"; };
  HTMLAnchorElement.prototype.click = function () { document.body.dataset.file = this.download; };
  document.getElementById("download").click();
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium() is None:
        pytest.skip("no chromium here: correcting on the page is not tried")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def site(tmp_path, facts):
    """Two pages of a store, as addresses; the second image has corrections already."""

    def page(name, image_id, corrections):
        ledger = apply_corrections(replace(facts, image_id=image_id), corrections)
        context = ImagePageContext(ledger, write_report(ledger.facts), _PICTURE, 400, 300, "M1 1L9 1L9 9Z", "M2 2L8 2L8 8Z")
        file = tmp_path / "objects" / "page" / "aa" / f"{name}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(image_page(context), encoding="utf-8")
        return file.as_uri()

    return page("one", "A", []), page("two", "B", [Correction("B", "abc.border_score", "wrong", reviewer="R1")])


def click(browser, fact):
    browser.evaluate(f"document.querySelector('[data-facts~=\"{fact}\"] .fix').click()")


def choose(browser, fact, value):
    click(browser, fact)
    change = (
        f"(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('change')); }})(document.querySelector('[data-corrects=\"{fact}\"]'))"
    )
    browser.evaluate(change)


def test_what_is_chosen_on_two_pages_is_one_file_that_the_command_reads(browser, site, facts):
    first, second = site
    browser.open(first)
    assert browser.evaluate("document.getElementById('waiting').hidden") is True
    choose(browser, "abc.asymmetry_score", "level 2")
    click(browser, "colour.names")
    browser.evaluate("document.querySelector('.fixer .fixend button').click()")
    assert browser.evaluate("document.querySelectorAll('li.doubted').length") >= 2
    browser.open(second)
    choose(browser, "abc.border_score", "withdrawn")
    file = browser.evaluate(_DOWNLOAD)
    assert browser.errors == [] and browser.evaluate("document.body.dataset.file").endswith(".json")
    made = {(each.image_id, each.fact): each for each in read_corrections(file, "R1")}
    assert made["A", "abc.asymmetry_score"] == Correction(
        "A", "abc.asymmetry_score", "level", 2, seen_of(facts["abc.asymmetry_score"]), "R1"
    )
    assert made["A", "colour.names"].kind == made["A", "colour.light_brown"].kind == "wrong"
    assert made["B", "abc.border_score"].kind == "withdrawn"
    assert len(made) == 2 + len(facts["colour.names"].value) + 1
    browser.evaluate("document.getElementById('discard').click()")
    browser.open(first)
    assert browser.evaluate("document.getElementById('waiting').hidden") is True


def test_a_page_shows_both_values_of_what_was_corrected_and_whose_it_is(browser, site):
    browser.open(site[1])
    said = browser.evaluate("document.querySelector('[data-facts=\"abc.border_score\"]').innerText")
    assert "4.3 segments, level 3 (moderately irregular) → left out: a clinician marked it as wrong (R1)" in said
    assert "clinician" in said
    claim = "document.querySelector('[data-facts=\"abc.asymmetry_score\"]')"
    browser.evaluate(f"{claim}.dispatchEvent(new Event('mouseenter'))")
    assert browser.evaluate("document.querySelectorAll('path.contour.lit').length") == 1
    assert browser.evaluate(f"{claim}.title") == "asymmetry score: 1.6"
