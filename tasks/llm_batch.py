"""First answers of a language model through the provider's batch interface, before any report is written.

Answers are stored where the writer looks for them, so the shards find them and ask live only for what is missing. How long to wait, and
what is taken out of a batch, belongs to ``tasks/llm_batch_wait.py``; how a provider is spoken to, to ``tasks/llm_batch_api.py``.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from pydantic import BaseModel

from cefm_core.config import ReportConfig
from storage.refs import FileRef
from storage.store import Store
from tasks.context import RunContext
from tasks.llm_batch_api import URL, BatchApi
from tasks.llm_batch_records import Batch, mark_done, remember, stored_answers, under_way
from tasks.llm_batch_wait import Waiting
from tasks.llm_endpoint import endpoint_of
from tasks.llm_request import FORMATS, Messages, most_tokens, prompt_estimate, request_body
from tasks.llm_writer import answer_digest
from tasks.stage_task import as_cached, stage_task
from tasks.write_reports import ledgers_of

if TYPE_CHECKING:
    from cefm_core.reports.facts import Facts

logger = logging.getLogger(__name__)

# What a provider takes in one file.
_MOST_REQUESTS, _MOST_BYTES = 50_000, 200_000_000


class BatchSummary(BaseModel):
    """What became of the first answers of the reports to write.

    Attributes:
        missing: Those that the store did not have.
        earlier: Of these, asked for by batches of earlier runs.
        asked: Of these, asked for by new batches; the rest does not fit into the budget.
        answered: Answers stored.
        failed: Requests that came back without a usable answer.
    """

    missing: int = 0
    earlier: int = 0
    asked: int = 0
    answered: int = 0
    failed: int = 0


@dataclass(frozen=True)
class _Request:
    digest: str
    messages: Messages
    ledger: Facts


@stage_task
def ask_in_batch(context: RunContext, shards: list[FileRef], label: str = "ask_in_batch") -> BatchSummary:
    """Ask for the first answers of all reports in batches, wait for them, and store them.

    Args:
        context: The run.
        shards: Work lists of the reports to write.
        label: Name of the task run.

    Raises:
        ConfigurationError: The provider has no batch interface, or refuses the key.
        CefmError: No batch can be started, or batches take longer than ``runtime.llm_batch_wait_s``.
    """
    store, reports = context.open_store(), context.config.reports
    stored = stored_answers(store)
    missing = {each.digest: prompt_estimate(each.messages) for each in _requests(context, shards) if each.digest not in stored}
    if not missing:
        return as_cached(BatchSummary(), True)  # type: ignore[no-any-return]  # a state for Prefect, the summary for the caller
    tokens = endpoint_of(context.run_id, context.config).tokens
    with closing(BatchApi(context.config)) as api:
        batches = _earlier(api, store, reports.base_url, missing)
        earlier = missing.keys() & {digest for batch in batches for digest in batch.asked}
        chosen = _affordable(reports, tokens.total, missing, earlier)
        for file, asked in _files(reports, _requests(context, shards), chosen):
            batch = Batch(base_url=reports.base_url, file=api.upload(file), batch=None, asked=asked)
            # Without its id first: a run that is killed while it starts the batch leaves a trace to find it by.
            remember(store, batch)
            batches.append(_started(store, batch, api.start(batch.file)))
        logger.info("first answers: %d missing, %d in earlier batches, %d in new ones", len(missing), len(earlier), len(chosen))
        got = Waiting(api, store, context.config.runtime, missing, tokens).through(batches)
    return BatchSummary(missing=len(missing), earlier=len(earlier), asked=len(chosen), answered=got.answered, failed=got.failed)


def _requests(context: RunContext, shards: list[FileRef]) -> Iterator[_Request]:
    """Yield the first request of every report; made again whenever it is needed, as all of them may not fit into memory."""
    from cefm_core.reports.prompt import build_messages

    store, reports = context.open_store(), context.config.reports
    for work in shards:
        for ledger in ledgers_of(store.read_work(work)):
            messages = build_messages(ledger, reports)
            yield _Request(answer_digest(ledger, reports, messages, 0), messages, ledger)


def _earlier(api: BatchApi, store: Store, base_url: str, missing: dict[str, int]) -> list[Batch]:
    """Return the batches of earlier runs that may answer something missing."""
    found = []
    for batch in under_way(store, base_url):
        if not missing.keys() & batch.asked.keys():
            continue
        if batch.batch is not None:
            found.append(batch)
        elif (batch_id := api.start_again(batch.file)) is not None:
            found.append(_started(store, batch, batch_id))
        else:
            mark_done(store, batch, {"status": "never started"})
    return found


def _started(store: Store, batch: Batch, batch_id: str) -> Batch:
    batch = batch.model_copy(update={"batch": batch_id})
    remember(store, batch)
    return batch


def _affordable(config: ReportConfig, used: int, missing: dict[str, int], earlier: set[str]) -> dict[str, int]:
    """Return the requests to put into new batches: those that the budget has room for beside what earlier batches may cost."""
    new = {digest: estimate for digest, estimate in missing.items() if digest not in earlier}
    if not config.max_total_tokens:
        return new
    room = config.max_total_tokens - used - sum(most_tokens(config, missing[digest]) for digest in earlier)
    chosen = {}
    for digest, estimate in new.items():
        most = most_tokens(config, estimate)
        if most <= room:
            chosen[digest] = estimate
            room -= most
    if len(chosen) < len(new):
        logger.warning("reports.max_total_tokens = %d leaves no room for %d requests", config.max_total_tokens, len(new) - len(chosen))
    return chosen


def _files(config: ReportConfig, requests: Iterator[_Request], chosen: dict[str, int]) -> Iterator[tuple[IO[bytes], dict[str, int]]]:
    """Yield files of requests that a provider takes, each with the estimates of its requests; equal requests are one."""
    left, asked = dict(chosen), dict[str, int]()
    with tempfile.TemporaryFile() as file:
        for request in requests:
            if request.digest not in left:
                continue
            line = _line(config, request)
            if len(asked) == _MOST_REQUESTS or (asked and file.tell() + len(line) > _MOST_BYTES):
                file.seek(0)
                yield file, asked
                file.seek(0)
                file.truncate()
                asked = {}
            file.write(line)
            asked[request.digest] = left.pop(request.digest)
        if asked:
            file.seek(0)
            yield file, asked


def _line(config: ReportConfig, request: _Request) -> bytes:
    from cefm_core.reports.prompt import report_schema

    body = request_body(config, request.messages, report_schema(request.ledger), FORMATS[0])
    # Unsorted, as live: a model held to a schema answers in the order of its properties.
    return json.dumps({"custom_id": request.digest, "method": "POST", "url": URL, "body": body}).encode() + b"\n"
