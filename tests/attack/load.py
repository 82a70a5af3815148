"""Clients that only wait: trickling bodies, idle streams and compressed bodies that grow. What do they cost?"""

import asyncio
import gzip
import http.client
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tests.attack.fuzz import DATASET
from tests.fakes.deployment import Deployment

STREAMS_PER_KEY = 100
MIB = 1024 * 1024
MOST_GROWN_MIB, MOST_LIVEZ_MS = 64, 100


@dataclass
class Measured:
    trickling: int
    streams: int
    bombs: list[int] = field(default_factory=list)  #: statuses
    open: int = 0  #: of the trickling and the streams, at the end
    grown_mib: float = 0.0
    livez_ms: list[float] = field(default_factory=list)

    @property
    def slowest_ms(self) -> float:
        return max(self.livez_ms)

    @property
    def p99_ms(self) -> float:
        return sorted(self.livez_ms)[int(len(self.livez_ms) * 0.99)]


async def load(town: Deployment, *, trickling: int = 500, streams: int = 2000, seconds: float = 20.0) -> Measured:
    """Holds all of it open for `seconds`, while /livez is asked 20 times a second from another thread."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * (trickling + streams))), hard))
    measured = Measured(trickling, streams)
    jobs = [await _stalled_job(town, f"load-{n}") for n in range(-(-streams // STREAMS_PER_KEY))]
    bombs = await asyncio.to_thread(_bombs)
    before = _memory(town.service.pid)
    with probed(town, measured):
        async with asyncio.TaskGroup() as group:
            opened: list[asyncio.StreamWriter] = []
            for number in range(streams):
                key, job_id = jobs[number // STREAMS_PER_KEY]
                opened.append(await _stream(town, key, job_id))
            for _ in range(trickling):
                opened.append(await _begun(town, jobs[0][0]))
            trickles = group.create_task(_trickle(opened[streams:], seconds))
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {jobs[0][0]}"}) as session:
                for path, body, headers in bombs:
                    async with session.post(town.url + path, data=body, headers=headers) as answer:
                        measured.bombs.append(answer.status)
                        await answer.read()
            await trickles
        measured.grown_mib = (_memory(town.service.pid) - before) / MIB
        measured.open = sum(not writer.transport.is_closing() for writer in opened)
    for writer in opened:
        writer.transport.abort()
    return measured


@contextmanager
def probed(town: Deployment, measured: Measured) -> Iterator[None]:
    """Asks /livez on one connection until the block ends."""
    address, ended = urlsplit(town.url).netloc, threading.Event()

    def _ask() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while not ended.wait(0.05):
            begun = time.perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            measured.livez_ms.append((time.perf_counter() - begun) * 1000)
        connection.close()

    asking = threading.Thread(target=_ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


def _bombs() -> list[tuple[str, bytes, dict[str, str]]]:
    """1 GiB of blanks in 1 MB: as a body, as a form, and as the file in a form."""
    bomb = gzip.compress(b" " * MIB) * 1024
    packed = {"content-encoding": "gzip", "content-type": "application/json"}
    form = {"content-type": "multipart/form-data; boundary=b"}
    file = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    file += (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl.gz"\r\ncontent-encoding: gzip\r\n\r\n'
    )
    return [
        ("/fine_tuning/jobs", bomb, packed),
        ("/files", bomb, {**form, "content-encoding": "gzip"}),
        ("/files", file + bomb + b"\r\n--b--\r\n", form),
        ("/datasets", file.replace(b'name="purpose"', b'name="system"') + bomb + b"\r\n--b--\r\n", form),
    ]


async def _stalled_job(town: Deployment, project: str) -> tuple[str, str]:
    key = (await town.key(project)).key
    data = aiohttp.FormData()
    data.add_field("purpose", "fine-tune")
    data.add_field("file", DATASET, filename="train.jsonl")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.post(f"{town.url}/files", data=data) as answer:
            file_id = (await answer.json())["id"]
        job = {"model": "gpt-4.1-mini-2025-04-14", "training_file": file_id, "metadata": {"simulate": "stall_queued"}}
        async with session.post(f"{town.url}/fine_tuning/jobs", json=job) as answer:
            return key, (await answer.json())["id"]


async def _stream(town: Deployment, key: str, job_id: str) -> asyncio.StreamWriter:
    """Opens one stream. A 503 (Redis has not answered within a second) is tried again, as clients do."""
    address = urlsplit(town.url)
    head = f"GET /v1/fine_tuning/jobs/{job_id}/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"
    for _ in range(10):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(f"{head}accept: text/event-stream\r\n\r\n".encode())
        answer = await reader.readline()
        if b" 200 " in answer:
            return writer
        writer.transport.abort()
        assert b" 503 " in answer, answer
        await asyncio.sleep(1)
    raise AssertionError("ten times 503")


async def _begun(town: Deployment, key: str) -> asyncio.StreamWriter:
    address = urlsplit(town.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-length: 10000000\r\n"
    writer.write(f"{head}content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())
    writer.write(b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n')
    return writer


async def _trickle(writers: list[asyncio.StreamWriter], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for writer in writers:
            if not writer.transport.is_closing():
                writer.write(b"{")
        await asyncio.sleep(1)


def _memory(pid: int) -> int:
    """Bytes that the process and its children hold."""
    children = (Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()) if pid else []
    pages = sum(int(Path(f"/proc/{one}/statm").read_text("ascii").split()[1]) for one in (str(pid), *children))
    return pages * resource.getpagesize()
