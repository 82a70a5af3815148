"""What a server answers to a forwarded webhook: whatever it is, it becomes a report that the service takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from cli.forward import Target
from tunehook.openai_format.request_model import parse_as
from tunehook.webhooks.pull import ReportRequest


@contextmanager
def answering(headers: dict[str, str], body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(500)
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"retry-after": "9" * 101}, b"later"),
        ({"content-type": "text/plain; charset=base64"}, b"QQ=="),
        ({"content-type": "text/plain; charset=unicode_escape"}, b"\\ud800"),
        ({}, b"\xff" * 5_000),
        ({"content-encoding": "gzip"}, b"no gzip"),
    ],
)
def test_an_odd_answer_is_reported(headers: dict[str, str], body: bytes) -> None:
    with answering(headers, body) as url, Target(url) as target:
        report = target.post({}, b"{}").report()
    parse_as(ReportRequest, report)
    assert len(str(report).encode()) < 10_000
