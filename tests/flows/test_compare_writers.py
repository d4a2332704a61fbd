"""Several writers on the same facts, with servers that answer rightly, wrongly and not at all: page, table and scores."""

from __future__ import annotations

import csv
import json
import re

import pytest

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from cefm_core.reports.sample_facts import sample_facts
from cefm_core.reports.selections import SELECTIONS, select
from flows.commands.compare_writers import Request, compare_writers
from tasks import llm_endpoint
from tests.tasks.llm_servers import FaultyServer, Oracle, Reply

COUNT = 12
GIVEN = tuple(SELECTIONS)


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    monkeypatch.setattr(llm_endpoint, "_BACKOFF_S", 0.02)


def oracle():
    return Oracle([select(sample_facts(seed), name) for seed in range(COUNT) for name in GIVEN])


def liar(truth):
    """A model that is right but for the probability, which it states ten points too high in every other report."""

    def script(body, number):
        text = truth.content(body)
        if int(truth.ledger(body).image_id[-6:]) % 2:
            return Reply(text)
        return Reply(re.sub(r"nevus is (\d+)", lambda match: f"nevus is {int(match.group(1)) + 10}", text))

    return script


def compared(tmp_path, capsys, *writers, given=GIVEN, prices=()):
    request = Request(writers, COUNT, given, True, prices, tmp_path / "out")
    compare_writers(str(tmp_path / "store"), request, CefmConfig(), True)
    lines = list(csv.DictReader((tmp_path / "out" / "writers.csv").open(encoding="utf-8")))
    printed = json.loads(capsys.readouterr().out)
    assert [(line["writer"], line["selection"]) for line in lines] == [(score["writer"], score["selection"]) for score in printed]
    return {(score["writer"], score["selection"]): score for score in printed}


def test_the_ablation_of_the_template(tmp_path, capsys):
    scores = compared(tmp_path, capsys, "template")
    assert {key[1] for key in scores} == {"measurements", "descriptors", "full"}
    for score in scores.values():
        assert score["supported"]["value"] == score["numbers_exact"]["value"] == score["publishable"]["value"] == 1
        assert score["fallback"]["value"] == 0 and score["prompt_tokens"] == 0 and score["reports"] == COUNT
    contradictions = {key[1]: score["contradictions"]["value"] for key, score in scores.items()}
    assert contradictions["descriptors"] > 20 and contradictions["measurements"] == contradictions["full"] == 0
    covered = {key[1]: score["covered"]["value"] for key, score in scores.items()}
    assert covered["full"] == 1 > covered["measurements"] > 0 < covered["descriptors"] < 1


def test_a_true_a_lying_and_a_silent_model_side_by_side(tmp_path, capsys):
    truth = oracle()
    with FaultyServer(truth) as good, FaultyServer(liar(truth)) as bad, FaultyServer(lambda *_: Reply(status=503)) as away:
        writers = (f"good@{good.url}", f"liar@{bad.url}", f"away@{away.url}", "template")
        scores = compared(tmp_path, capsys, *writers, given=("full",), prices=("good=0.5,2",))
        asked = len(good.requests)
        again = compared(tmp_path, capsys, writers[0], given=("full",))
        assert len(good.requests) == asked == COUNT, "answers are kept: a second comparison asks for nothing"
    true, lying, silent, template = (scores[name, "full"] for name in ("good", "liar", "away", "template"))
    assert true["supported"] == template["supported"] and true["fallback"]["value"] == 0 and true["seconds"] > 0
    assert (true["prompt_tokens"], true["completion_tokens"]) == (1000, 100)
    assert true["cost"] == pytest.approx(1000 * (1000 * 0.5 + 100 * 2) / 1e6) and lying["cost"] is None
    assert again["good", "full"]["supported"] == true["supported"]
    told = sum(sample_facts(seed).measured("model.p_melanoma") is not None for seed in range(0, COUNT, 2))
    assert lying["fallback"]["value"] == pytest.approx(told / COUNT) and 0.9 < lying["supported"]["value"] < 1
    assert 0.9 < lying["numbers_exact"]["value"] < 1 and dict(lying["objections"])["number_unsupported"] == told
    assert silent["answered"]["value"] == 0 and silent["fallback"]["value"] == 1 and silent["supported"]["value"] is None
    page = (tmp_path / "out" / "writers.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in re.sub(r"http-equiv", "", page)


@pytest.mark.parametrize("wrong", ["gpt", "gpt@nowhere", "@http://127.0.0.1:1", "m@http://127.0.0.1:1@CEFM_NO_SUCH_KEY"])
def test_a_writer_that_is_not_understood_is_named(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match="--writer"):
        compare_writers(str(tmp_path), Request((wrong,), 1, ("full",), True, (), tmp_path), CefmConfig(), False)


def test_a_price_or_selection_that_is_not_understood_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="--price"):
        compare_writers(str(tmp_path), Request(("template",), 1, ("full",), True, ("m=1",), tmp_path), CefmConfig(), False)
    with pytest.raises(ConfigurationError, match="--given"):
        compare_writers(str(tmp_path), Request(("template",), 1, ("half",), True, (), tmp_path), CefmConfig(), False)
    with pytest.raises(ConfigurationError, match="nothing is published"):
        compare_writers(str(tmp_path), Request(("template",), 1, ("full",), False, (), tmp_path), CefmConfig(), False)
