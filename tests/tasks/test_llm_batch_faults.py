"""What a provider may do to a batch: every fault ends in an answer, a live request or a stop that names the remedy."""

import json

import pytest

from cefm_core.errors import CefmError, ConfigurationError
from tasks.write_reports import ledger_of
from tests.tasks.batch_world import SECRET, counts, published
from tests.tasks.llm_servers import Reply


def test_a_request_that_fails_in_the_batch_is_asked_live(world, caplog):
    target = ledger_of(world.items[0]).facts

    def script(body, number):
        schema = body.get("response_format", {}).get("type") == "json_schema"
        return Reply("no", status=400) if schema and world.oracle.ledger(body) == target else world.oracle(body, number)

    world.script = script
    assert counts(world.ask()) == (4, 0, 4, 3, 1)
    assert "1 failed {'status 400': 1}" in caplog.text
    assert published(world) == 2, "json_schema is refused once more, then the answer comes"


@pytest.mark.parametrize("ending", ["expired", "cancelled"])
def test_what_a_batch_did_not_come_to_is_asked_live(world, ending, caplog):
    world.server.ending, world.server.share = ending, 0.5
    assert counts(world.ask()) == (4, 0, 4, 2, 2)
    assert "2 failed {'batch_expired': 2}" in caplog.text
    assert published(world) == 2 and world.under_way == []


def test_a_failed_batch_is_asked_live(world, caplog):
    world.server.ending = "failed"
    assert counts(world.ask()) == (4, 0, 4, 0, 4)
    assert "token_limit_exceeded" in caplog.text
    assert published(world) == 4 and world.under_way == []


def test_a_batch_that_the_provider_forgot_is_done(world):
    world.server.hold = True
    world.settle(wait_s=0.1)
    with pytest.raises(CefmError):
        world.ask()
    world.server.batches.clear()
    assert counts(world.ask()) == (4, 4, 0, 0, 4)
    assert published(world) == 4 and world.under_way == []


def test_a_batch_whose_answers_are_gone_is_done(world):
    world.server.fault = lambda method, path: Reply(status=404) if path.endswith("/content") else None
    assert counts(world.ask()) == (4, 0, 4, 0, 4)


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_a_provider_without_batches_is_named_with_the_remedy(world, path, status):
    world.server.fault = lambda method, asked: Reply(status=status) if (method, asked) == ("POST", path) else None
    with pytest.raises(ConfigurationError, match=rf"has no batch interface \(status {status}\); set reports.batch = false"):
        world.ask()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("called", [("POST", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/batches/batch_0")])
def test_a_refused_key_stops_the_run(world, status, called):
    world.server.fault = lambda *call: Reply(f"bad key {SECRET}", status=status) if call == called else None
    with pytest.raises(ConfigurationError, match="refuses the key in CEFM_LLM_API_KEY") as caught:
        world.ask()
    assert SECRET not in str(caught.value)


FAULTS = [Reply(status=503), Reply(status=429), Reply(cut=True)]
NO_REPLIES = [Reply(body="{"), Reply(body="null"), Reply(body="[]"), Reply(body="<html>", headers={"content-type": "text/html"})]


@pytest.mark.parametrize(
    ("called", "fault"),
    [
        *(("/v1/files/output_batch_0/content", fault) for fault in FAULTS),
        *((path, fault) for path in ("/v1/batches", "/v1/batches/batch_0") for fault in FAULTS + NO_REPLIES),
    ],
)
def test_a_passing_fault_is_survived(world, called, fault):
    left = iter([fault] * 2)
    world.server.fault = lambda method, path: next(left, None) if path == called else None
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    assert len(world.server.batches) == 1


def test_an_upload_is_tried_again_whole(world):
    left = iter([Reply(status=503)])
    world.server.fault = lambda method, path: next(left, None) if path == "/v1/files" else None
    assert counts(world.ask()) == (4, 0, 4, 4, 0)


def test_a_provider_that_is_away_when_a_batch_is_to_start_stops_the_run_and_costs_nothing(world):
    world.server.fault = lambda method, path: Reply(status=503) if path.startswith("/v1/batches") else None
    with pytest.raises(CefmError, match=r"does not serve batches now \(status 503\); run again"):
        world.ask()
    world.server.fault = lambda *_: None
    assert counts(world.ask()) == (4, 4, 0, 4, 0)
    assert len(world.server.uploads) == 1


def test_poisoned_answers_harm_nobody(world, caplog):
    good = {"status_code": 200, "body": {"choices": [{"message": {"content": "x"}}]}}

    def ids():
        return [line["custom_id"] for line in world.server.lines()]

    def script(body, number):
        if number == 0:
            mine = ids()
            bodies = [None, [], "x", {"choices": 5}, {"choices": []}, {"choices": [{"message": {"content": "\ud800"}}]}]
            world.server.more = [
                b"{", b"null", b"[]", b"5", b"\xff\xfe", b"[" * 100_000, b"9" * 5000,
                *(json.dumps({"custom_id": mine[0], "response": {"status_code": 200, "body": each}}).encode() for each in bodies),
                json.dumps({"custom_id": mine[0], "response": "200"}).encode(),
                json.dumps({"custom_id": mine[0], "error": {"code": f"the key is {SECRET}"}}).encode(),
                *(json.dumps({"custom_id": each, "response": good}).encode() for each in ("../../x", None, [1], "0" * 64)),
            ]  # fmt: skip
            return Reply("no", status=500)
        return world.oracle(body, number)

    world.script = script
    assert counts(world.ask()) == (4, 0, 4, 3, 1)
    world.script = None
    assert "1 failed {'malformed': 13, 'unnamed': 2, 'not asked': 4, 'status 500': 1}" in caplog.text
    assert world.stored == 3 and (world.tokens.requests, world.tokens.total) == (3, 3300)
    assert published(world) == 1


def test_answers_without_counts_are_estimated(world):
    world.script = lambda body, number: Reply(world.oracle.content(body), usage=False)
    world.ask()
    assert world.tokens.prompt > 4000 and world.tokens.completion > 400
