"""Waiting for batches of requests, and storing the answers that each of them brought."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from cefm_core.config import RuntimeConfig
from cefm_core.errors import CefmError
from storage import keys
from storage.refs import canonical_json
from storage.store import Store
from tasks.llm_batch_api import BatchApi, BatchState, ProviderAwayError, code_of
from tasks.llm_batch_records import Batch, mark_done, stored_answers
from tasks.llm_endpoint import Tokens
from tasks.llm_request import plain_answer
from tasks.llm_writer import ANSWERS

logger = logging.getLogger(__name__)
_IO_THREADS = 8
_UNKNOWN = BatchState("unknown to the provider")


@dataclass
class Collected:
    """What batches brought.

    Attributes:
        answered: Answers stored.
        failed: Requests without a usable answer.
    """

    answered: int = 0
    failed: int = 0


class Waiting:
    """One run's wait for its batches.

    Args:
        api: The provider.
        store: Where answers are kept.
        runtime: How often to look, and for how long.
        wanted: Digests of the answers that this run waits for.
        tokens: Counts what these used.
    """

    def __init__(self, api: BatchApi, store: Store, runtime: RuntimeConfig, wanted: Collection[str], tokens: Tokens) -> None:
        self._api = api
        self._store = store
        self._runtime = runtime
        self._wanted = wanted
        self._tokens = tokens
        self._collected = Collected()
        self._artifact: Any = None
        self._said = ""

    def through(self, batches: list[Batch]) -> Collected:
        """Wait until nothing more will come of any batch; answers are stored batch by batch.

        Raises:
            ConfigurationError: The provider refuses the key.
            CefmError: The batches take longer than the run may wait.
        """
        deadline = time.monotonic() + self._runtime.llm_batch_wait_s
        done = dict.fromkeys((batch.digest for batch in batches), 0)
        waiting = list(batches)
        while waiting:
            waiting = [batch for batch in waiting if not self._over(batch, done)]
            self._show(sum(done.values()), sum(len(batch.asked) for batch in batches), len(waiting))
            if waiting and (left := deadline - time.monotonic()) <= 0:
                names = ", ".join(str(batch.batch) for batch in waiting)
                raise CefmError(
                    f"batches not done after runtime.llm_batch_wait_s = {self._runtime.llm_batch_wait_s:g} s: {names}; "
                    "run again to go on waiting, nothing is lost or asked for twice"
                )
            if waiting:
                time.sleep(min(self._runtime.llm_batch_poll_s, left))
        return self._collected

    def _over(self, batch: Batch, done: dict[str, int]) -> bool:
        """Look at a batch, and take what it brought if it is over; a provider that does not answer is asked again later."""
        try:
            state = self._api.state(str(batch.batch)) or _UNKNOWN
            done[batch.digest] = state.done
            if state.over or state is _UNKNOWN:
                self._collect(batch, state)
                done[batch.digest] = len(batch.asked)
                return True
        except ProviderAwayError as error:
            logger.info("%s; looking again later", error)
        return False

    def _collect(self, batch: Batch, state: BatchState) -> None:
        """Store the answers of a batch that is over, then mark it as done."""
        open_ = batch.asked.keys() - stored_answers(self._store)
        answers: dict[str, dict[str, Any]] = {}
        faults: Counter[str] = Counter(state.codes)
        for file_id in state.files:
            for line in self._api.lines(file_id):
                digest, answer, fault = _read(line, batch.asked)
                if answer is not None:
                    answers[digest] = answer
                else:
                    faults[fault] += 1
        new = {digest: answers[digest] for digest in sorted(answers.keys() & open_)}
        with ThreadPoolExecutor(_IO_THREADS) as pool:
            list(pool.map(lambda digest: self._store.put_json(keys.cache_key(ANSWERS, digest), new[digest]), new))
        for digest in new.keys() & set(self._wanted):
            self._tokens.spend(new[digest])
        self._collected.answered += len(new)
        self._collected.failed += len(open_) - len(new)
        mark_done(self._store, batch, {"status": state.status, "answered": len(new), "failed": len(open_) - len(new)})
        logger.info(
            "batch %s is %s: %d asked, %d answered, %d in the store before, %d failed %s",
            *(batch.batch, state.status, len(batch.asked), len(new), len(batch.asked) - len(open_), len(open_) - len(new), dict(faults)),
        )

    def _show(self, done: int, asked: int, waiting: int) -> None:
        """Say how far the batches are, where that changed."""
        said = f"{done} of {asked} requests done, {waiting} batches under way"
        if said == self._said:
            return
        self._said = said
        logger.info(said)
        if TaskRunContext.get() is None:
            return
        percent = 100.0 * min(1.0, done / asked) if asked else 100.0
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key="write-reports-batches", description=said)
        else:
            update_progress_artifact(self._artifact, percent, said)


def _read(line: bytes, asked: dict[str, int]) -> tuple[str, dict[str, Any] | None, str]:
    """Return the digest, the answer or None, and what is wrong with one line of a file of answers; whatever stands in it."""
    try:
        entry = json.loads(line)
        digest, response = entry.get("custom_id"), entry.get("response")
        if not isinstance(digest, str) or digest not in asked:
            return "", None, "not asked"
        status = response.get("status_code") if isinstance(response, dict) else None
        if status != 200:
            code = entry["error"].get("code") if isinstance(entry.get("error"), dict) else None
            return digest, None, f"status {status}" if isinstance(status, int) else code_of(code)
        answer = plain_answer(response.get("body"), asked[digest]) | {"seconds": None}
        canonical_json(answer)
    except (ValueError, AttributeError, RecursionError):
        return "", None, "malformed"
    return digest, answer, ""
