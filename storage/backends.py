"""The object store or folder behind a URI; the one place for endpoint, addressing, encryption, time limits and retries.

Everything provider-specific comes from the provider's own environment variables: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_VIRTUAL_HOSTED_STYLE_REQUEST`` (unset: the bucket stands in the path),
``AWS_CA_BUNDLE``, and their like for Google Cloud Storage and Azure. What is read or written does not belong here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from cefm_core.errors import ConfigurationError

T = TypeVar("T")
_PAUSES_S = (0.1, 0.5, 2.0)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "GOOGLE_STORAGE_ENDPOINT")
# Any of these names a way to credentials; with none of them and an endpoint of one's own there are none to be found.
_AWS_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def normalise_uri(uri: str) -> str:
    """Return an absolute URI: a bare path becomes ``file://``, a scheme is kept.

    Raises:
        ConfigurationError: It is empty; the current folder is never taken by mistake.
    """
    if not uri.strip():
        raise ConfigurationError("a store, source or table has an empty address (a variable that is not set?); give a folder or a URI")
    if "://" in uri:
        return uri.rstrip("/")
    return "file://" + str(Path(uri).expanduser().resolve())


def local_path(uri: str) -> Path | None:
    """Return the folder behind a ``file://`` URI, or None for a remote one."""
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") else None


def object_url(store: str, key: str) -> str:
    """Return the address of an object of a store: a ``file://`` URL for a local one."""
    folder = local_path(store)
    return (folder / key).as_uri() if folder else f"{store}/{key}"


def open_remote(uri: str) -> Any:
    """Return the obstore backend of a remote URI; nothing is asked of the server yet.

    Raises:
        ConfigurationError: The URI is not understood, or an own S3 endpoint is set without credentials.
    """
    from obstore.store import from_url

    options: dict[str, Any] = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=5), "allow_http": _plain_http()}
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if uri.startswith("s3"):
        _check_credentials(uri)
    try:
        if bundle:
            options["root_certificate"] = Path(bundle).read_bytes()
        retries: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60), "backoff": {"max_backoff": timedelta(seconds=5)}}
        return from_url(uri, client_options=options, retry_config=retries)  # type: ignore[call-overload]  # one overload a provider
    except Exception as error:  # the backend raises many types; each is the same fault to the user
        raise ConfigurationError(f"{uri}: cannot be opened ({first_line(error)}); check the URI and the provider's variables") from error


def patiently(call: Callable[[], T]) -> T:
    """Do what the backend does not do again by itself when a connection breaks: conditional writes, and listings already begun."""
    from obstore.exceptions import GenericError

    for pause in _PAUSES_S:
        try:
            return call()
        except GenericError:
            time.sleep(pause)
    return call()


def first_line(error: Exception) -> str:
    """Return what a backend's error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _plain_http() -> bool:
    """Whether the configured endpoint is one without TLS; only then may anything be sent unencrypted."""
    return any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)


def _check_credentials(uri: str) -> None:
    """Stop before the provider's own servers are asked for credentials that an own endpoint cannot have there."""
    own = any(os.environ.get(name) for name in _ENDPOINTS if name.startswith("AWS"))
    if own and not any(os.environ.get(name) for name in _AWS_CREDENTIALS):
        raise ConfigurationError(f"{uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
