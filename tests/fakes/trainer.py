"""A trainer in the test's own loop, with its worker as a process and a training child that needs no torch."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from trainer.app import build_app
from trainer.settings import Config
from trainer.store import Store

ROOT = Path(__file__).parents[2]
BASE = "tiny"
PATIENCE = 90.0
Found = TypeVar("Found")


def prepare(directory: Path) -> Path:
    """Writes an allow-list with one base, whose weights are there; returns the list's path."""
    weights = directory / "bases" / BASE
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "config.json").write_text("{}")
    (weights / "chat_template.jinja").write_text("{% generation %}{% endgeneration %}")
    row = {
        "alias": BASE,
        "licence": "apache-2.0",
        "parameters": 360_000,
        "context": 1024,
        "methods": ["supervised", "dpo", "reinforcement"],
        "training": ["full", "lora"],
    }
    missing = {**row, "alias": "missing", "methods": ["supervised"], "training": ["lora"]}
    models = directory / "models.json"
    models.write_text(json.dumps({"models": [row, missing]}))
    return models


class Worker:
    """The worker of one slot, as a process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        settings = {
            "TUNEHOOK_TRAINER_DATA_DIR": str(self._config.data_dir),
            "TUNEHOOK_TRAINER_CHILD": "\n".join(self._config.child),
            "TUNEHOOK_TRAINER_MIN_FREE_BYTES": str(self._config.min_free_bytes),
            "REDIS_URL": self._config.redis_url,
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trainer.worker", cwd=ROOT, env={**os.environ, **settings}
        )

    async def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None


class Trainer:
    """`base_url` ends in /v1. The API may be stopped and started again on the same data."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.base_url = ""
        self.workers = [Worker(config)]
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        store = await asyncio.to_thread(Store, self.config)
        self._runner = web.AppRunner(build_app(self.config, store), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]  # kept, so that clients find it again
        self.base_url = f"http://127.0.0.1:{self._port}/v1"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def folder(self, job_id: str) -> Path:
        return self.config.data_dir / "jobs" / job_id

    def child(self, job_id: str) -> int:
        """Returns the process id of the newest training child of a job."""
        return int((self.folder(job_id) / "child.pid").read_text())


@asynccontextmanager
async def running_trainer(directory: Path, redis_url: str, **more: object) -> AsyncIterator[Trainer]:
    """`more`: members of trainer.settings.Config. Its worker is not started."""
    models = await asyncio.to_thread(prepare, directory)
    child = (sys.executable, "-m", "tests.fakes.training_child")
    config = Config.model_validate(
        {
            "data_dir": directory,
            "models": models,
            "redis_url": redis_url,
            "child": child,
            "min_free_bytes": 0,
            "sweep_seconds": 0.2,
            "serve": "none",
            **more,
        }
    )
    trainer = Trainer(config)
    try:
        await trainer.start()
        yield trainer
    finally:
        for worker in trainer.workers:
            await worker.kill()
        await trainer.stop()


async def until(look: Callable[[], Awaitable[Found]], wanted: Callable[[Found], bool]) -> Found:
    """Looks until it is as wanted. Raises AssertionError after a patience that no busy machine needs."""
    limit = time.monotonic() + PATIENCE
    while not wanted(found := await look()):
        assert time.monotonic() < limit, found
        await asyncio.sleep(0.05)
    return found
