"""A real Ray cluster of one node gives the turns. Ray is 400 MB, so it is no part of the trainer's environment:

python3 -m venv ray-venv && ray-venv/bin/pip install 'ray[default]==2.60.0' 'setuptools<81'
PATH=$PATH:$PWD/ray-venv/bin make trainer-test
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai
import psutil
import pytest

from tests.fakes.ports import free_port
from tests.trainer.jobs import FACTS, RATES, SUPERVISED

RAY = shutil.which("ray")
TOKEN = "the-token-of-this-cluster-0123456789abcdef"
Found = TypeVar("Found")
pytestmark = pytest.mark.skipif(RAY is None, reason="Ray is not installed")


def until(look: Callable[[], Found], seconds: float = 240.0) -> Found:
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def cluster(dashboard: int) -> Iterator[str]:
    """Runs a head with one GPU, or what it takes for one; yields its dashboard's URL."""
    directory = tempfile.mkdtemp(prefix="ray-")  # its sockets have long names
    words = f"start --head --num-gpus 1 --port {free_port()} --dashboard-port {dashboard} --disable-usage-stats --block"
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    head = subprocess.Popen(
        [str(RAY), *words.split(), "--include-dashboard", "true", "--temp-dir", directory],
        env=os.environ | secret,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: head.poll() is None and submissions(f"http://127.0.0.1:{dashboard}") is not None)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()
        shutil.rmtree(directory, ignore_errors=True)


def submissions(url: str) -> dict[str, str] | None:
    """Returns the submissions that Ray knows, each with its status."""
    try:
        answer = httpx2.get(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
    except httpx2.HTTPError:
        return None
    return {row["submission_id"]: row["status"] for row in answer.json()} if answer.is_success else None


class Api:
    """`python -m trainer` as a process."""

    def __init__(self, directory: Path, base: Path, ray: str) -> None:
        row: dict[str, Any] = {"alias": "tiny", "path": str(base), "licence": "ours", "parameters": 1, "context": 2048}
        row |= {"methods": ["supervised"], "training": ["full"], "learning_rates": RATES}
        (directory / "models.json").write_text(json.dumps({"models": [row]}))
        self.directory = directory
        given = {
            "DATA_DIR": str(directory / "data"),
            "MODELS": str(directory / "models.json"),
            "PORT": str(free_port()),
            "SLOTS": "0",
            "RAY": ray,
            "RAY_TOKEN": TOKEN,
            "MIN_FREE_BYTES": "0",
        }
        self._environment = os.environ | {f"TUNEHOOK_TRAINER_{name}": value for name, value in given.items()}
        url = f"http://127.0.0.1:{given['PORT']}/v1"
        self.client = openai.OpenAI(base_url=url, api_key="k", max_retries=8)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "trainer"], env=self._environment)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def create(self, batch_size: int) -> str:
        content = "".join(json.dumps(row) + "\n" for row in SUPERVISED).encode()
        file = self.client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        method: Any = {
            "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": batch_size}},
            "type": "supervised",
        }
        return self.client.fine_tuning.jobs.create(model="tiny", training_file=file.id, method=method).id

    def status(self, job_id: str) -> str:
        return self.client.fine_tuning.jobs.retrieve(job_id).status

    def steps(self, job_id: str) -> list[int]:
        told = self.client.fine_tuning.jobs.list_events(job_id, limit=100)
        return sorted(int(event.data["step"]) for event in told if event.type == "metrics" and event.data)  # type: ignore[index]

    def at_step(self, job_id: str, step: int) -> None:
        until(lambda: max(self.steps(job_id), default=0) >= step)

    def ask(self, model: str, question: str) -> str:
        messages: Any = [{"role": "user", "content": question}]
        while True:
            with contextlib.suppress(openai.InternalServerError):
                said = self.client.chat.completions.create(model=model, messages=messages, max_tokens=40, temperature=0)
                return said.choices[0].message.content or ""


def workers(job_id: str) -> list[psutil.Process]:
    """Returns the processes that Ray runs for a job."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-2:] == ["trainer.worker", job_id]:
                found.append(process)
    return found


def test_two_jobs_for_one_gpu_of_a_cluster(base: Path, tmp_path: Path) -> None:
    with cluster(free_port()) as ray, contextlib.closing(Api(tmp_path, base, ray)) as api:
        api.start()
        jobs = api.client.fine_tuning.jobs
        first = api.create(4)
        api.at_step(first, 4)
        second = api.create(1)
        until(lambda: (submissions(ray) or {}).get(f"{second}-1") == "PENDING")
        assert (api.status(first), api.status(second)) == ("running", "queued")

        workers(first)[0].send_signal(signal.SIGKILL)
        until(lambda: f"{first}-2" in (submissions(ray) or {}))
        api.at_step(second, 1)  # its turn has come
        api.close()
        api.start()
        assert api.status(second) == "running", "Ray's processes are not the API's"
        jobs.pause(second)
        until(lambda: api.status(second) == "paused")

        api.at_step(first, 20)
        jobs.resume(second)
        until(lambda: (submissions(ray) or {}).get(f"{second}-2") == "PENDING")
        jobs.cancel(second)
        until(lambda: api.status(first) not in {"queued", "running"})
        ended = jobs.retrieve(first)
        assert (ended.status, api.steps(first)) == ("succeeded", list(range(1, 151)))
        assert [api.ask(str(ended.fine_tuned_model), question) for question, _ in FACTS] == [said for _, said in FACTS]
