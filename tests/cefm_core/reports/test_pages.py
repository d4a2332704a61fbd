"""The two pages: what they show, that they are safe and alone, and that a real browser draws them."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cefm_core.reports.claims import Claim, Report
from cefm_core.reports.contexts import Figure, GalleryItem, GateResult, ImagePageContext, RejectRow, RunPageContext, StageSummary
from cefm_core.reports.corrections import Corrected
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.pages import image_page, run_page
from cefm_core.reports.run_view import duration
from cefm_core.reports.template_writer import write_report

EVIL = '"><script>alert(1)</script>'
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


class Outline(HTMLParser):
    """Collects tags with their attributes, text, and whether every element is closed."""

    VOID = {"meta", "input", "img", "br", "link"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def image_context(facts):
    return ImagePageContext(
        ledger=Corrected(facts, facts),
        report=write_report(facts),
        image_href="../../picture/a.jpg",
        width_px=400,
        height_px=300,
        coarse_path="M10 10L300 10L300 200Z",
        refined_path="M12 12L298 12L298 198Z",
        positive_points=(50.0, 60.0, 70.0, 80.0),
        negative_points=(5.0, 6.0),
        lineage=(("source image", "ab" * 32),),
        next_href="b.html",
    )


@pytest.fixture
def run_context():
    metrics = [
        {
            "model": "combined",
            "split": "val",
            "stratum": "all",
            "metric": "roc_auc",
            "value": 0.871,
            "low": 0.83,
            "high": 0.9,
            "n": 603,
            "n_positive": 95,
        },
        {
            "model": "combined",
            "split": "train",
            "role": "fitted_on",
            "stratum": "all",
            "metric": "roc_auc",
            "value": 0.99,
            "n": 4770,
            "n_positive": 900,
        },
        {
            "model": "combined",
            "split": "val",
            "stratum": "source=PH2",
            "metric": "roc_auc",
            "value": None,
            "reason": "too_few",
            "n": 3,
            "n_positive": 0,
        },
    ]
    return RunPageContext(
        run_id="run-1",
        images_in=5481,
        images_out=5468,
        rejects_count=130,
        stages=(
            StageSummary("segment_coarse", 5475, 5474, 1, 5475, 322.4),
            StageSummary("rank_descriptors", 1, 1, 0, 0, 0.1, "skipped: no weights"),
        ),
        headline=("SHORTCUT ALARM on val: source alone reaches AUC 0.79.", "val: AUC 0.871"),
        shortcut_alarm=True,
        metrics=tuple(metrics),
        figures=(Figure("ROC", "figures/roc.png", "On val."),),
        gates=(GateResult("manifest", True, 18), GateResult("metrics", False, 9, ("value: 2 outside 0..1",))),
        rejects=tuple(RejectRow(f"item-{i:03d}", "build_manifest", "truncated", "cut") for i in range(120)),
        rejects_href="rejects.parquet",
        gallery=tuple(
            GalleryItem(f"IMG_{i:04d}", f"{i}.html", f"{i}.jpg", "nevus", "val", i / 5500, levels=(1, None, 5)) for i in range(5500)
        ),
        model_card_href="model_card.md",
        details=(("commit", "abc"),),
    )


def test_image_page_shows_values_reasons_contours_and_lineage(image_context):
    page = Outline(image_page(image_context))
    assert page.open == []
    for text in (
        "ISIC_0000001",
        "23 %",
        "severe",
        "moderately irregular",
        "this version does not include the D",
        "refined mask accepted",
        "ab" * 32,
    ):
        assert text in page.text
    for text in ("contradicts the measurement", "not a medical device", "SAM 2", "hair"):
        assert text in page.text
    paths = [attributes["d"] for attributes in page.all("path")]
    assert image_context.coarse_path in paths and image_context.refined_path in paths
    assert len(page.all("circle")) == 3


def test_every_claim_leads_to_facts_that_are_on_the_page(image_context):
    page = Outline(image_page(image_context))
    claims = [attributes["data-facts"].split() for _, attributes in page.tags if "data-facts" in attributes]
    shown = {fact for _, attributes in page.tags for fact in attributes.get("data-fact", "").split()}
    assert len(claims) == len(image_context.report.claims)
    assert all(set(facts) <= shown for facts in claims)


def test_an_abstaining_fitted_image_says_both(rows, image_context):
    rows["prediction"] |= {"abstain": True, "split": "train"}
    facts = collect_facts("a", **rows)
    page = Outline(
        image_page(
            replace(image_context, ledger=Corrected(facts, facts), report=write_report(facts), status="fallback", reasons=("llm_cut: x",))
        )
    )
    assert "its probability is not to be used" in page.text and "The model was fitted on this image" in page.text
    assert "the template text stands in" in page.text and "llm_cut: x" in page.text


def test_a_page_of_nothing_measured_is_drawn():
    facts = collect_facts("empty")
    page = Outline(image_page(ImagePageContext(Corrected(facts, facts), write_report(facts), None, 1, 1)))
    assert page.open == [] and "The picture is not available." in page.text and not page.all("image")


def test_nothing_from_outside_becomes_markup(image_context, run_context):
    facts = collect_facts(EVIL)
    report = Report((Claim("risk", EVIL, (EVIL,)),))
    hostile = replace(
        image_context,
        ledger=Corrected(facts, facts),
        report=report,
        image_href=EVIL,
        lineage=((EVIL, EVIL),),
        reasons=(EVIL,),
        coarse_path=EVIL,
    )
    run = replace(
        run_context,
        run_id=EVIL,
        title=EVIL,
        headline=(EVIL,),
        rejects=(RejectRow(EVIL, EVIL, EVIL, EVIL),),
        gallery=(GalleryItem(EVIL + "</script>", EVIL, EVIL, EVIL, flags=(EVIL,)),),
        details=((EVIL, EVIL),),
        gates=(GateResult(EVIL, False, 1, (EVIL,)),),
    )
    for page, scripts in ((image_page(hostile), 2), (run_page(run), 2)):
        outline = Outline(page)
        assert len(outline.all("script")) == scripts and outline.open == [] and "<script>alert" not in page


def test_pages_fetch_nothing_from_elsewhere(image_context, run_context):
    for page in (image_page(image_context), run_page(run_context)):
        assert not re.search(r"https?://|//cdn|@import|url\(", page)
        assert not Outline(page).all("link") and "default-src 'none'" in page


def test_pages_are_the_same_each_time(image_context, run_context):
    assert image_page(image_context) == image_page(image_context)
    assert run_page(run_context) == run_page(run_context)


def test_run_page_shows_counts_alarm_scores_gates_and_the_first_rejects(run_context):
    page = Outline(run_page(run_context))
    assert page.open == []
    for text in ("5,481", "5,468", "130", "1 / 2", "5 min 22 s", "skipped: no weights", "0.871", "value: 2 outside 0..1", "model_card.md"):
        assert text in page.text or text in run_page(run_context)
    assert page.text.index("SHORTCUT ALARM") < page.text.index("val: AUC 0.871")
    assert "item-099" in page.text and "item-100" not in page.text and "30 more are not shown" in page.text


def test_gallery_of_5500_images_is_compact_and_whole(run_context):
    page = run_page(run_context)
    rows = json.loads(re.search(r'<script type="application/json" id="rows">(.*?)</script>', page).group(1))
    assert len(rows) == 5500 and rows[10][0] == "IMG_0010" and rows[10][7] == [1, None, 5]
    assert len(page) < 700_000


def test_an_empty_run_is_drawn():
    page = Outline(run_page(RunPageContext("r", 0, 0, 0)))
    assert page.open == [] and not page.all("script")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (7380, "2 h 3 min")]
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_real_browser_draws_the_gallery_and_lights_up_facts(tmp_path, image_context, run_context):
    probe = """<script>addEventListener("load", function () { setTimeout(function () {
      var claim = document.querySelector("[data-facts='abc.asymmetry_score']");
      if (claim) { claim.dispatchEvent(new Event("mouseenter")); }
      var search = document.getElementById("find");
      if (search) { search.value = "img_0042"; search.dispatchEvent(new Event("input")); }
      document.body.dataset.lit = document.querySelectorAll(".lit").length;
      document.body.dataset.items = document.querySelectorAll(".item").length;
    }, 50); });</script>"""
    found = {}
    for name, page in (("image", image_page(image_context)), ("run", run_page(run_context))):
        (tmp_path / f"{name}.html").write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
        command = [
            BROWSER,
            *flags,
            "--disable-component-update",
            f"--user-data-dir={tmp_path / name}",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ]
        result = subprocess.run([*command, (tmp_path / f"{name}.html").as_uri()], capture_output=True, text=True, timeout=90, check=False)
        found[name] = re.search(r'data-lit="(\d+)" data-items="(\d+)"', result.stdout)
        assert found[name] is not None, result.stderr[-500:] + sys.version
    assert int(found["image"].group(1)) >= 2 and found["run"].group(2) == "1"
