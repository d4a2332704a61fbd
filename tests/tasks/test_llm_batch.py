"""First answers through a batch interface, against a server that has one: nothing is asked twice, nothing is lost, nothing hangs."""

import json

import pytest

from cefm_core.errors import CefmError
from storage.store import Store
from tasks import llm_batch, llm_batch_api
from tasks.write_reports import STAGE
from tests.tasks.batch_world import counts, published
from tests.tasks.llm_servers import BatchServer, Oracle, Reply
from tests.tasks.test_write_reports import INJECTION, PERSONAL, Bench


def test_answers_come_in_a_batch_and_nothing_is_asked_live(world, caplog):
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    assert (world.tokens.requests, world.tokens.prompt, world.tokens.completion) == (4, 4000, 400)
    assert published(world) == 0 and len(world.server.batches) == 1 and world.under_way == []
    assert "4 asked, 4 answered, 0 in the store before, 0 failed {}" in caplog.text
    assert world.ask().name == "Cached" and len(world.server.uploads) == 1


def test_a_batch_asks_what_would_be_asked_live(world, tmp_path):
    world.ask()
    lines = world.server.lines()
    stored = {key.rsplit("/", 1)[-1].removesuffix(".json") for key in world.bench.store.keys_below("cache/llm")}
    assert {line["custom_id"] for line in lines} == stored
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    (tmp_path / "live").mkdir()
    live = Bench(tmp_path / "live", world.server.url)
    live.run([live.item(number, site=INJECTION) for number in range(4)])
    assert len(world.server.requests) == 4
    for body in world.server.requests:
        assert body in [line["body"] for line in lines]
        # The order of a schema's properties is that of the answer.
        assert json.dumps(body["response_format"]) in [json.dumps(line["body"]["response_format"]) for line in lines]
    told = {key: live.store.read_json(f"cache/llm/{key}.json") for key in stored}
    for key, answer in told.items():
        assert world.bench.store.read_json(f"cache/llm/{key}.json") == answer | {"seconds": None}


def test_nothing_personal_leaves_the_machine(world):
    world.ask()
    (sent,) = world.server.uploads
    assert not [word for word in PERSONAL if word.encode() in sent]
    assert b'filename="requests.jsonl"' in sent


def test_equal_requests_are_one(world):
    twins = [world.bench.item(0, site=INJECTION), world.bench.item(0, site="other")]
    assert counts(world.ask(twins)) == (1, 0, 1, 1, 0)
    assert len(world.server.lines()) == 1


@pytest.mark.parametrize(("name", "limit"), [("_MOST_REQUESTS", 3), ("_MOST_BYTES", 20_000)])
def test_a_file_has_no_more_than_a_provider_takes(world, monkeypatch, name, limit):
    monkeypatch.setattr(llm_batch, name, limit)
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    sizes = [len(world.server.lines(number)) for number in range(len(world.server.batches))]
    assert sum(sizes) == 4 and len(sizes) > 1
    assert name == "_MOST_BYTES" or sizes == [3, 1]
    assert published(world) == 0


# --- restarts


def test_a_run_that_waited_too_long_is_gone_on_with(world):
    world.server.hold = True
    world.settle(wait_s=0.2)
    with pytest.raises(CefmError, match=r"llm_batch_wait_s = 0.2 s: batch_0; run again"):
        world.ask()
    assert world.stored == 0 and len(world.under_way) == 1
    world.server.hold = False
    world.settle()
    assert counts(world.ask()) == (4, 4, 0, 4, 0)
    assert len(world.server.batches) == len(world.server.uploads) == 1
    assert world.tokens.requests == 4 and published(world) == 0


def test_new_images_are_asked_for_beside_an_earlier_batch(world):
    world.server.hold = True
    world.settle(wait_s=0.1)
    with pytest.raises(CefmError):
        world.ask(world.items[:3])
    world.server.hold = False
    world.settle()
    assert counts(world.ask()) == (4, 3, 1, 4, 0)
    assert [len(world.server.lines(number)) for number in range(2)] == [3, 1]


def test_another_endpoints_batch_is_left_alone(world, tmp_path):
    world.server.hold = True
    world.settle(wait_s=0.1)
    with pytest.raises(CefmError):
        world.ask()
    other = BatchServer(world.oracle)
    world.bench = Bench(tmp_path, other.url, reports={"batch": True}, llm_batch_poll_s=0.02)
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    assert ("GET", "/v1/batches/batch_0") in other.calls and len(other.uploads) == 1 and len(world.under_way) == 1
    other.stop()


def test_a_run_killed_while_it_stores_answers_loses_none(world, monkeypatch):
    put = Store.put_json

    def dying(self, key, value):
        if key.startswith("cache/llm/") and len(self.keys_below("cache/llm")) >= 2:
            raise RuntimeError("killed")
        return put(self, key, value)

    monkeypatch.setattr("tasks.llm_batch_wait._IO_THREADS", 1)
    monkeypatch.setattr(Store, "put_json", dying)
    with pytest.raises(RuntimeError):
        world.ask()
    monkeypatch.setattr(Store, "put_json", put)
    assert world.stored == 2 and len(world.under_way) == 1
    assert counts(world.ask()) == (2, 2, 0, 2, 0)
    assert len(world.server.batches) == 1 and published(world) == 0 and world.under_way == []


def killed_at(world, monkeypatch, place, name):
    """Run until a function of the batch interface is called, and no further."""

    def kill(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(place, name, kill)
        world.ask()


def test_a_run_killed_while_it_starts_a_batch_finds_it_again(world, monkeypatch):
    killed_at(world, monkeypatch, llm_batch, "_started")
    assert [batch.batch for batch in world.under_way] == [None]
    assert counts(world.ask()) == (4, 4, 0, 4, 0)
    assert len(world.server.batches) == len(world.server.uploads) == 1


def test_a_run_killed_before_it_starts_a_batch_uses_its_file(world, monkeypatch):
    killed_at(world, monkeypatch, llm_batch_api.BatchApi, "start")
    assert world.server.batches == []
    assert counts(world.ask()) == (4, 4, 0, 4, 0)
    assert len(world.server.batches) == len(world.server.uploads) == 1


def test_a_file_that_the_provider_dropped_is_sent_anew(world, monkeypatch):
    killed_at(world, monkeypatch, llm_batch_api.BatchApi, "start")
    refused = iter([Reply("no such file", status=400)])
    world.server.fault = lambda method, path: next(refused, None) if (method, path) == ("POST", "/v1/batches") else None
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    assert len(world.server.uploads) == 2 and len(world.server.batches) == 1 and world.under_way == []


def test_a_lost_answer_starts_no_second_batch(world):
    lost = iter([True])
    world.server.losing = lambda method, path: (method, path) == ("POST", "/v1/batches") and next(lost, False)
    assert counts(world.ask()) == (4, 0, 4, 4, 0)
    assert len(world.server.batches) == 1


# --- what a provider may do


@pytest.mark.parametrize("room", [2.5, 4.5])
def test_a_budget_bounds_what_is_put_into_batches(world, room):
    world.ask(world.items[:1])
    (most,) = (batch["asked"] for batch in [world.bench.store.read_json(world.bench.store.keys_below("cache/llm_batch")[0])])
    budget = int(room * (next(iter(most.values())) + 1200))
    world.settle(max_total_tokens=budget)
    summary = world.ask()
    assert (summary.missing, summary.asked, summary.answered) == (3, min(3, int(room)), min(3, int(room)))
    assert world.tokens.total <= budget


def test_what_the_budget_leaves_out_stands_as_the_templates(world):
    world.settle(max_total_tokens=6000)
    asked = world.ask().asked
    world.script = lambda body, number: pytest.fail("nothing is asked live")
    assert 0 < asked < 4 and world.tokens.total == asked * 1100
    world.tokens.prompt += 6000 - world.tokens.total
    rows = world.rows()
    assert [row["status"] for row in rows].count("published") == asked
    assert {reason.split(":")[0] for row in rows for reason in row["reasons"]} == {"llm_budget"}


def test_earlier_batches_count_against_the_budget(world):
    world.server.hold = True
    world.settle(wait_s=0.1)
    with pytest.raises(CefmError):
        world.ask(world.items[:2])
    world.server.hold = False
    world.settle(max_total_tokens=6000)
    summary = world.ask()
    assert (summary.earlier, summary.asked, summary.answered) == (2, 0, 2)


def test_the_way_an_answer_comes_decides_no_text(world):
    config = world.bench.context.config
    live = config.model_copy(update={"reports": config.reports.model_copy(update={"batch": False})})
    assert STAGE.fingerprint(config).digest == STAGE.fingerprint(live).digest


def test_an_untimed_answer_is_scored(world):
    from cefm_core.reports.sample_facts import sample_facts
    from cefm_core.reports.writer_score import score_writer
    from tasks.writer_trials import try_writer

    ledgers = [sample_facts(seed) for seed in range(2)]
    world.oracle = Oracle(ledgers)
    config = world.bench.context.config
    try_writer(world.bench.store, config, f"{world.folder}-trial", ledgers, "full")
    for key in world.bench.store.keys_below("cache/llm"):
        world.bench.store.put_json(key, world.bench.store.read_json(key) | {"seconds": None})
    trials = try_writer(world.bench.store, config, f"{world.folder}-trial", ledgers, "full")
    assert [trial.seconds for trial in trials] == [None, None] and score_writer("m", "full", trials).seconds is None
