"""A client of the ISIC archive's public API, version 2: lists images page by page and reads their bytes, politely.

The archive states each file's size but no digest; what was read is therefore held against the size and against the file's own
end, and its digest is kept by the caller. What is written where belongs to ``storage/isic_folder.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cefm_core import __version__
from cefm_core.errors import BadItemError, CefmError, ConfigurationError

API_URL = "https://api.isic-archive.com/api/v2"
_PAGE = 100
_ATTEMPTS = 5
_LONGEST_WAIT_S = 60.0
# What may pass by itself: too many requests, and a server that is overloaded or restarting.
_PASSING = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class ArchiveImage:
    """One image as the archive lists it.

    Attributes:
        isic_id: Its name, e.g. ``ISIC_0000000``.
        url: Where its bytes are; such an address is signed and holds for a short time only.
        size_bytes: Size that the archive states.
        licence: Licence, e.g. ``CC-0``, ``CC-BY``, ``CC-BY-NC``.
        attribution: Whom to credit.
        fields: Acquisition and clinical metadata by the archive's own names.
    """

    isic_id: str
    url: str
    size_bytes: int
    licence: str
    attribution: str
    fields: Mapping[str, Any]


class IsicArchive:
    """The archive behind one address; every request waits its turn, and one that was refused for load waits as long as it is told."""

    def __init__(self, api_url: str = API_URL, *, pause_s: float = 0.1, first_wait_s: float = 1.0, timeout_s: float = 60.0) -> None:
        import httpx

        self._api = api_url.rstrip("/")
        self._pause, self._first_wait = pause_s, first_wait_s
        agent = f"cefm/{__version__} (research; reads each image once)"
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=True, headers={"User-Agent": agent})

    def images(self, query: str = "", collections: Sequence[int] = ()) -> Iterator[ArchiveImage]:
        """Yield every image that the archive finds, in its order.

        Args:
            query: The archive's search language, e.g. ``diagnosis_3:"Nevus" AND sex:male``.
            collections: Numbers of collections; an image of any of them is found.

        Raises:
            ConfigurationError: The archive does not understand the query.
            CefmError: It does not answer, or answers with something else than a list of images.
        """
        import httpx

        parameters = {"query": query, "collections": ",".join(map(str, collections)), "limit": str(_PAGE)}
        following: str | None = str(httpx.URL(f"{self._api}/images/search/", params={k: v for k, v in parameters.items() if v}))
        seen: set[str] = set()
        while following and following not in seen:
            if urlsplit(following)[:2] != urlsplit(self._api)[:2]:
                raise CefmError(f"ISIC archive {self._api}: its next page lies on another server ({urlsplit(following).netloc})")
            seen.add(following)
            page = self._page(following)
            yield from map(_image, page["results"])
            following = page.get("next")

    def read(self, image: ArchiveImage) -> bytes:
        """Return the bytes of an image, as many as the archive states.

        Raises:
            BadItemError: ``unreadable``: it cannot be had after several attempts; ``truncated``: its bytes are not all there.
        """
        if urlsplit(image.url).scheme not in ("http", "https"):
            raise BadItemError("unreadable", f"{image.isic_id}: the archive gives no web address for it")
        try:
            data = self._get(image.url).content
        except CefmError as error:
            raise BadItemError("unreadable", f"{image.isic_id}: {error}") from error
        if len(data) != image.size_bytes:
            raise BadItemError("truncated", f"{image.isic_id}: {len(data)} bytes came, the archive states {image.size_bytes}; fetch again")
        return data

    def _page(self, url: str) -> dict[str, Any]:
        answer = self._get(url)
        if answer.status_code == 400:
            raise ConfigurationError(f"ISIC archive: the query is not understood ({answer.text[:200]}); mend --query or --collection")
        try:
            page = answer.json()
            if not isinstance(page["results"], list):
                raise TypeError("results is no list")
        except (ValueError, KeyError, TypeError) as error:
            raise CefmError(f"ISIC archive {self._api}: the answer is no page of images ({error})") from error
        return page

    def _get(self, url: str) -> Any:
        """Ask for one address, several times where that may help; a 400 is an answer, any other refusal an error."""
        import httpx

        said = "no answer"
        for attempt in range(_ATTEMPTS):
            time.sleep(self._pause)
            wait = self._first_wait * 2**attempt
            try:
                answer = self._client.get(url)
            except httpx.TransportError as error:
                said = type(error).__name__
            else:
                if answer.status_code == 400 or answer.is_success:
                    return answer
                said = f"status {answer.status_code}"
                if answer.status_code not in _PASSING:
                    break
                wait = max(wait, _asked_to_wait(answer.headers.get("Retry-After")))
            if attempt + 1 < _ATTEMPTS:
                time.sleep(min(wait, _LONGEST_WAIT_S))
        place = urlsplit(url)  # without the query, which may hold a signature
        raise CefmError(f"{place.scheme}://{place.netloc}{place.path}: {said}")


def _asked_to_wait(header: str | None) -> float:
    try:
        return float(header or 0)
    except ValueError:  # a date; the growing waits reach it
        return 0.0


def _image(entry: Mapping[str, Any]) -> ArchiveImage:
    try:
        full = entry["files"]["full"]
        metadata = entry.get("metadata") or {}
        fields = {**metadata.get("acquisition", {}), **metadata.get("clinical", {})}
        return ArchiveImage(
            entry["isic_id"], full["url"], int(full["size"]), entry.get("copyright_license") or "", entry.get("attribution") or "", fields
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CefmError(f"ISIC archive: an entry has not the documented shape ({error!r})") from error
