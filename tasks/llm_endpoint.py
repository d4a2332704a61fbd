"""An OpenAI-compatible endpoint as one run sees it: slots, deadlines, retries, tokens. Only this module and ``tasks/llm_batch_api.py``
import ``openai``.

What is asked, and whether an answer may be published, does not belong here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from cefm_core.config import CefmConfig, ReportConfig
from cefm_core.errors import ConfigurationError
from tasks.llm_request import FORMATS, Messages, most_tokens, plain_answer, prompt_estimate, request_body

logger = logging.getLogger(__name__)
T = TypeVar("T")

UNREACHABLE, REFUSED, BUDGET = "llm_unreachable", "llm_request_refused", "llm_budget"
_TRIES = 5
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_LONGEST_PAUSE_S = 120.0
_CONNECT_S = 10.0
# So many answers in a row that did not come, and the run stops asking; fewer where none ever came.
_PATIENCE, _FIRST_PATIENCE = 8, 3
_RUNS_KEPT = 4


class NoAnswerError(Exception):
    """The endpoint gave no answer; says nothing about the model's text.

    Args:
        code: ``llm_unreachable``, ``llm_request_refused`` or ``llm_budget``.
        message: What happened, without anything secret.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass
class Tokens:
    """What a run has used: requests that were answered, and tokens as the endpoint counts them (estimated where it does not)."""

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    reserved: int = 0

    @property
    def total(self) -> int:
        """Tokens used."""
        return self.prompt + self.completion

    def spend(self, answer: dict[str, Any]) -> None:
        """Count an answer."""
        self.requests += 1
        self.prompt += answer["prompt_tokens"]
        self.completion += answer["completion_tokens"]


class Endpoint:
    """The endpoint of one run. Its methods run in one event loop, so that all shards share slots, budget and what was learnt.

    Attributes:
        tokens: The run's token ledger.
        form: Index into ``FORMATS`` of how JSON is asked for.
    """

    def __init__(self, config: CefmConfig, loop: asyncio.AbstractEventLoop) -> None:
        from openai import AsyncOpenAI, Timeout

        self._reports = config.reports
        self._deadline_s = config.runtime.llm_timeout_s
        self._loop = loop
        self._slots = asyncio.Semaphore(config.runtime.llm_concurrency)
        self._first = asyncio.Lock()
        self._decided = False
        self._answered = False
        self._missed = 0
        self._resume_at = 0.0
        self._misconfigured: str | None = None
        self.form = 0
        self.tokens = Tokens()
        self._client = AsyncOpenAI(
            base_url=config.reports.base_url,
            api_key=os.environ.get(config.reports.api_key_env) or "none",
            timeout=Timeout(self._deadline_s, connect=min(_CONNECT_S, self._deadline_s)),
            max_retries=0,
        )
        # Loads the rest of the package here and not in the loop, under the first request's deadline.
        self._completions = self._client.chat.completions

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the endpoint's loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def forget(self) -> None:
        """Close the connections."""
        self.submit(self._client.close())

    async def answer(self, messages: Messages, schema: dict[str, Any]) -> dict[str, Any]:
        """Ask for one answer.

        Args:
            messages: Chat messages.
            schema: JSON schema of the answer.

        Returns:
            ``content`` (str or None), ``finish_reason``, ``prompt_tokens``, ``completion_tokens``, and ``seconds`` that the answer took.

        Raises:
            NoAnswerError: None came within the deadlines and tries, or the budget is used up.
            ConfigurationError: The endpoint refuses the key or does not know the address or model.
        """
        async with self._slots:
            if self._missed >= (_PATIENCE if self._answered else _FIRST_PATIENCE):
                raise NoAnswerError(UNREACHABLE, f"not asked, as {self._missed} answers in a row did not come")
            reserved = self._reserve(messages)
            try:
                answer = await self._persist(messages, schema)
            except NoAnswerError:
                self._missed += 1
                raise
            finally:
                self.tokens.reserved -= reserved
        self._missed, self._answered = 0, True
        self.tokens.spend(answer)
        return answer

    def _reserve(self, messages: Messages) -> int:
        """Set aside what an answer may cost at most, so that requests in flight cannot pass the budget together."""
        budget = self._reports.max_total_tokens
        expected = most_tokens(self._reports, prompt_estimate(messages))
        if budget and self.tokens.total + self.tokens.reserved + expected > budget:
            raise NoAnswerError(BUDGET, f"reports.max_total_tokens = {budget} leaves no room for another answer")
        self.tokens.reserved += expected
        return expected

    async def _persist(self, messages: Messages, schema: dict[str, Any]) -> dict[str, Any]:
        """Try again what may pass by itself, after the pause that the endpoint asks for."""
        for attempt in range(_TRIES):
            await asyncio.sleep(max(0.0, self._resume_at - time.monotonic()))
            try:
                return await self._ask(messages, schema)
            except Exception as error:
                fault = f"{type(error).__name__} {getattr(error, 'status_code', '')}".strip()
                pause = self._pause(error, attempt)
                if pause is None or attempt + 1 == _TRIES:
                    raise NoAnswerError(UNREACHABLE, f"{fault}, {attempt + 1} tries") from None
            logger.info("the endpoint failed (%s); trying again in %.1f s", fault, pause)
            await asyncio.sleep(pause)
        raise NoAnswerError(UNREACHABLE, "no try was left")

    def _pause(self, error: Exception, attempt: int) -> float | None:
        """Return the seconds to wait before the next try, or None where another try is of no use; raise what is no outage."""
        import openai

        if isinstance(error, NoAnswerError):
            raise error
        self._raise_misconfigured(error)
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return None
        if isinstance(error, openai.APIStatusError):
            if error.status_code not in (408, 409, 425, 429) and error.status_code < 500:
                return None
            asked = _retry_after(error.response.headers)
            if asked is not None and asked > _LONGEST_PAUSE_S:
                return None
            if asked is not None:
                # All requests of the run wait, not only the one that was told to.
                self._resume_at = max(self._resume_at, time.monotonic() + asked)
                return asked
        elif not isinstance(error, openai.APIError | ValueError):  # ValueError: the body of the reply is no JSON
            raise error
        return float(min(_BACKOFF_S * 2**attempt, _LONGEST_BACKOFF_S) * (1 - random.random() / 4))

    def _raise_misconfigured(self, error: Exception) -> None:
        """Stop the run where asking on can only fail; the endpoint's own words are left out, they may repeat the key."""
        import openai

        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            self._misconfigured = refused_key(self._reports)
        elif isinstance(error, openai.NotFoundError):
            url = self._reports.base_url
            self._misconfigured = f"reports.base_url {url} knows no model {self._reports.llm_model}; mend reports.base_url or llm_model"
        if self._misconfigured is not None:
            raise ConfigurationError(self._misconfigured) from None

    async def _ask(self, messages: Messages, schema: dict[str, Any]) -> dict[str, Any]:
        """Ask in the form the endpoint takes; the first request of a run finds out which, the others wait for it."""
        import openai

        try:
            if not self._decided:
                async with self._first:
                    if not self._decided:
                        return await self._find_form(messages, schema)
            return await self._request(messages, schema, self.form)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise NoAnswerError(REFUSED, f"status {error.status_code} however JSON is asked for") from None

    async def _find_form(self, messages: Messages, schema: dict[str, Any]) -> dict[str, Any]:
        """Try the forms in turn; one counts as refused only if a laxer one is then accepted."""
        import openai

        for form in range(len(FORMATS) - 1):
            with suppress(openai.BadRequestError, openai.UnprocessableEntityError):
                return self._decide(form, await self._request(messages, schema, form))
        return self._decide(len(FORMATS) - 1, await self._request(messages, schema, len(FORMATS) - 1))

    def _decide(self, form: int, answer: dict[str, Any]) -> dict[str, Any]:
        self.form, self._decided = form, True
        if form:
            logger.warning("the endpoint refuses response_format %s; asking with %s", FORMATS[form - 1], FORMATS[form])
        return answer

    async def _request(self, messages: Messages, schema: dict[str, Any], form: int) -> dict[str, Any]:
        """Send one request under a deadline that a dripping reply cannot stretch."""
        if self._misconfigured is not None:
            raise ConfigurationError(self._misconfigured)
        start = time.monotonic()
        async with asyncio.timeout(self._deadline_s):
            reply = await self._completions.create(**request_body(self._reports, messages, schema, FORMATS[form]))
        return plain_answer(reply, prompt_estimate(messages)) | {"seconds": round(time.monotonic() - start, 3)}


_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
_endpoints: dict[str, Endpoint] = {}


def endpoint_of(run_id: str, config: CefmConfig) -> Endpoint:
    """Return the endpoint of a run; all shards of the run in this process share it."""
    with _lock:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
            threading.Thread(target=_loops[0].run_forever, name="llm-endpoint", daemon=True).start()
        if run_id not in _endpoints:
            _endpoints[run_id] = Endpoint(config, _loops[0])
        while len(_endpoints) > _RUNS_KEPT:
            _endpoints.pop(next(iter(_endpoints))).forget()
        return _endpoints[run_id]


def refused_key(config: ReportConfig) -> str:
    """Return what is said where the endpoint refuses the key; never the key."""
    return f"reports.base_url {config.base_url} refuses the key in {config.api_key_env}; set a valid one"


def _retry_after(headers: Any) -> float | None:
    """Return the pause a reply asks for in seconds (RFC 9110, section 10.2.3: a number or a date), or None."""
    value = headers.get("retry-after")
    if value is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
