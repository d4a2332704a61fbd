"""A proxy before an S3 server that lets some requests go wrong: on the way there, on the way back, or not at all."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What may happen to a request: nothing; it is done and the answer dropped; it is lost before it is done; the server says 503; the
# answer takes long; the connection is reset in the middle of the answer; a bit of the answer's body or of the request's body flips.
FAULTS = ("", "drop_reply", "drop_request", "503", "slow", "reset", "corrupt_reply", "corrupt_request")
SLOW_S = 0.3
Choose = Callable[[str, str], str]


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to ``upstream``; ``choose`` names the fault of a request from its method and path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        host, _, port = upstream.removeprefix("http://").partition(":")
        self.upstream = (host, int(port))
        self.choose: Choose = lambda method, path: ""
        self.rng = random.Random(0)
        self.calls = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self, method: str, path: str) -> str:
        """Count a call and name what happens to it."""
        with self.lock:
            self.calls += 1
            return self.choose(method, path)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are what this is for."""


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy before ``upstream`` (``http://host:port``)."""
    proxy = FaultyProxy(upstream)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.next_fault(self.command, self.path)
        if fault == "drop_request":
            self._cut()
            return
        if fault == "503":
            self._send(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == "corrupt_request":
            body = self._with_a_flipped_bit(body)
        self._upstream.request(self.command, self.path, body, dict(self.headers.items()))
        answer = self._upstream.getresponse()
        content = answer.read()
        if fault == "drop_reply":
            self._cut()
            return
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == "corrupt_reply":
            content = self._with_a_flipped_bit(content)
        self._send(answer.status, answer.getheaders(), content, half=fault == "reset")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, half: bool = False) -> None:
        self.send_response_only(status)
        skipped = {"transfer-encoding", "connection", "content-length"}
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(content)))
        for name, value in headers:
            if name.lower() not in skipped:
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content if self.command != "HEAD" else b"")
        if half:
            self._cut()

    def _cut(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _with_a_flipped_bit(self, data: bytes) -> bytes:
        if not data:
            return data
        changed = bytearray(data)
        changed[self.server.rng.randrange(len(data))] ^= 1 << self.server.rng.randrange(8)
        return bytes(changed)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
