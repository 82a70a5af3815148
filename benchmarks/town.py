"""Tunehook as it is deployed, for one measurement: API, workers, and a Valkey that writes to disk before it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.deployment import SECRET_KEY, Program
from tests.fakes.valkey import Valkey, valkey_server

#: Exists from the start, in the project `default`.
KEY = "th_benchmark_" + "s" * 43
KEY_ID = "benchmark"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Town:
    url: str  #: of the API, with /v1
    valkey: Valkey
    service: Program
    worker: Program | None

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)


@contextmanager
def town(directory: Path, upstream: str, *, workers: int, **environment: str) -> Iterator[Town]:
    """`upstream`: the root of the one that is called `openai`. Without workers, nothing is at work but the API."""
    directory.mkdir(parents=True, exist_ok=True)
    with valkey_server(directory / "valkey") as valkey:
        settings = {
            "REDIS_URL": valkey.url,
            "TUNEHOOK_DATA_DIR": str(directory / "data"),
            "TUNEHOOK_PORT": "0",
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "TUNEHOOK_BOOTSTRAP_KEY": KEY,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
            "TUNEHOOK_WORKERS": str(max(1, workers)),
            "OPENAI_API_KEY": "sk-benchmark",
            "OPENAI_BASE_URL": f"{upstream}/v1",
            **environment,
        }
        service = Program(["service"], settings, directory / "service.log")
        worker = Program(["worker"], settings, directory / "worker.log") if workers else None
        running = [service, *([worker] if worker else [])]
        try:
            for program in running:
                program.start()
            url = service.wait_for(r"listening on (http://\S+:\d+)")[1]
            if worker:
                worker.wait_for("processes: the ")
            yield Town(f"{url}/v1", valkey, service, worker)
        finally:
            for program in reversed(running):
                program.stop()
