"""A dataset of 512 MB through the API and through a worker to an upstream: how fast, and how much memory.

    python -m benchmarks.upload [--megabytes 512] [--rounds 3]

In: the form is sent from a file by `sendfile`, to the API and to a bare aiohttp handler that writes what comes to the
same disk, in turns. Out: the real worker uploads it to an upstream that throws it away, in parts of 8 MiB; beside it
aiohttp posts the file there in one request. Growth is the highest resident size of the process that did it, above what
it had before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import aiohttp

from benchmarks.dataset_check import examples
from benchmarks.goals import figure
from benchmarks.process import descendants, forget_peak, peak_bytes, resident_bytes
from benchmarks.table import table
from benchmarks.town import HEADERS, KEY, Town, town
from tests.fakes.deployment import Program

MIB = 1024 * 1024
BOUNDARY = b"a-line-that-no-dataset-has"


@dataclass(frozen=True)
class Place:
    town: Town
    worker: Program
    streaming: str  #: the root of what it is measured beside
    streamer: Program


@contextmanager
def place(directory: Path) -> Iterator[Place]:
    streamer = Program(["benchmarks.streaming", str(directory)], {}, directory / "streaming.log")
    streamer.start()
    try:
        root = streamer.wait_for(r"listening on (http://\S+:\d+)")[1]
        with town(directory, root, workers=1) as here:
            assert here.worker
            yield Place(here, here.worker, root, streamer)
    finally:
        streamer.stop()


def write_dataset(path: Path, size: int) -> None:
    """Chat lines of 1.5 kB; the same thousand again and again, each with its number, so that none is a duplicate."""
    lines = [json.loads(line) for line in examples(1000)]
    written = number = 0
    with path.open("wb") as sink:
        while True:
            example = lines[number % 1000]
            example["messages"][0]["content"] = f"{number} {example['messages'][0]['content'].partition(' ')[2]}"
            line = json.dumps(example).encode() + b"\n"
            if written + len(line) > size:
                return
            sink.write(line)
            written += len(line)
            number += 1


def send_form(url: str, path: Path) -> tuple[float, dict[str, object]]:
    """Posts the file as a form; returns the seconds until the answer, and the answer."""
    where = urlsplit(url)
    purpose = b'--%b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n' % BOUNDARY
    file = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="train.jsonl"\r\n\r\n' % BOUNDARY
    end = b"\r\n--%b--\r\n" % BOUNDARY
    length = len(purpose) + len(file) + path.stat().st_size + len(end)
    head = (
        f"POST {where.path}{'?' + where.query if where.query else ''} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()
    begun = time.perf_counter()
    with socket.create_connection((where.hostname or "", where.port or 80)) as sender, path.open("rb") as source:
        sender.sendall(head + purpose + file)
        sender.sendfile(source)
        sender.sendall(end)
        answer = b""
        while chunk := sender.recv(65536):
            answer += chunk
    seconds = time.perf_counter() - begun
    status, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in status[:20], answer
    return seconds, json.loads(body)


class Watch:
    """The highest growth of any process below one, looked at every 10 ms: a step is a process of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._first: dict[int, int] = {}
        self._peak: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for pid in descendants(self._pid):
                try:
                    self._first.setdefault(pid, resident_bytes(pid))
                    self._peak[pid] = peak_bytes(pid)
                except (OSError, AssertionError):  # it has just ended
                    continue

    @property
    def growth(self) -> int:
        return max(self._peak[pid] - self._first[pid] for pid in self._peak)


def measure_in(here: Place, path: Path, rounds: int) -> str:
    """Prints the way in; returns the id of the file that the API made."""
    megabytes = path.stat().st_size / 1e6
    servers = {
        "bare: written to disk": (f"{here.streaming}/bare", here.streamer),
        "with its SHA-256": (f"{here.streaming}/bare?sha256=1", here.streamer),
        "and checked": (f"{here.streaming}/bare?sha256=1&check=1", here.streamer),
        "API": (f"{here.town.url}/files", here.town.service),
    }
    rates: dict[str, list[float]] = {name: [] for name in servers}
    growth = dict.fromkeys(servers, 0)
    file: dict[str, object] = {}
    for number in range(rounds):
        for name in list(servers)[:: -1 if number % 2 else 1]:
            url, program = servers[name]
            before = resident_bytes(program.pid)
            forget_peak(program.pid)
            seconds, answer = send_form(url, path)
            growth[name] = max(growth[name], peak_bytes(program.pid) - before)
            rates[name].append(megabytes / seconds)
            file = answer if name == "API" else file
    table(
        f"In: POST /v1/files, {megabytes:.0f} MB",
        [
            ["", "MB/s", "growth MiB"],
            *([name, f"{median(rates[name]):.0f}", f"{growth[name] / MIB:.0f}"] for name in servers),
        ],
    )
    for name in list(servers)[:3]:
        ratios = [ours / theirs for ours, theirs in zip(rates["API"], rates[name], strict=True)]
        print(f"ratio to {name}: {median(ratios):.2f}")
    hashed = [ours / theirs for ours, theirs in zip(rates["API"], rates["with its SHA-256"], strict=True)]
    figure("in", median(hashed), f"{median(rates['API']):.0f} beside {median(rates['with its SHA-256']):.0f} MB/s")
    figure("in-memory", growth["API"] / MIB)
    return str(file["id"])


async def post_whole(here: Place, path: Path) -> float:
    begun = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        with path.open("rb") as source:
            form = aiohttp.FormData({"purpose": "fine-tune"})
            form.add_field("file", source, filename="train.jsonl")
            async with session.post(f"{here.streaming}/v1/files", data=form) as answer:
                assert answer.status == 200, await answer.text()
    return time.perf_counter() - begun


def taken(here: Place) -> list[dict[str, float]]:
    """What the upstream has been sent completely so far: began, ended, bytes."""
    with urllib.request.urlopen(f"{here.streaming}/uploads") as answer:  # noqa: S310  (our own server)
        return [upload for upload in json.load(answer) if upload["ended"]]


def submit(here: Place, file_id: str) -> None:
    """A job that trains on it, which is what makes the worker upload it."""
    body = json.dumps({"training_file": file_id, "model": "gpt-4.1-mini-2025-04-14"}).encode()
    headers = {**HEADERS, "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{here.town.url}/fine_tuning/jobs", body, headers)).close()  # noqa: S310


def measure_out(here: Place, file_id: str, path: Path, rounds: int) -> None:
    megabytes = path.stat().st_size / 1e6
    bare = median([megabytes / asyncio.run(post_whole(here, path)) for _ in range(rounds)])
    known = len(taken(here))
    with Watch(here.worker.pid) as watch:
        submit(here, file_id)
        while len(taken(here)) == known:
            time.sleep(0.1)
    upload = taken(here)[-1]
    rate = megabytes / (upload["ended"] - upload["began"])
    table(
        f"Out: to the upstream, {megabytes:.0f} MB",
        [
            ["", "MB/s", "growth MiB"],
            ["aiohttp, one request", f"{bare:.0f}", ""],
            ["worker, parts of 8 MiB", f"{rate:.0f}", f"{watch.growth / MIB:.0f}"],
        ],
    )
    figure("out", rate / bare, f"{rate:.0f} beside {bare:.0f} MB/s")
    figure("out-memory", watch.growth / MIB)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload", description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name, place(Path(name)) as here:
        path = Path(name) / "train.jsonl"
        write_dataset(path, asked.megabytes * MIB)
        file_id = measure_in(here, path, asked.rounds)
        measure_out(here, file_id, path, asked.rounds)


if __name__ == "__main__":
    main()
