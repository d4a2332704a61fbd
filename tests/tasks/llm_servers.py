"""Servers on 127.0.0.1 that speak the chat completions protocol: two that misbehave as told, one of them with batches; a small model."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cefm_core.config import ReportConfig
from cefm_core.reports.claims import SECTIONS
from cefm_core.reports.facts import collect_facts
from cefm_core.reports.prompt import build_messages
from cefm_core.reports.template_writer import write_report


@dataclass
class Reply:
    """What the server does with one request.

    Attributes:
        content: The message's content; None leaves it null.
        finish_reason: As given in the reply.
        status: HTTP status; anything but 200 sends an error object.
        headers: Further headers.
        extra: Further fields of the message.
        body: Sent instead of a completion, as it is.
        delay_s: Time before the reply.
        drip_s: Time between single bytes of the reply, or None.
        hang: Accept and never answer.
        cut: Close the connection without a reply.
        usage: Whether tokens are counted.
        raw: Whether ``body`` stands for bytes (Latin-1).
    """

    content: str | None = None
    finish_reason: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    body: str | None = None
    delay_s: float = 0.0
    drip_s: float | None = None
    hang: bool = False
    cut: bool = False
    usage: bool = True
    raw: bool = False


class FaultyServer:
    """Answers each request as ``script(request_body, number)`` says and remembers what it was asked.

    Attributes:
        requests: Bodies of all requests, in order of arrival.
        headers: Their headers.
        times: When they arrived, monotonic seconds.
        busiest: Most requests in flight at once.
        busy_s: Time integral of the requests in flight.
    """

    def __init__(self, script):
        self.script = script
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.times: list[float] = []
        self.busiest = self.in_flight = 0
        self.busy_s = 0.0
        self._changed = time.monotonic()
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def stop(self):
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _count(self, step):
        now = time.monotonic()
        self.busy_s += self.in_flight * (now - self._changed)
        self._changed = now
        self.in_flight += step
        self.busiest = max(self.busiest, self.in_flight)

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    number = len(server.requests)
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    server.times.append(time.monotonic())
                    server._count(1)
                try:
                    self._reply(server.script(body, number))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with server._lock:
                        server._count(-1)

            def _reply(self, reply):
                server.stopped.wait(3600 if reply.hang else reply.delay_s)
                if reply.hang or reply.cut:
                    self.close_connection = True
                    return
                data = (reply.body if reply.body is not None else json.dumps(_completion(reply))).encode(
                    "latin-1" if reply.raw else "utf-8"
                )
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                if reply.drip_s is None:
                    self.wfile.write(data)
                    return
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if server.stopped.wait(reply.drip_s):
                        return

            def log_message(self, *_):
                pass

        return Handler


class BatchServer(FaultyServer):
    """Also takes files of requests and answers them in batches; ``requests`` holds only what is asked live.

    Attributes:
        uploads: Bodies and headers of all uploads, as they were sent.
        batches: The batches, in order of creation.
        calls: ``(method, path)`` of all calls but live ones.
        hold: While true, batches stay in progress.
        ending: What a batch ends as.
        share: Share of its requests that are answered before it ends.
        fault: Called with method and path before a call; a Reply is sent in its place.
        losing: Called with method and path after a call; true cuts the connection in place of its answer.
        more: Further lines of each file of answers.
    """

    def __init__(self, script):
        self.uploads: list[bytes] = []
        self.batches: list[dict] = []
        self.calls: list[tuple[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.hold = False
        self.ending, self.share = "completed", 1.0
        self.fault = self.losing = lambda method, path: None
        self.more: list[bytes] = []
        super().__init__(script)

    def lines(self, number=0):
        """Return the requests of an upload."""
        return [json.loads(line) for line in self.files[self.batches[number]["input_file_id"]].splitlines()]

    def _create(self, asked):
        batch = {"id": f"batch_{len(self.batches)}", "object": "batch", "endpoint": asked["endpoint"], "status": "validating"}
        batch |= {"input_file_id": asked["input_file_id"], "completion_window": asked["completion_window"], "created_at": 1}
        total = len(self.files[batch["input_file_id"]].splitlines())
        self.batches.append(batch | {"request_counts": {"total": total, "completed": 0, "failed": 0}})
        return self.batches[-1]

    def _look(self, batch):
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress" if self.hold or batch["status"] == "validating" else self.ending
            if batch["status"] == self.ending:
                self._finish(batch)
        return batch

    def _finish(self, batch):
        requests = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        good, bad = [], []
        for number, request in enumerate(requests):
            entry = {"id": f"r{number}", "custom_id": request["custom_id"], "response": None, "error": None}
            if number >= self.share * len(requests):
                bad.append(entry | {"error": {"code": "batch_expired", "message": "too late"}})
                continue
            reply = self.script(request["body"], number)
            entry["response"] = {"status_code": reply.status, "request_id": "1", "body": _completion(reply)}
            (good if reply.status == 200 else bad).append(entry)
        good.reverse()  # the order of answers is not that of requests
        if self.ending == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "no"}]}
            return
        for name, lines in (("output", [*map(_line, good), *self.more]), ("error", list(map(_line, bad)))):
            if lines:
                batch[f"{name}_file_id"] = f"{name}_{batch['id']}"
                self.files[batch[f"{name}_file_id"]] = b"\n".join(lines) + b"\n"
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}

    def answer(self, method, path, body, headers):
        """Do a call on files or batches; return what is sent, or None where there is no such thing."""
        kind, *rest = path.removeprefix("/v1/").split("?")[0].split("/")
        if kind == "files" and method == "POST":
            parts = message_from_bytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body).get_payload()
            self.uploads.append(str(headers).encode() + body)
            name = f"file_{len(self.uploads)}"
            self.files[name] = next(part.get_payload(decode=True) for part in parts if part.get_filename())
            return {"id": name, "object": "file", "purpose": "batch", "filename": "f", "bytes": 1, "created_at": 1, "status": "processed"}
        if kind == "files":
            return self.files.get(rest[0])
        if not rest:
            return self._create(json.loads(body)) if method == "POST" else {"object": "list", "data": self.batches[::-1], "has_more": False}
        found = [batch for batch in self.batches if batch["id"] == rest[0]]
        return self._look(found[0]) if found else None

    def _handler(server):
        class Handler(FaultyServer._handler(server)):
            def do_POST(self):
                if self.path.endswith("/chat/completions"):
                    super().do_POST()
                else:
                    self._call("POST", self.rfile.read(int(self.headers["content-length"])))

            def do_GET(self):
                self._call("GET", b"")

            def _call(self, method, body):
                with server._lock:
                    server.calls.append((method, self.path))
                    reply = server.fault(method, self.path)
                    if reply is None:
                        found = server.answer(method, self.path, body, self.headers)
                        text = found.decode("latin-1") if isinstance(found, bytes) else json.dumps(found)
                        reply = Reply("none", status=404) if found is None else Reply(body=text, raw=isinstance(found, bytes))
                        reply.cut = bool(server.losing(method, self.path))
                self._reply(reply)

        return Handler


def _line(entry):
    return json.dumps(entry).encode()


def _completion(reply):
    if reply.status != 200:
        return {"error": {"message": reply.content or "no", "type": "error", "code": None}}
    choice = {
        "index": 0,
        "finish_reason": reply.finish_reason,
        "message": {"role": "assistant", "content": reply.content, **reply.extra},
    }
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return completion | ({"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}} if reply.usage else {})


def abc_row():
    """Return a row of ``abc_features`` with two brown colours."""
    row = {"reason": None, "flags": [], "asymmetry_score": 0.6, "asymmetry_level": 2, "border_score": 2.0, "border_level": 2}
    row |= {"colour_count": 2, "colour_level": 2, "structure_reason": "structure_not_measured", "tds_reason": "structure_not_measured"}
    for name in ("white", "red", "light_brown", "dark_brown", "blue_gray", "black"):
        row |= {f"colour_{name}": name.endswith("brown"), f"colour_{name}_share": 0.5 * name.endswith("brown")}
    return row


def prediction_row(probability):
    return {"split": "test", "p_melanoma": probability, "abstain": False, "abstain_reasons": []}


def ledger_of(image_id, probability=0.12):
    """Return a small ledger; the probability tells ledgers apart where the image's name must not."""
    return collect_facts(image_id, abc=abc_row(), prediction=prediction_row(probability), quality={"flags": []})


def content_of(ledger):
    """Return a correct answer: the template's claims, as a model would send them."""
    sections = {name: [] for name in SECTIONS}
    for claim in write_report(ledger).claims:
        sections[claim.section].append({"text": claim.text, "facts": list(claim.facts)})
    return json.dumps(sections)


class Oracle:
    """Finds the ledger a request is about by its user message, and gives the correct answer."""

    def __init__(self, ledgers):
        self._by_message = {build_messages(ledger, ReportConfig())[1]["content"]: ledger for ledger in ledgers}

    def ledger(self, body):
        message = body["messages"][1]["content"].split("\n\nAn earlier answer was refused")[0]
        return self._by_message[message]

    def content(self, body):
        return content_of(self.ledger(body))

    def __call__(self, body, number):
        return Reply(self.content(body))


@contextmanager
def small_model(model_path, slots=1):
    """Serve a GGUF model with llama.cpp's own server on a free port of 127.0.0.1; yields the base URL."""
    import socket

    import xllamacpp

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 4096 * slots
    params.n_parallel = slots
    params.warmup = False
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = 1  # two spin for each other where cores are short
    server = xllamacpp.Server(params)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        del server
