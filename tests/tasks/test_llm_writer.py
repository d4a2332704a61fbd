"""The language-model writer against servers that misbehave: nothing hangs, nothing is lost, nothing untrue is published."""

import json
import threading
import time

import pytest

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from cefm_core.reports.template_writer import write_report
from storage.store import Store
from tasks import llm_endpoint
from tasks.llm_endpoint import endpoint_of
from tasks.llm_writer import LlmWriter
from tasks.write_reports import _settled
from tests.tasks.llm_servers import FaultyServer, Oracle, Reply, content_of, ledger_of

LEDGERS = [ledger_of(f"image-{n:02d}", (n + 1) / 100) for n in range(20)]
ORACLE = Oracle(LEDGERS)
GOOD = content_of(LEDGERS[0])


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    monkeypatch.setattr(llm_endpoint, "_BACKOFF_S", 0.02)


@pytest.fixture
def ask(tmp_path):
    """Return a function that writes reports of ledgers through a server, as one run; each call is a new run."""
    numbers = iter(range(1000))

    def ask_(server, ledgers, concurrency=4, timeout_s=30.0, **reports):
        settings = {"writer": "openai", "base_url": server.url, "llm_model": "m", **reports}
        runtime = {"llm_concurrency": concurrency, "llm_timeout_s": timeout_s}
        config = CefmConfig.model_validate({"reports": settings, "runtime": runtime})
        endpoint = endpoint_of(f"{tmp_path}-{next(numbers)}", config)
        ask_.tokens = endpoint.tokens
        writer = LlmWriter(config.reports, Store.open(str(tmp_path / "store")), endpoint)
        try:
            writer.prepare(ledgers)
            return [writer.write(ledger) for ledger in ledgers]
        finally:
            writer.close()

    return ask_


def codes(written):
    return [reason.split(":")[0] for reason in written.reasons]


def one(ask, script, **settings):
    with FaultyServer(script) as server:
        (written,) = ask(server, LEDGERS[:1], **settings)
    return written, server


def is_template(written, ledger):
    return (written.status, written.writer) == ("fallback", "template") and written.report == write_report(ledger)


def test_a_correct_answer_is_published(ask):
    written, server = one(ask, ORACLE)
    assert (written.status, written.writer, written.reasons, written.llm_model) == ("published", "openai", (), "m")
    assert written.report.claims == write_report(LEDGERS[0]).claims
    assert server.requests[0]["response_format"]["type"] == "json_schema"
    assert (server.requests[0]["max_tokens"], server.requests[0]["temperature"]) == (1200, 0.0)


# --- what an endpoint may do to a request


def test_retry_after_is_honoured_by_all_requests(ask):
    def script(body, number):
        return Reply(status=429, headers={"retry-after": "1"}) if number == 1 else ORACLE(body, number)

    with FaultyServer(script) as server:
        written = ask(server, LEDGERS[:6], concurrency=1)
    assert [w.status for w in written] == ["published"] * 6
    assert len(server.requests) == 7
    assert server.times[2] - server.times[1] >= 0.99
    assert server.requests[1] == server.requests[2]


def test_retry_after_may_be_a_date():
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < llm_endpoint._retry_after({"retry-after": later}) <= 30
    assert llm_endpoint._retry_after({"retry-after": "2.5"}) == 2.5
    assert llm_endpoint._retry_after({"retry-after": "soon"}) is None
    assert llm_endpoint._retry_after({}) is None


def test_a_pause_beyond_reason_is_not_waited_for(ask):
    written, server = one(ask, lambda body, number: Reply(status=429, headers={"retry-after": "86400"}))
    assert is_template(written, LEDGERS[0]) and codes(written) == ["llm_unreachable"] and len(server.requests) == 1


@pytest.mark.parametrize(
    "fault", [Reply(status=503), Reply(status=500), Reply(status=429), Reply(cut=True), Reply(body="<html>busy</html>")]
)
def test_a_passing_fault_is_survived(ask, fault):
    written, server = one(ask, lambda body, number: fault if number < 2 else ORACLE(body, number))
    assert written.status == "published" and len(server.requests) == 3


@pytest.mark.parametrize("fault", [Reply(status=503), Reply(cut=True), Reply(body="{"), Reply(body='{"choices": []}'), Reply(body="null")])
def test_a_lasting_fault_ends_in_the_template_after_a_bounded_number_of_tries(ask, fault):
    written, server = one(ask, lambda body, number: fault)
    assert is_template(written, LEDGERS[0]) and codes(written) == ["llm_unreachable"]
    assert len(server.requests) == 5


@pytest.mark.parametrize("fault", [Reply(hang=True), Reply(GOOD, drip_s=0.05)], ids=["hang", "drip"])
def test_a_request_ends_at_its_total_deadline_and_the_others_go_on(ask, fault):
    def script(body, number):
        return fault if ORACLE.ledger(body) == LEDGERS[3] else ORACLE(body, number)

    start = time.monotonic()
    with FaultyServer(script) as server:
        written = ask(server, LEDGERS[:8], timeout_s=2.5)
    assert time.monotonic() - start < 12
    assert [w.status for w in written] == ["published"] * 3 + ["fallback"] + ["published"] * 4
    assert is_template(written[3], LEDGERS[3]) and "Timeout" in written[3].reasons[0]
    assert len(server.requests) == 8


def test_a_dead_endpoint_is_not_stormed(ask):
    with FaultyServer(lambda body, number: Reply(status=503)) as server:
        written = ask(server, LEDGERS)
    assert all(is_template(w, ledger) and codes(w) == ["llm_unreachable"] for w, ledger in zip(written, LEDGERS, strict=True))
    assert len(server.requests) <= 5 * (3 + 3)


def test_nobody_listening_is_a_fallback_too(ask):
    with FaultyServer(ORACLE) as server:
        pass
    (written,) = ask(server, LEDGERS[:1])
    assert is_template(written, LEDGERS[0]) and "APIConnectionError" in written.reasons[0]


@pytest.mark.parametrize(("status", "said"), [(401, "CEFM_LLM_API_KEY"), (403, "CEFM_LLM_API_KEY"), (404, "llm_model")])
def test_a_wrong_key_or_model_stops_the_run_without_a_storm(ask, status, said, monkeypatch, caplog):
    monkeypatch.setenv("CEFM_LLM_API_KEY", "sk-very-secret")
    script = Reply("bad key sk-very-secret", status=status)
    with FaultyServer(lambda body, number: script) as server, pytest.raises(ConfigurationError, match=said) as caught:
        ask(server, LEDGERS)
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value) + caplog.text
    assert {name.lower(): value for name, value in server.headers[0].items()}["authorization"] == "Bearer sk-very-secret"


# --- response_format


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("taken", ["json_object", "plain"])
def test_a_refused_response_format_is_found_out_once_a_run(ask, status, taken):
    def script(body, number):
        form = body.get("response_format", {}).get("type", "plain")
        allowed = {"json_object": ("json_object", "plain"), "plain": ("plain",)}[taken]
        return ORACLE(body, number) if form in allowed else Reply("This response_format type is unavailable now", status=status)

    with FaultyServer(script) as server:
        written = ask(server, LEDGERS[:10], concurrency=4)
    assert {w.status for w in written} == {"published"}
    forms = [body.get("response_format", {}).get("type", "plain") for body in server.requests]
    refused = {"json_object": ["json_schema"], "plain": ["json_schema", "json_object"]}[taken]
    assert forms == refused + [taken] * 10


def test_a_request_refused_in_every_form_touches_only_its_item(ask):
    def script(body, number):
        return Reply("context too long", status=400) if ORACLE.ledger(body) == LEDGERS[0] else ORACLE(body, number)

    with FaultyServer(script) as server:
        written = ask(server, LEDGERS[:4])
    assert [w.status for w in written] == ["fallback"] + ["published"] * 3
    assert codes(written[0]) == ["llm_request_refused"]
    assert {body["response_format"]["type"] for body in server.requests[3:]} == {"json_schema"}


# --- what an answer may look like


def test_empty_answers_are_asked_for_again(ask):
    contents = ["", " \n\t" * 400, GOOD]
    written, server = one(ask, lambda body, number: Reply(contents[number]), attempts=3)
    assert written.status == "published" and codes(written) == ["llm_empty", "llm_empty"] and len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(""), "llm_empty"),
        (Reply(None), "llm_empty"),
        (Reply(None, extra={"reasoning_content": GOOD}), "llm_empty"),
        (Reply(GOOD.replace('"facts":', '"facts"')), "llm_not_json"),
        (Reply(GOOD[:300], finish_reason="length"), "llm_cut"),
        (Reply(GOOD, finish_reason="length"), "llm_cut"),
        (Reply(GOOD[:300]), "llm_cut"),
        (Reply("<think>it never ends " + GOOD), "llm_reasoning"),
        (Reply(f"[{GOOD}]"), "llm_schema"),
        (Reply(None, finish_reason="content_filter"), "llm_refused"),
    ],
)
def test_an_unusable_answer_is_asked_for_once_more_then_the_template_stands(ask, reply, code):
    written, server = one(ask, lambda body, number: reply)
    assert is_template(written, LEDGERS[0]) and codes(written) == [code, code] and len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(f"```json\n{GOOD}\n```"),
        Reply(f"<think>the border is severe, 9 mm</think>{GOOD}"),
        Reply(GOOD, extra={"reasoning_content": "the border is severe, 9 mm"}),
        Reply(json.dumps({**json.loads(GOOD), "comment": "melanoma for sure"})),
        Reply(GOOD, usage=False),
    ],
    ids=["fence", "think", "reasoning", "extra", "no-usage"],
)
def test_wrappings_are_taken_off_and_never_published(ask, reply):
    written, _ = one(ask, lambda body, number: reply)
    assert written.status == "published" and written.report.claims == write_report(LEDGERS[0]).claims


@pytest.mark.parametrize(
    ("right", "wrong", "code"),
    [
        ("score 0.6 of 2", "score 0.9 of 2", "number_unsupported"),
        ("shows slight asymmetry", "shows severe asymmetry", "level_contradicted"),
        ("level 2 of 5).", "level 2 of 5), its diameter is 5 mm.", "diameter"),
    ],
)
def test_an_untrue_answer_is_refused_and_asked_for_again_with_the_reasons(ask, right, wrong, code):
    untrue = GOOD.replace(right, wrong)
    assert untrue != GOOD
    written, server = one(ask, lambda body, number: Reply(untrue if number == 0 else GOOD))
    assert written.status == "published" and code in codes(written)
    second = server.requests[1]["messages"]
    assert len(second) == 2 and code in second[1]["content"] and "refused" in second[1]["content"]

    stubborn = content_of(LEDGERS[1]).replace(right, wrong)
    with FaultyServer(lambda body, number: Reply(stubborn)) as server:
        (written,) = ask(server, LEDGERS[1:2])
    assert is_template(written, LEDGERS[1]) and codes(written).count(code) >= 2 and len(server.requests) == 2


# --- restart, budget, concurrency


def test_a_restart_asks_only_for_what_is_missing(ask):
    """Rate limits on items 8 to 12, 503 on 13, death at 15; then the server is back."""
    tried: dict[int, int] = {}
    asked: list[int] = []

    def failing(body, number):
        n = LEDGERS.index(ORACLE.ledger(body))
        tried[n] = tried.get(n, 0) + 1
        if 8 <= n <= 12 and tried[n] == 1:
            return Reply(status=429, headers={"retry-after": "0.1"})
        if n == 13 and tried[n] == 1:
            return Reply(status=503)
        return Reply(cut=True) if n >= 15 else ORACLE(body, number)

    def healed(body, number):
        asked.append(LEDGERS.index(ORACLE.ledger(body)))
        return ORACLE(body, number)

    with FaultyServer(failing) as server:
        first = ask(server, LEDGERS, concurrency=2)
    assert [w.status for w in first] == ["published"] * 15 + ["fallback"] * 5
    with FaultyServer(healed) as server:
        second = ask(server, LEDGERS)
    assert [w.status for w in second] == ["published"] * 20
    assert sorted(asked) == [15, 16, 17, 18, 19]
    assert second[:15] == first[:15]


def test_answers_are_stored_before_the_shard_is_done(ask, tmp_path):
    """Killed while the last answer is under way, a shard has lost none of the others."""
    stored_by_then = []
    others = threading.Semaphore(0)

    def script(body, number):
        if ORACLE.ledger(body) == LEDGERS[5]:
            for _ in range(5):
                others.acquire()
            time.sleep(0.5)
            stored_by_then.append(len(list((tmp_path / "store" / "cache" / "llm").glob("*.json"))))
        else:
            others.release()
        return ORACLE(body, number)

    with FaultyServer(script) as server:
        ask(server, LEDGERS[:6])
    assert stored_by_then == [5]


def test_tokens_are_counted_and_a_budget_stops_asking(ask):
    with FaultyServer(ORACLE) as server:
        written = ask(server, LEDGERS[:3])
        assert (ask.tokens.requests, ask.tokens.prompt, ask.tokens.completion, ask.tokens.reserved) == (3, 3000, 300, 0)
        written = ask(server, LEDGERS[3:], max_total_tokens=8000, concurrency=2)
    statuses = [w.status for w in written]
    assert 2 <= statuses.count("published") < 8 and ask.tokens.total <= 8000
    assert {code for w in written if w.status == "fallback" for code in codes(w)} == {"llm_budget"}
    assert len(server.requests) == 3 + statuses.count("published")


def test_a_whole_shard_keeps_the_slots_busy(ask):
    ledgers = [ledger_of(f"busy-{n}", n / 1000) for n in range(60)]
    oracle = Oracle(ledgers)
    contents = {ledger.image_id: content_of(ledger) for ledger in ledgers}
    with FaultyServer(lambda body, number: Reply(contents[oracle.ledger(body).image_id], delay_s=0.4)) as server:
        written = ask(server, ledgers, concurrency=4)
        span = time.monotonic() - server.times[1]
    assert {w.status for w in written} == {"published"}
    assert server.busiest == 4
    print(f"busy {server.busy_s / span / 4:.3f}")
    assert server.busy_s / span / 4 > 0.75


@pytest.mark.parametrize(
    ("status", "reasons", "settled"),
    [
        ("published", [], True),
        ("published", ["number_unsupported: x"], True),
        ("fallback", ["number_unsupported: x", "level_contradicted: y"], True),
        ("fallback", ["llm_empty: x", "llm_empty: x"], True),
        ("fallback", ["llm_unreachable: x"], False),
        ("fallback", ["number_unsupported: x", "llm_unreachable: y"], False),
        ("fallback", ["llm_budget: x"], False),
        ("fallback", ["llm_request_refused: x"], False),
    ],
)
def test_only_the_endpoints_silence_leaves_a_row_open(status, reasons, settled):
    assert _settled({"status": status, "reasons": reasons}) is settled
