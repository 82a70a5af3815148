"""How programs start on a Redis that may lose things, and how they end."""

import json
import os
import signal
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx2
import pytest

from cli.valkey_process import connect
from tests.fakes.deployment import Program, simulator_process
from tests.fakes.valkey import Valkey, valkey_server
from tests.integration.conftest import SECRET_KEY

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


@pytest.mark.parametrize("program", ["service", "worker"])
@pytest.mark.parametrize("how", ["wrong password", "no password", "replica"])
def test_a_redis_that_refuses_us_stops_the_start_with_one_line(program: str, how: str, tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey", port=0) as valkey:
        assert valkey.tcp_url is not None
        url = valkey.tcp_url
        with connect(valkey.url) as redis:
            if how == "replica":
                redis.replicaof("127.0.0.1", "1")
            else:
                redis.config_set("requirepass", "right")
        if how == "wrong password":
            url = url.replace("redis://", "redis://:wrong@")
        started = Program([program], settings(valkey, tmp_path, REDIS_URL=url), tmp_path / "out")
        started.start()
        try:
            said = started.wait_for(r"tunehook \w+: .*\n")[0]
        finally:
            started.stop()
    assert ("read-only replica" if how == "replica" else "password in REDIS_URL") in said
    assert started.said().count("\n") == 1


def test_a_bucket_that_cannot_be_opened_stops_the_worker_with_one_line(tmp_path: Path) -> None:
    bucket = {
        "TUNEHOOK_STORE_URL": "az://container/path",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "no-base64-canary!",
    }
    with valkey_server(tmp_path / "valkey") as valkey:
        started = Program(["worker"], settings(valkey, tmp_path, **bucket), tmp_path / "out")
        started.start()
        try:
            said = started.wait_for(r"tunehook[ .]\w+.*: .*\n")[0]
        finally:
            started.stop()
    assert "tunehook worker: TUNEHOOK_STORE_URL" in said
    assert started.said().count("\n") == 1
    assert "canary" not in started.said()


def test_a_redis_that_comes_later_is_asked_by_the_worker_as_well(tmp_path: Path) -> None:
    with ExitStack() as stack:
        valkey = stack.enter_context(valkey_server(tmp_path / "valkey", *WEAK))
        valkey.stop()
        worker = Program(["worker"], settings(valkey, tmp_path), tmp_path / "out")
        worker.start()
        stack.callback(worker.stop)
        worker.wait_for("Redis does not answer at REDIS_URL")
        valkey.start()
        assert "set appendonly yes" in worker.wait_for(r"tunehook worker: .*\n")[0]
        assert "processes: the " not in worker.said()


def test_a_worker_that_waits_for_redis_ends_when_it_is_told(tmp_path: Path) -> None:
    with ExitStack() as stack:
        valkey = stack.enter_context(valkey_server(tmp_path / "valkey"))
        valkey.stop()
        worker = Program(["worker"], settings(valkey, tmp_path), tmp_path / "out")
        worker.start()
        stack.callback(worker.stop)
        worker.wait_for("Redis does not answer at REDIS_URL")
        os.kill(worker.pid, signal.SIGTERM)
        until, ended = time.monotonic() + 180, (0, 0)
        while ended[0] == 0 and time.monotonic() < until:
            time.sleep(0.02)
            ended = os.waitpid(worker.pid, os.WNOHANG)
        assert ended == (worker.pid, 0)


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


def test_sigterm_ends_api_and_workers_within_30_seconds_in_the_middle_of_every_call(tmp_path: Path) -> None:
    """An upload and a create that the upstream never answers, a webhook that its receiver never answers, a dataset of
    which half has come: a step may take 25 s, is cut off then, and done again."""
    with ExitStack() as stack:
        valkey = stack.enter_context(valkey_server(tmp_path / "valkey"))
        simulator = stack.enter_context(simulator_process(tmp_path, "openai"))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        key = "th_stopping_" + "s" * 43
        changes = {
            "OPENAI_BASE_URL": f"{simulator}/v1",
            "TUNEHOOK_BOOTSTRAP_KEY": key,
            "TUNEHOOK_WEBHOOK_ALLOW": "127.0.0.1",
        }
        environment = settings(valkey, tmp_path, **changes)
        service = Program(["service"], environment, tmp_path / "service.log")
        worker = Program(["worker"], environment, tmp_path / "worker.log")
        for program in (service, worker):
            program.start()
            stack.callback(program.stop)
        root = service.wait_for(r"listening on (http://\S+)")[1]
        client = stack.enter_context(
            httpx2.Client(base_url=f"{root}/v1", headers={"authorization": f"Bearer {key}"}, timeout=60)
        )
        for path in ("/fine_tuning/jobs", "/files"):
            fault = {"fault": "hang", "method": "POST", "path": f"{path}$", "times": None}
            httpx2.post(f"{simulator}/simulator/faults", json=fault).raise_for_status()
            _submit(client, f"for {path}")
            _until_asked(simulator, "POST", path)
        _subscribe(client, f"http://127.0.0.1:{silent.getsockname()[1]}/hook")
        _submit(client, "told")
        stack.enter_context(closing(silent.accept()[0]))
        stack.enter_context(_half_a_dataset(root, key))
        begun = time.monotonic()
        for program in (service, worker):
            os.kill(program.pid, signal.SIGTERM)
        while not (service.ended and worker.ended):
            assert time.monotonic() - begun < 30, worker.said()[-2000:]
            time.sleep(0.1)
        with connect(valkey.url) as redis:
            unsettled = [name.decode().removeprefix("th:") for name in redis.scan_iter(match="th:job:ftjob-*")]
            assert len(unsettled) == 3
            assert all(redis.zscore("th:due:steps", member) is not None for member in unsettled)
            assert redis.zcard("th:due:bulk") >= 1
            deliveries = [name.decode().removeprefix("th:") for name in redis.scan_iter(match="th:delivery:*")]
            assert len(deliveries) >= 1
            assert all(redis.zscore("th:due:deliveries", member) is not None for member in deliveries)


def _submit(client: httpx2.Client, words: str) -> None:
    row = {"messages": [{"role": "user", "content": words}, {"role": "assistant", "content": "b"}]}
    rows = (json.dumps(row) + "\n").encode() * 12
    sent = client.post("/files", files={"file": ("x.jsonl", rows)}, data={"purpose": "fine-tune"})
    body = {"training_file": sent.json()["id"], "model": "gpt-4.1-mini-2025-04-14"}
    client.post("/fine_tuning/jobs", json=body).raise_for_status()


def _subscribe(client: httpx2.Client, url: str) -> None:
    body = {"name": "silent", "url": url, "event_types": ["fine_tuning.job.created"]}
    client.post("/webhook_endpoints", json=body).raise_for_status()


def _half_a_dataset(root: str, key: str) -> socket.socket:
    host, _, port = root.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; "
        'name="file"; filename="x.jsonl"\r\n\r\n{"messages": ['
    )
    connection.sendall(head.encode())
    return connection


def _until_asked(simulator: str, method: str, path: str) -> None:
    """Returns once the upstream has been asked, which it never answers."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        asked = httpx2.get(f"{simulator}/simulator/requests").json()["data"]
        if any(one["method"] == method and str(one["path"]).endswith(path) for one in asked):
            return
        time.sleep(0.05)
    raise AssertionError("it was never asked")
