"""The `tunehook` command as its users run it: processes, a terminal, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.fakes.datasets import dataset
from tests.fakes.ports import free_port

COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())"]


def _environment(directory: Path, **changes: str) -> dict[str, str]:
    foreign = ("TUNEHOOK_", "OPENAI_", "AZURE_OPENAI_", "FIREWORKS_", "NEBIUS_", "TOGETHER_", "REDIS_URL")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return mine | {"TUNEHOOK_DATA_DIR": str(directory), **changes}


def _run(directory: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=_environment(directory, **changes), capture_output=True, text=True, timeout=220
    )


class Up:
    """A `tunehook up` that runs, and what it printed."""

    def __init__(self, directory: Path, **exported: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [*COMMAND, "up"],
            env=_environment(directory, **({"TUNEHOOK_PORT": str(free_port())} | exported)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.printed = ""
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("Ctrl-C stops it"):
                break
        else:
            raise AssertionError(self.printed)

    def value(self, name: str) -> str:
        found = re.search(rf"export {name}=(\S+)", self.printed)
        assert found, self.printed
        return found[1]


#: The key that an earlier `up` had printed.
EARLIER = "th_0123456789ab_" + "s" * 43


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Started in a shell in which the lines that an earlier one had printed were run."""
    port = str(free_port())
    earlier = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": EARLIER}
    running = Up(tmp_path_factory.mktemp("up"), TUNEHOOK_PORT=port, **earlier)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(120)
    assert running.process.stdout is not None
    running.process.stdout.close()


def test_up_prints_how_to_call_it_and_that_is_right(up: Up) -> None:
    with openai.OpenAI(base_url=up.value("OPENAI_BASE_URL"), api_key=up.value("OPENAI_API_KEY")) as client:
        assert client.files.list().data == []


def test_what_an_earlier_up_printed_is_no_upstream(up: Up) -> None:
    assert "Upstream: the simulator at" in up.printed
    assert up.value("OPENAI_API_KEY") != EARLIER


def test_a_second_up_on_the_same_directory_is_refused_in_a_sentence(up: Up) -> None:
    second = _run(up.directory, "up", TUNEHOOK_PORT=str(free_port()))
    assert second.returncode == 1
    assert "in use by process" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_taken_port_is_refused_in_a_sentence(up: Up, tmp_path: Path) -> None:
    port = up.value("OPENAI_BASE_URL").rpartition(":")[2].partition("/")[0]
    second = _run(tmp_path, "up", TUNEHOOK_PORT=port)
    assert second.returncode == 1
    assert f"Port {port}" in second.stderr
    assert "TUNEHOOK_PORT" in second.stderr


def test_keys_are_made_used_listed_and_revoked(up: Up) -> None:
    made = _run(up.directory, "keys", "create", "--project", "acme", "--name", "ci")
    assert made.returncode == 0, made.stderr
    key = re.search(r"th_\w+_[\w-]{43}", made.stdout)
    assert key, made.stdout
    assert re.search(r"whsec_[A-Za-z0-9+/=]{44}", made.stdout)
    with openai.OpenAI(base_url=up.value("OPENAI_BASE_URL"), api_key=key[0], max_retries=0) as client:
        assert client.fine_tuning.jobs.list().data == []
        listed = json.loads(_run(up.directory, "keys", "list", "--json").stdout)
        mine = next(row for row in listed if row["project"] == "acme")
        assert mine["name"] == "ci"
        assert key[0][-43:] not in json.dumps(listed)
        assert _run(up.directory, "keys", "revoke", mine["id"]).returncode == 0
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            client.fine_tuning.jobs.list()


def test_revoking_what_does_not_exist_says_so(up: Up) -> None:
    answer = _run(up.directory, "keys", "revoke", "nothing")
    assert answer.returncode == 1
    assert "no key 'nothing'" in answer.stderr


def test_keys_without_a_store_say_what_to_do(tmp_path: Path) -> None:
    answer = _run(tmp_path, "keys", "list")
    assert answer.returncode == 1
    assert "REDIS_URL" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_misspelt_setting_stops_the_start_and_names_the_nearest(tmp_path: Path) -> None:
    answer = _run(tmp_path, "up", TUNEHOOK_POL_SECONDS="3")
    assert answer.returncode == 1
    assert "Did you mean TUNEHOOK_POLL_SECONDS?" in answer.stderr


def test_ctrl_c_ends_all_of_it(up: Up) -> None:
    """The last test of this `up`."""
    base_url = up.value("OPENAI_BASE_URL")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(120) == 0
    left = subprocess.run(["pgrep", "-f", str(up.directory)], capture_output=True, text=True)
    assert left.stdout == ""
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{base_url}/files", timeout=2)


def _descendants(pid: int) -> dict[int, str]:
    """Processes that it has started, and those that these have: pid → command."""
    rows = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    parents = {int(row.split()[0]): (int(row.split()[1]), " ".join(row.split()[2:])) for row in rows.splitlines()}
    found: dict[int, str] = {}
    above = {pid}
    while above:
        below = {child: command for child, (parent, command) in parents.items() if parent in above}
        found |= below
        above = set(below)
    return found


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_kill_9_of_up_leaves_nothing_running(tmp_path: Path) -> None:
    running = Up(tmp_path)
    port = running.value("OPENAI_BASE_URL").rpartition(":")[2].partition("/")[0]
    started = _descendants(running.process.pid)
    with running.process:
        running.process.kill()
    for name in ("-m service", "-m worker", "-m simulator", "valkey"):
        assert any(name in command for command in started.values()), started
    until = time.monotonic() + 180
    while left := {pid: command for pid, command in started.items() if _alive(pid)}:
        assert time.monotonic() < until, left
        time.sleep(0.1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(port)))


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    """Its own figure is a minute; on a machine that runs other tests beside it, twice that is given."""
    shown = _run(tmp_path, "demo")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("verified: fine_tuning.job.succeeded") == 2
    assert "step 624/624" in shown.stdout
    assert "Paris." in shown.stdout


def test_up_shows_a_line_for_each_job_and_webhook_and_ends_in_order_when_its_terminal_goes(tmp_path: Path) -> None:
    running = Up(tmp_path)
    assert "takes about 8 s" in running.printed
    assert running.process.stdout is not None
    with running.process:
        with openai.OpenAI(
            base_url=running.value("OPENAI_BASE_URL"), api_key=running.value("OPENAI_API_KEY")
        ) as client:
            file = client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
            job = client.fine_tuning.jobs.create(
                training_file=file.id,
                model="gpt-4.1-mini",
                extra_body={"callback_url": "http://127.0.0.1:9/"},
            )
        shown = ""
        for line in running.process.stdout:
            shown += line
            if "webhook" in line:
                break
        running.process.send_signal(signal.SIGHUP)
        assert "stopping" in running.process.stdout.read()
        assert running.process.wait(120) == 0
    assert f"job {job.id} accepted" in shown
    assert f"job {job.id} succeeded" in shown
    assert re.search(rf"webhook dlv_\w+ of job {job.id} to 127\.0\.0\.1: pending, attempt 1: ", shown)


def test_alone_it_prints_its_help_and_it_knows_its_version(tmp_path: Path) -> None:
    alone = _run(tmp_path)
    assert alone.returncode == 0
    assert "Usage: tunehook" in alone.stdout
    assert re.fullmatch(r"tunehook \d+\.\d+\.\d+\n", _run(tmp_path, "--version").stdout)
