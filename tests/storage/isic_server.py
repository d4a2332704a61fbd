"""A web server on 127.0.0.1 that speaks the documented shape of the ISIC archive's API, and can misbehave."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FakeArchive:
    """``images``: id to bytes; ``faults``: path to a list of what its next answers are (a status, or ``cut``)."""

    def __init__(self, images):
        self.images = dict(images)
        self.licences = dict.fromkeys(images, "CC-0")
        self.clinical = {}
        self.faults = {}
        self.asked = Counter()
        self.agents = set()
        self.url = ""

    def entry(self, isic_id):
        clinical = {
            "sex": "female",
            "age_approx": 55,
            "diagnosis_1": "Benign",
            "diagnosis_3": "Nevus",
            "patient_id": "IP_1",
            "lesion_id": None,
        }
        return {
            "isic_id": isic_id,
            "public": True,
            "copyright_license": self.licences[isic_id],
            "attribution": "Anonymous, Hospital",
            "files": {
                "full": {"url": f"{self.url}/files/{isic_id}.jpg?signature=s3cret", "size": len(self.images[isic_id])},
                "thumbnail_256": {"url": f"{self.url}/thumbs/{isic_id}.jpg", "size": 10},
            },
            "metadata": {
                "acquisition": {"pixels_x": 90, "pixels_y": 80, "image_type": "dermoscopic"},
                "clinical": clinical | self.clinical.get(isic_id, {}),
            },
        }

    def page(self, query):
        if query.get("query") == ["nonsense:"]:
            return 400, {"message": "Invalid search query"}
        start, size = int(query.get("cursor", ["0"])[0]), 2
        ids = sorted(self.images)
        following = f"{self.url}/api/v2/images/search/?cursor={start + size}" if start + size < len(ids) else None
        return 200, {"count": len(ids), "next": following, "previous": None, "results": [self.entry(i) for i in ids[start : start + size]]}


@contextmanager
def served(archive):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            parts = urlsplit(self.path)
            archive.asked[parts.path] += 1
            archive.agents.add(self.headers["User-Agent"])
            fault = archive.faults[parts.path].pop(0) if archive.faults.get(parts.path) else None
            if isinstance(fault, int):
                return self.answer(fault, b"busy", {"Retry-After": "0.2"})
            if parts.path.startswith("/files/"):
                data = archive.images[parts.path.split("/")[-1].removesuffix(".jpg")]
                return self.answer(200, data[: len(data) // 2] if fault == "short" else data, cut=fault == "cut")
            status, body = archive.page(parse_qs(parts.query))
            return self.answer(status, json.dumps(body).encode())

        def answer(self, status, data, headers=None, cut=False):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    archive.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
