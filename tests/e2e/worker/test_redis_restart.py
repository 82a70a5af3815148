"""A Redis that restarts or fills up with jobs under way: a line when it goes, a line when it is back, no more."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from cli.valkey_process import connect
from tests.fakes.deployment import Program, simulator_process
from tests.fakes.valkey import Valkey, valkey_server
from tests.integration.conftest import SECRET_KEY

KEY = "th_restarts_" + "s" * 43
JOBS = 3


class Stack:
    def __init__(self, valkey: Valkey, worker: Program, client: httpx2.Client) -> None:
        self.valkey, self.worker, self.client = valkey, worker, client
        self._submitted = self._lines = 0

    def submit(self) -> None:
        self._submitted += JOBS
        for number in range(JOBS):
            row = {"messages": [{"role": "user", "content": f"{time.time()} {number}"}]}
            row["messages"].append({"role": "assistant", "content": "b"})
            rows = (json.dumps(row) + "\n").encode() * 12
            sent = self.client.post("/files", files={"file": ("x.jsonl", rows)}, data={"purpose": "fine-tune"})
            body = {"training_file": sent.json()["id"], "model": "gpt-4.1-mini-2025-04-14"}
            self.client.post("/fine_tuning/jobs", json=body).raise_for_status()

    def until_all_succeed(self) -> None:
        until, found = time.monotonic() + 150, []
        while time.monotonic() < until:
            found = [job["status"] for job in self.client.get("/fine_tuning/jobs?limit=100").json()["data"]]
            if found == ["succeeded"] * self._submitted:
                return
            time.sleep(0.5)
        raise AssertionError(f"{found}\n{self.worker.said()[-3000:]}")

    @contextmanager
    def noticed(self, what: str = "away") -> Iterator[None]:
        """Leaves its block once the worker has said that Redis is away, or back."""
        before = self._said(what)
        yield
        until = time.monotonic() + 120
        while self._said(what) == before:
            assert time.monotonic() < until, self.worker.said()[-3000:]
            time.sleep(0.05)

    def _said(self, what: str) -> int:
        return self.worker.said().count(f"Redis is {what}")

    def irregular(self) -> list[str]:
        """The worker's new lines but those of its start and of jobs that end."""
        lines = self.worker.said().splitlines()[self._lines :]
        self._lines += len(lines)
        return [
            line for line in lines if not re.search(r"processes: the scheduler|job ftjob-|tunehook\.\w+\.\w+", line)
        ]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    tmp_path = tmp_path_factory.mktemp("stack")
    with ExitStack() as opened:
        valkey = opened.enter_context(valkey_server(tmp_path / "valkey", port=0))
        assert valkey.tcp_url is not None
        simulator = opened.enter_context(simulator_process(tmp_path, "openai", "--speed", "400"))
        environment = {
            "REDIS_URL": valkey.tcp_url,
            "TUNEHOOK_PORT": "0",
            "TUNEHOOK_DATA_DIR": str(tmp_path / "data"),
            "TUNEHOOK_SECRET_KEY": SECRET_KEY,
            "OPENAI_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": f"{simulator}/v1",
            "TUNEHOOK_BOOTSTRAP_KEY": KEY,
            "TUNEHOOK_POLL_SECONDS": "1",
        }
        service = Program(["service"], environment, tmp_path / "service.log", forked=True)
        worker = Program(["worker"], environment, tmp_path / "worker.log", forked=True)
        for program in (service, worker):
            program.start()
            opened.callback(program.stop)
        root = service.wait_for(r"listening on (http://\S+)")[1]
        worker.wait_for("processes: the scheduler")
        headers = {"authorization": f"Bearer {KEY}"}
        client = opened.enter_context(httpx2.Client(base_url=f"{root}/v1", headers=headers, timeout=60))
        yield Stack(valkey, worker, client)


def _went_and_came(lines: list[str], times: int) -> None:
    assert len(lines) == 2 * times, "\n".join(lines)
    for went, came in zip(lines[::2], lines[1::2], strict=True):
        assert "Redis is away" in went
        assert "Redis is back" in came


def test_restarts_with_jobs_under_way_leave_two_lines_each(stack: Stack) -> None:
    for number in range(3):
        stack.submit()
        time.sleep(0.3 * number)  # in the middle of another step each time
        with stack.noticed():
            stack.valkey.stop()
            time.sleep(1.5)  # the workers notice it as well
        with stack.noticed("back"):
            stack.valkey.start()
    stack.until_all_succeed()
    _went_and_came(stack.irregular(), 3)
    with connect(stack.valkey.url) as redis:
        assert [redis.zcard(f"rq:failed:{queue}") for queue in ("steps", "bulk", "deliver")] == [0, 0, 0]


def test_a_full_redis_leaves_two_lines(stack: Stack) -> None:
    stack.submit()
    with connect(stack.valkey.url) as redis:
        with stack.noticed():
            redis.config_set("maxmemory", "1mb")
        with stack.noticed("back"):
            redis.config_set("maxmemory", "0")
    stack.until_all_succeed()
    _went_and_came(stack.irregular(), 1)
