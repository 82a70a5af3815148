"""`tunehook watch` follows one stream, and goes on after a cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from cli.main import main
from tests.unit.cli.test_terminal import KEY

JOB = "ftjob-1"


def job(status: str, revision: int) -> dict[str, object]:
    ours = {"revision": revision, "upload": None, "waiting": None, "cancel_requested_at": None, "cost": None}
    return {
        "id": JOB, "status": status, "error": None, "estimated_finish": None, "model": "m", "fine_tuned_model": None,
        "created_at": 0, "tunehook": ours | {"estimate": None, "upstream": "openai"},
    }  # fmt: skip


@contextmanager
def serving(last: str) -> Iterator[tuple[str, list[str]]]:
    """A Tunehook whose first stream breaks off, and whose second tells of the end; yields URL and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/v1").partition("?")[0]
            asked.append(f"{path} {self.headers.get('last-event-id') or ''}".strip())
            if path == "/events":
                self._stream("/events" in asked and asked.count("/events 1-0;ftjob-1=1-0") > 0)
                return
            done = job(last, 2) if "/events 1-0;ftjob-1=1-0" in asked else job("running", 1)
            answers: dict[str, object] = {f"/fine_tuning/jobs/{JOB}": done}
            answers[f"/fine_tuning/jobs/{JOB}/metrics"] = {"columns": {"step": [1], "train_loss": [0.5]}}
            body = json.dumps(answers.get(path, {"data": []})).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, resumed: bool) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", "99999")
            self.end_headers()
            rows = [("ready", {}), ("job", job(last, 2))] if resumed else [("ready", {})]
            for kind, data in rows:
                self.wfile.write(f"id: 1-0;ftjob-1=1-0\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize(("last", "ends"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_a_watch_goes_on_where_its_stream_was_cut(last: str, ends: int, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(last) as (url, asked):
        assert main(["watch", JOB, "--url", url, "--key", KEY]) == ends
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{JOB}\t{last}\t")
    assert "Asking again." in shown.err
    assert [one for one in asked if one.startswith("/events")] == ["/events", "/events 1-0;ftjob-1=1-0"]
    jobs = asked.count(f"/fine_tuning/jobs/{JOB}")
    assert jobs <= 4, asked  # at the beginning, after each `ready`, and at the end: not each second
