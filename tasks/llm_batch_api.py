"""The batch interface of an OpenAI-compatible provider: files of requests, batches of them, files of answers.

Only this module and ``tasks/llm_endpoint.py`` import ``openai``. What is asked, and what becomes of an answer, does not belong here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final, TypeVar

from cefm_core.config import CefmConfig
from cefm_core.errors import CefmError, ConfigurationError
from tasks.llm_endpoint import refused_key

T = TypeVar("T")

URL: Final = "/v1/chat/completions"
"""What every line of a file of requests asks for."""
_OVER = ("completed", "failed", "expired", "cancelled")
_FILE_NAME = "requests.jsonl"
_NO_INTERFACE = (404, 405, 501)
_PASSING = (408, 409, 425, 429)
_RETRIES = 3
_STARTS = 3
_BACKOFF_S = 2.0
_CONNECT_S = 10.0


class ProviderAwayError(CefmError):
    """The provider does not answer now; what was asked of it may be asked again."""


class _StatusError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass(frozen=True)
class BatchState:
    """How far a batch is.

    Attributes:
        status: As the provider calls it, in small letters.
        done: Requests done, well or badly.
        files: Ids of the files of answers and of errors, as far as there are any.
        codes: Codes of what is wrong with the batch as a whole.
    """

    status: str
    done: int = 0
    files: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.status in _OVER


class BatchApi:
    """The provider's batch interface; every method raises ConfigurationError where the key is refused.

    Args:
        config: Address, key and deadline.
    """

    def __init__(self, config: CefmConfig) -> None:
        from openai import OpenAI, Timeout

        self._reports = config.reports
        deadline_s = config.runtime.llm_timeout_s
        self._client = OpenAI(
            base_url=config.reports.base_url,
            api_key=os.environ.get(config.reports.api_key_env) or "none",
            timeout=Timeout(deadline_s, connect=min(_CONNECT_S, deadline_s)),
            max_retries=_RETRIES,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def upload(self, requests: IO[bytes]) -> str:
        """Send a file of requests, one a line; return its id.

        Raises:
            ConfigurationError: The provider has no batch interface.
            ProviderAwayError: It does not answer.
        """
        return self._needed(lambda: _id(self._ask(lambda: self._client.files.create(file=(_FILE_NAME, requests), purpose="batch"))))

    def start(self, file_id: str) -> str:
        """Start a batch of an uploaded file; return its id.

        Raises:
            ConfigurationError: The provider has no batch interface.
            ProviderAwayError: It does not answer.
        """
        return self._needed(lambda: self._start(file_id, False))

    def start_again(self, file_id: str) -> str | None:
        """Return the batch of a file that may or may not have been started; None where the provider does not take the file any more.

        Raises:
            ProviderAwayError: It does not answer.
        """
        try:
            return self._start(file_id, True)
        except _StatusError:
            return None

    def state(self, batch_id: str) -> BatchState | None:
        """Return how far a batch is, or None where the provider does not know it.

        Raises:
            ProviderAwayError: It does not answer.
        """
        try:
            batch = self._ask(lambda: self._client.batches.retrieve(batch_id))
        except _StatusError:
            return None
        status = getattr(batch, "status", None)
        if not isinstance(status, str):
            raise self._away("a reply without a status")
        counts = getattr(batch, "request_counts", None)
        files = (getattr(batch, name, None) for name in ("output_file_id", "error_file_id"))
        faults = getattr(getattr(batch, "errors", None), "data", None)
        return BatchState(
            status.lower(),
            sum(count for name in ("completed", "failed") if isinstance(count := getattr(counts, name, None), int)),
            tuple(each for each in files if isinstance(each, str) and each),
            tuple(sorted({code_of(getattr(fault, "code", None)) for fault in faults})) if isinstance(faults, list) else (),
        )

    def lines(self, file_id: str) -> list[bytes]:
        """Return the lines of a file of answers; none where the provider has it no more.

        Raises:
            ProviderAwayError: It does not answer.
        """
        try:
            data = self._ask(lambda: self._client.files.content(file_id).read())
        except _StatusError:
            return []
        return [line for line in data.split(b"\n") if line.strip()]

    def _start(self, file_id: str, maybe_started: bool) -> str:
        """Start a batch once: where the answer may have been lost, the batch is looked for before it is asked for again."""
        once = self._client.with_options(max_retries=0).batches
        for number in range(_STARTS):
            try:
                found = self._find(file_id) if maybe_started or number else None
                return found or _id(self._ask(lambda: once.create(input_file_id=file_id, endpoint=URL, completion_window="24h")))
            except ProviderAwayError:
                if number + 1 == _STARTS:
                    raise
            time.sleep(_BACKOFF_S * 2**number)
        raise self._away("no try was left")

    def _find(self, file_id: str) -> str | None:
        """Return the batch of a file among the latest hundred; a provider that lists none has none."""
        try:
            batches = self._ask(lambda: self._client.batches.list(limit=100).data)
        except _StatusError:
            return None
        return next((_id(batch) for batch in batches or () if getattr(batch, "input_file_id", None) == file_id), None)

    def _needed(self, call: Callable[[], T]) -> T:
        """Do a call without which there is no batch."""
        try:
            return call()
        except _StatusError as error:
            fault = "has no batch interface" if error.status in _NO_INTERFACE else "refuses the batch"
            raise ConfigurationError(
                f"reports.base_url {self._reports.base_url} {fault} (status {error.status}); set reports.batch = false"
            ) from None

    def _ask(self, call: Callable[[], T]) -> T:
        """Do a call; the provider's own words are left out of every fault, they may repeat the key."""
        import openai

        try:
            return call()
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise ConfigurationError(refused_key(self._reports)) from None
        except openai.APIStatusError as error:
            status = error.status_code
            if status in _PASSING or (status >= 500 and status not in _NO_INTERFACE):
                raise self._away(f"status {status}") from None
            raise _StatusError(status) from None
        except (openai.APIError, ValueError, AttributeError) as error:  # the last two: the reply is not what was asked for
            raise self._away(type(error).__name__) from None

    def _away(self, fault: str) -> ProviderAwayError:
        return ProviderAwayError(
            f"reports.base_url {self._reports.base_url} does not serve batches now ({fault}); run again, or set reports.batch = false"
        )


def code_of(value: Any) -> str:
    """Return a provider's code of a fault, if it looks like one: what else stands there is not for a log."""
    return value if isinstance(value, str) and re.fullmatch("[a-z_]{1,60}", value) else "unnamed"


def _id(made: Any) -> str:
    value = getattr(made, "id", None)
    if not isinstance(value, str) or not value:
        raise ProviderAwayError("the provider made something without an id; run again, or set reports.batch = false")
    return value
