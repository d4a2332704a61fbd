"""``cefm doctor`` and ``cefm serve``: is everything in order, and let me look."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from flows.console import say
from flows.server import ensure_server, known_server, set_environment, ui_url


def doctor(store: str, source: str | None, config: CefmConfig) -> None:
    """Print what is in order, and which runs go on or wait; raise with everything that is not in order."""
    set_environment()
    from flows.preflight import check
    from tasks.context import RunContext

    with tempfile.TemporaryDirectory() as nothing:
        context = RunContext(store=store, source=source or nothing, config=config)
        for line in check(context, with_source=source is not None):
            print(f"ok  {line}")
    for line in _runs():
        print(f"    {line}")


def _runs() -> list[str]:
    """Say what goes on at the configured Prefect server, or at the one that a `cefm` of this machine has started."""
    url = known_server()
    if url is None:
        return ["runs: no Prefect server is configured or running"]
    os.environ["PREFECT_API_URL"] = url
    from flows.running import runs_under_way

    try:
        return runs_under_way() or [f"runs: none goes on or waits at {ui_url(url)}"]
    except Exception as error:  # whatever the server says: the rest was found in order
        return [f"runs: {ui_url(url)} does not answer ({type(error).__name__})"]


def serve(store: str, port: int) -> None:
    """Serve the report site of a local store and the Prefect UI, and run what is started there, until interrupted."""
    from flows.served import runs_from_the_ui
    from storage.backends import local_path, normalise_uri

    folder = local_path(normalise_uri(store))
    if folder is None or not folder.is_dir():
        raise ConfigurationError(f"store {store}: not a local folder; a remote store's pages are served by its own provider")
    # A shell that starts this in the background has SIGINT ignored; here it is how everything is ended.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with site(folder, port) as url:
        say(f"Prefect UI:  {ui_url(ensure_server())} (deployments named `...-here` run on this machine)")
        say(f"report site: {url}{_latest_page(folder)}")
        say("Ctrl-C stops them all; a run in work goes on from its finished shards when it is started again")
        with runs_from_the_ui():
            threading.Event().wait()


@contextmanager
def site(folder: Path, port: int) -> Iterator[str]:
    """Serve a folder on 127.0.0.1 and yield its URL."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise ConfigurationError(f"--port {port}: cannot be used ({error.strerror}); give another") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing: a request's path may hold an image id."""


def _latest_page(folder: Path) -> str:
    pages = sorted(folder.glob("runs/*/index.html"))
    return pages[-1].relative_to(folder).as_posix() if pages else ""
