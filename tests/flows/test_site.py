"""The report site in a real browser: it loads whole, from its own store alone, and shows what it promises."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import unquote, urljoin, urlparse

import numpy as np
import pytest

from flows.commands.operate import site
from storage.backends import local_path
from storage.parquet import read_rows
from storage.store import Store
from tests.flows.browser import Browser, chromium

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if chromium() is None:
        pytest.skip("no chromium here: the report site is not looked at")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def served(finished):
    """Address of the finished store, its folder, its run page and the report rows."""
    context, summary = finished
    folder = local_path(context.store)
    with site(folder, 0) as url:
        yield url, folder, f"runs/{summary.run_id}/index.html", read_rows(Store.open(context.store), summary.outputs["reports"])


def settled(browser, url, base):
    """Open a page; nothing may fail, be logged as an error, or come from elsewhere."""
    browser.open(url)
    assert browser.errors == []
    assert [request for request in browser.requests if not request.startswith((base, "data:"))] == []


def search(browser, words):
    box = "document.getElementById('find')"
    browser.evaluate(f"{box}.value = {json.dumps(words)}; {box}.dispatchEvent(new Event('input'))")


def test_front_page_leads_to_the_run_page(browser, served):
    base, folder, run_page, _ = served
    assert run_page in (folder / "index.html").read_text()
    settled(browser, base + run_page, base)
    assert "CEFM" in browser.evaluate("document.title")


def test_run_page_and_image_page_open_from_the_disk(browser, served):
    _, folder, run_page, reports = served
    for key in (run_page, reports[0]["page_key"]):
        settled(browser, (folder / key).as_uri(), folder.as_uri())


def test_gallery_finds_an_image_and_shows_its_thumbnail(browser, served):
    base, _, run_page, reports = served
    settled(browser, base + run_page, base)
    assert browser.evaluate("document.getElementById('count').textContent") == f"{len(reports)} images"
    wanted = reports[7]
    browser.evaluate(
        f"(b => {{ b.value = '{wanted['image_id']}'; b.dispatchEvent(new Event('input')); }})(document.getElementById('find'))"
    )
    assert browser.evaluate("document.getElementById('count').textContent") == "1 image"
    link = browser.evaluate("document.querySelector('#gallery a, a#gallery > *').href")
    assert link == base + wanted["page_key"]
    browser.evaluate("document.querySelector('#gallery img').scrollIntoView()")  # thumbnails are loaded when they come into sight
    loaded = "new Promise(d => { const i = document.querySelector('#gallery img'); i.decode().then(() => d(i.naturalWidth), () => d(0)); })"
    assert browser.evaluate(loaded) > 0
    search(browser, "no such image")
    assert browser.evaluate("document.getElementById('count').textContent") == "0 images"


def test_image_page_shows_the_picture_and_both_contours(browser, served):
    base, _, _, reports = served
    settled(browser, base + reports[0]["page_key"], base)
    image = "(r => [r.width, r.height])(document.querySelector('svg image').getBoundingClientRect())"
    assert min(browser.evaluate(image)) > 100
    shown = browser.picture()
    for layer in ("coarse", "refined"):
        assert browser.evaluate(f"document.querySelectorAll('[data-layer={layer}] path.contour.{layer}').length") == 1
        click = f"document.querySelector('[data-toggle={layer}]').click()"
        browser.evaluate(click)
        hidden = browser.picture()
        assert int((np.abs(shown.astype(int) - hidden.astype(int)).max(axis=2) > 30).sum()) > 100, layer
        browser.evaluate(click)


def test_image_page_says_what_the_report_says(browser, served):
    base, _, _, reports = served
    settled(browser, base + reports[3]["page_key"], base)
    text = " ".join(browser.evaluate("document.body.innerText").split())
    claims = [claim["text"] for claim in json.loads(reports[3]["claims_json"])["claims"]]
    assert len(claims) > 5
    assert [claim for claim in claims if " ".join(claim.split()) not in text] == []
    assert reports[3]["image_id"] in text
    assert "not a medical device" in text


def test_every_link_of_every_page_resolves(served):
    base, folder, run_page, reports = served
    pages = ["index.html", run_page, *(row["page_key"] for row in reports)]
    checked = 0
    for key in pages:
        for target in re.findall(r'(?:href|src)="([^"#]+)"', (folder / key).read_text()):
            address = urljoin(base + key, html.unescape(target))
            assert address.startswith(base), f"{key}: {target}"
            assert (folder / unquote(urlparse(address).path).lstrip("/")).is_file(), f"{key}: {target}"
            checked += 1
    assert checked > 2 * len(reports)
    for row in reports:
        assert (folder / row["thumb_key"]).is_file()
