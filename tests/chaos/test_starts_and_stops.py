"""How programs start on a Redis that may lose things, and how they end."""

import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from cli.valkey_process import connect
from tests.chaos.conftest import SECRET_KEY
from tests.neighbours.deployment import Program, simulator_process
from tests.neighbours.valkey import Valkey, valkey_server

WEAK = ("--appendonly", "no", "--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru")


def settings(valkey: Valkey, directory: Path, **changes: str) -> dict[str, str]:
    return {
        "REDIS_URL": valkey.url,
        "TUNEHOOK_PORT": "0",
        "TUNEHOOK_DATA_DIR": str(directory / "data"),
        "TUNEHOOK_SECRET_KEY": SECRET_KEY,
        "OPENAI_API_KEY": "sk-simulated",
        "TUNEHOOK_POLL_SECONDS": "1",
        **changes,
    }


@pytest.mark.parametrize("program", ["service", "worker"])
def test_a_redis_that_may_lose_jobs_stops_the_start_with_one_line(program: str, tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey", *WEAK) as valkey:
        started = Program([program], settings(valkey, tmp_path), tmp_path / "out")
        started.start()
        try:
            said = started.wait_for(r"tunehook \w+: .*\n")[0]
        finally:
            started.stop()
    for needed in ("set appendonly yes", "set appendfsync always", "set maxmemory-policy noeviction"):
        assert needed in said
    assert "TUNEHOOK_DURABILITY=relaxed" in said
    assert "Traceback" not in started.said()


def test_relaxed_starts_and_readyz_says_what_may_be_lost(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey", "--appendfsync", "everysec") as valkey:
        service = Program(["service"], settings(valkey, tmp_path, TUNEHOOK_DURABILITY="relaxed"), tmp_path / "out")
        service.start()
        try:
            root = service.wait_for(r"listening on (http://\S+)")[1]
            answer = httpx2.get(f"{root}/readyz").json()
        finally:
            service.stop()
    assert "set appendfsync always" in answer["checks"]["redis"]["message"]
    assert "could lose jobs" in service.said()


@pytest.mark.parametrize("calls", ["POST /fine_tuning/jobs"])
def test_sigterm_ends_api_and_workers_within_30_seconds_in_the_middle_of_a_call(calls: str, tmp_path: Path) -> None:
    """The upstream never answers; the step may take 25 s, and is cut off before."""
    with valkey_server(tmp_path / "valkey") as valkey, simulator_process(tmp_path, "openai") as simulator:
        method, _, path = calls.partition(" ")
        httpx2.post(f"{simulator}/simulator/faults", json={"fault": "hang", "method": method, "path": f"{path}$"})
        key = "th_stopping_" + "s" * 43
        changes = {"OPENAI_BASE_URL": f"{simulator}/v1", "TUNEHOOK_BOOTSTRAP_KEY": key}
        environment = settings(valkey, tmp_path, **changes)
        service = Program(["service"], environment, tmp_path / "service.log")
        worker = Program(["worker"], environment, tmp_path / "worker.log")
        for program in (service, worker):
            program.start()
        try:
            url = service.wait_for(r"listening on (http://\S+)")[1] + "/v1"
            _submit(url, key)
            _until_asked(simulator, method, path)
            begun = time.monotonic()
            for program in (service, worker):
                os.kill(program.pid, signal.SIGTERM)
            while not (service.ended and worker.ended):
                assert time.monotonic() - begun < 30, worker.said()[-2000:]
                time.sleep(0.1)
        finally:
            for program in (service, worker):
                program.stop()
        with connect(valkey.url) as client:
            [unsettled] = client.scan_iter(match="th:job:ftjob-*")
            assert client.zscore("th:due:steps", unsettled.decode().removeprefix("th:")) is not None


def _submit(url: str, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    rows = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 12
    sent = httpx2.post(
        f"{url}/files", headers=headers, files={"file": ("x.jsonl", rows)}, data={"purpose": "fine-tune"}
    )
    body = {"training_file": sent.json()["id"], "model": "gpt-4.1-mini-2025-04-14"}
    assert httpx2.post(f"{url}/fine_tuning/jobs", headers=headers, json=body).status_code == 200


def _until_asked(simulator: str, method: str, path: str) -> None:
    """Returns once the upstream has been asked, which it never answers."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        asked = httpx2.get(f"{simulator}/simulator/requests").json()["data"]
        if any(one["method"] == method and str(one["path"]).endswith(path) for one in asked):
            return
        time.sleep(0.05)
    raise AssertionError("it was never asked")
