"""What an upstream may make of the API: answers without an end, redirects, web pages, connections that fail."""

import asyncio
import ssl
import subprocess
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.fakes.stored import Sent
from tests.fakes.strange_upstream import StrangeUpstream, refusal, strange_upstream
from tunehook.errors import UpstreamError, UpstreamTooLarge, UpstreamUnknown, UpstreamUnreachable
from tunehook.model.job import JobSpec
from tunehook.settings import UpstreamSettings
from tunehook.upstreams import answers
from tunehook.upstreams.client import OpenAIUpstream
from tunehook.upstreams.protocol import Passed

MIB = 1024 * 1024
SPEC = JobSpec(model="m", training_file="file-1", seed=1)
CHAT: dict[str, Any] = {"model": "m", "messages": []}


@pytest.fixture
async def strange() -> AsyncIterator[StrangeUpstream]:
    async with strange_upstream() as running:
        yield running


async def endless(request: web.Request, *, status: int = 200, start: bytes = b"") -> web.StreamResponse:
    response = web.StreamResponse(status=status)
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(start)
    while True:
        await response.write(b" " * MIB)


async def bomb(_: web.Request) -> web.StreamResponse:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    return web.Response(body=await asyncio.to_thread(compressed_blanks), headers=headers)


@cache
def compressed_blanks() -> bytes:
    """300 MB of blanks in 1.3 MB."""
    pack = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    blanks = b" " * MIB
    return b"".join([pack.compress(blanks) for _ in range(300)]) + pack.flush()


CALLS = {
    "list": "GET /fine_tuning/jobs",
    "retrieve": "GET /fine_tuning/jobs/ftjob-1",
    "events": "GET /fine_tuning/jobs/ftjob-1/events",
    "checkpoints": "GET /fine_tuning/jobs/ftjob-1/checkpoints",
    "create": "POST /fine_tuning/jobs",
    "cancel": "POST /fine_tuning/jobs/ftjob-1/cancel",
    "models": "GET /models",
    "files": "GET /files",
    "upload": "POST /files",
    "parts": "POST /uploads",
    "part": "POST /uploads/upload_1/parts",
    "complete": "POST /uploads/upload_1/complete",
    "delete": "DELETE /files/file-1",
    "result": "GET /files/file-1/content",
    "grade": "POST /fine_tuning/alpha/graders/run",
    "chat": "POST /chat/completions",
}


async def call(upstream: OpenAIUpstream, name: str, tmp_path: Path) -> object:
    """Makes a call that is named in CALLS."""

    async def _progress(_: int) -> None: ...

    path = tmp_path / "train.jsonl"
    path.write_text("{}\n")
    calls = {
        "list": lambda: upstream.page(None),
        "retrieve": lambda: upstream.retrieve("ftjob-1"),
        "events": lambda: upstream.events("ftjob-1", None),
        "checkpoints": lambda: upstream.checkpoints("ftjob-1", after=None, limit=10),
        "create": lambda: upstream.create(SPEC, training="file-1", validation=None, tag="t"),
        "cancel": lambda: upstream.cancel("ftjob-1"),
        "models": upstream.models,
        "files": lambda: upstream.find_file("a", 1),
        "upload": lambda: upstream.upload(Sent.of(path), "a", _progress),
        "parts": lambda: upstream.begin_parts("a", 1),
        "part": lambda: upstream.add_part("upload_1", b"x"),
        "complete": lambda: upstream.end_parts("upload_1", ["part_1"]),
        "delete": lambda: upstream.delete_file("file-1"),
        "result": lambda: upstream.result("file-1"),
        "grade": lambda: upstream.grade("run", {}),
        "chat": lambda: chat(upstream),
    }
    return await calls[name]()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("answer", [endless, bomb])
@pytest.mark.parametrize("name", [name for name in CALLS if name != "chat"])
async def test_no_answer_is_read_to_an_end_that_does_not_come(
    strange: StrangeUpstream, tmp_path: Path, name: str, answer: Any
) -> None:
    strange.answers[CALLS[name]] = answer
    tracemalloc.start()
    try:
        async with asyncio.timeout(120):
            with pytest.raises(UpstreamTooLarge):
                await call(strange.upstream, name, tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * answers.FILE_BYTES


@pytest.mark.parametrize("name", ["retrieve", "create", "grade", "chat"])
async def test_an_error_without_an_end_is_not_read_either(strange: StrangeUpstream, tmp_path: Path, name: str) -> None:
    async def _endless(request: web.Request) -> web.StreamResponse:
        return await endless(request, status=500)

    strange.answers |= dict.fromkeys(CALLS.values(), _endless)
    with pytest.raises(UpstreamTooLarge):
        await call(strange.upstream, name, tmp_path)


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_pieces(strange: StrangeUpstream) -> None:
    """One project's large graders keep no other's jobs from being polled."""

    async def _page(request: web.Request) -> web.Response:
        grader = {"type": "python", "source": "x" * 1_000_000}
        method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
        rows = [{"id": f"ftjob-{n}", "status": "running", "method": method} for n in range(int(request.query["limit"]))]
        return web.json_response({"data": rows, "has_more": True})

    strange.answers["GET /fine_tuning/jobs"] = _page
    jobs, more = await strange.upstream.page(None)
    assert (len(jobs), more) == (10, True)


async def chat(upstream: OpenAIUpstream) -> tuple[Passed, bytes]:
    async with upstream.chat(CHAT) as passed:
        return passed, b"".join([chunk async for chunk in passed.chunks])


async def test_a_long_chat_is_passed_on_piece_by_piece(strange: StrangeUpstream) -> None:
    async def _long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(60):
            await response.write(b"x" * MIB)
        return response

    strange.answers["POST /chat/completions"] = _long
    tracemalloc.start()
    try:
        read = 0
        async with strange.upstream.chat(CHAT) as passed:
            async for chunk in passed.chunks:
                read += len(chunk)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 60 * MIB
    assert most < 20 * MIB


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 300])
@pytest.mark.parametrize("name", CALLS)
async def test_no_redirect_is_followed(strange: StrangeUpstream, tmp_path: Path, name: str, status: int) -> None:
    async def _elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"location": "/v1/elsewhere"})

    strange.answers |= dict.fromkeys(CALLS.values(), _elsewhere)
    strange.answers |= {"GET /elsewhere": {"id": "x", "data": []}, "POST /elsewhere": {"id": "x"}}
    with pytest.raises(UpstreamUnknown, match="redirects are not followed"):
        await call(strange.upstream, name, tmp_path)
    assert len(strange.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 502])
async def test_a_web_page_as_an_error_is_in_the_error_shape(
    strange: StrangeUpstream, tmp_path: Path, status: int
) -> None:
    async def _page(_: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>Sorry</html>", content_type="text/html")

    strange.answers |= {"POST /chat/completions": _page, CALLS["grade"]: _page}
    graded = await strange.upstream.grade("run", {})
    found = [await chat(strange.upstream), (graded, b"".join([chunk async for chunk in graded.chunks]))]
    for passed, body in found:
        assert (passed.status, passed.content_type) == (status, "application/json")
        assert f"answered {status}".encode() in body


async def test_a_web_page_as_an_answer_is_none(strange: StrangeUpstream) -> None:
    async def _page(_: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    strange.answers |= {"POST /chat/completions": _page, CALLS["grade"]: _page}
    with pytest.raises(UpstreamUnknown, match="web page"):
        await chat(strange.upstream)
    with pytest.raises(UpstreamUnknown, match="web page"):
        await strange.upstream.grade("run", {})


async def test_an_error_of_openais_shape_is_passed_on_as_it_came(strange: StrangeUpstream) -> None:
    async def _refuse(_: web.Request) -> web.Response:
        return refusal(404, "There is no such model.", "model_not_found")

    strange.answers["POST /chat/completions"] = _refuse
    passed, body = await chat(strange.upstream)
    assert passed.status == 404
    assert b"There is no such model." in body


# ---- connections that fail


async def why(base_url: str) -> UpstreamError:
    upstream = OpenAIUpstream("x", UpstreamSettings(base_url=base_url, api_key=SecretStr("sk-simulated")))
    try:
        with pytest.raises(UpstreamError) as found:
            await upstream.models()
    finally:
        await upstream.close()
    assert "127.0.0.1" not in found.value.message
    return found.value


async def serving(tls: ssl.SSLContext | None) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    key, cert = directory / "key.pem", directory / "cert.pem"
    asked = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -addext subjectAltName={name}".split()
    subprocess.run(["openssl", *asked, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_a_refused_connection_is_said_as_such() -> None:
    server, port = await serving(None)
    server.close()
    error = await why(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, UpstreamUnreachable)
    assert "the connection was refused" in error.message


async def test_a_name_that_cannot_be_resolved_is_said_as_such() -> None:
    error = await why("http://no-such-host.invalid/v1")
    assert isinstance(error, UpstreamUnreachable)
    assert "its host name cannot be resolved" in error.message


@pytest.mark.parametrize("tls", [True, False])
async def test_tls_that_fails_is_said_as_such(tmp_path: Path, tls: bool) -> None:
    """A certificate that is not trusted; a server that speaks no TLS."""
    context = await asyncio.to_thread(certificate, tmp_path, "IP:127.0.0.1") if tls else None
    server, port = await serving(context)
    error = await why(f"https://127.0.0.1:{port}/v1")
    server.close()
    if tls:
        assert isinstance(error, UpstreamUnreachable)
        assert "its TLS certificate is not accepted (self-signed certificate)" in error.message


async def test_a_connection_that_breaks_off_is_said_as_such() -> None:
    server, port = await serving(None)
    error = await why(f"http://127.0.0.1:{port}/v1")
    server.close()
    assert isinstance(error, UpstreamUnknown)
    assert "the connection broke off" in error.message
