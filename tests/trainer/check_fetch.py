"""Fetching a base: from a small hub of our own, once, whole, and refused where it would be trained wrongly."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves the files of a folder as the Hugging Face hub does; yields its URL, and the paths that were asked."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path.startswith(f"/api/models/acme/base/revision/{COMMIT}"):
                siblings = [{"rfilename": path.name} for path in folder.iterdir()]
                self._send(json.dumps({"id": "acme/base", "sha": COMMIT, "siblings": siblings}).encode())
            elif self.path.startswith(f"/api/models/acme/base/tree/{COMMIT}"):
                rows = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name}
                    for path in folder.iterdir()
                ]
                self._send(json.dumps(rows).encode())
            elif self.path.startswith(f"/acme/base/resolve/{COMMIT}/"):
                self._send((folder / self.path.rpartition("/")[2]).read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def fetch(tmp_path: Path, url: str, alias: str = "base") -> "subprocess.CompletedProcess[str]":
    row = {"alias": "base", "source": "acme/base", "commit": COMMIT, "licence": "mit", "parameters": 1, "context": 1}
    (tmp_path / "models.json").write_text(json.dumps({"models": [row]}))
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": url,
        "HF_HOME": str(tmp_path / "home"),
        "TUNEHOOK_TRAINER_DATA_DIR": str(tmp_path / "data"),
        "TUNEHOOK_TRAINER_MODELS": str(tmp_path / "models.json"),
    }
    tunehook = str(Path(sys.executable).with_name("tunehook"))  # `fetch` goes where the trainer's own setting says
    return subprocess.run([tunehook, "trainer", "fetch", alias], env=environment, capture_output=True, text=True)


def test_a_base_is_fetched_once_without_pickles(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "hub"
    source.mkdir()
    for path in base.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "modeling.py").write_text("evil")
    with hub(source) as (url, asked):
        fetched = fetch(tmp_path, url)
        assert fetched.returncode == 0, fetched.stderr
        first = len(asked)
        assert fetch(tmp_path, url).returncode == 0
        assert len(asked) == first
    folder = tmp_path / "data" / "bases" / "base"
    assert {path.name for path in folder.iterdir()} == {path.name for path in base.iterdir()}
    assert (folder / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_what_cannot_be_fetched_is_said(base: Path, tmp_path: Path) -> None:
    unknown = fetch(tmp_path, "http://127.0.0.1:9", "other")
    assert unknown.returncode == 1
    assert "There are: base" in unknown.stderr
    away = fetch(tmp_path, "http://127.0.0.1:9")
    assert away.returncode == 1
    assert "cannot be downloaded" in away.stderr
    assert "Traceback" not in away.stderr
