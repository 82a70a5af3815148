"""The client for vendors without an SDK: what each kind of answer, and of silence, tells of the outcome."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.serving import serving
from tests.fakes.stored import Sent
from tests.integration.upstreams.story import CONTENT, file_at, ignored
from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnauthorized, UpstreamUnknown, UpstreamUnreachable
from tunehook.security.allow_list import NOTHING, AllowList
from tunehook.upstreams.file_source import file_source
from tunehook.upstreams.plain_http import PlainHttp
from tunehook.upstreams.upload_address import own_host, put_file

ERROR = ["code", "message", "param", "type"]
HERE = AllowList.parse("127.0.0.1")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(name: str, status: int, value: object, headers: Mapping[str, str]) -> UpstreamError:
    if status == 400:
        return UpstreamRefused("no", upstream=name, status=status)
    return UpstreamUnknown(upstream=name, status=status, why=f"HTTP {status}: {value}")


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[tuple[str, list[web.Request]]]:
    asked: list[web.Request] = []

    async def _take(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _take)
    async with serving(app, shutdown_timeout=0.1) as root:
        yield root, asked


async def tried(answer: Answer, *, seconds: float = 60.0, most_bytes: int = 1000) -> tuple[object, int]:
    """Returns the answer's object or the error, and how often the server was asked."""
    async with answering(answer) as (url, asked):
        http = PlainHttp("v", url, "k", refusal, seconds=seconds, most_bytes=most_bytes)
        try:
            with nothing_blocks():
                return await http.post("/x", {"a": "\ud800"}), len(asked)
        except UpstreamError as error:
            return error, len(asked)
        finally:
            await http.close()


def text(body: str, status: int = 200, **headers: str) -> Answer:
    async def _answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=body, status=status, headers=headers)

    return _answer


async def dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def torn(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"id": ')
    assert request.transport is not None
    request.transport.abort()
    return response


async def test_an_object_is_an_answer_and_a_lone_surrogate_in_the_body_is_no_trouble() -> None:
    assert await tried(text('{"id": 1}')) == ({"id": 1}, 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (text("[]"), "not a JSON object"),
        (text("<html>"), "not a JSON object"),
        (text("[" * 100_000), "more than 1000 bytes"),
        (text('{"a": "' + "x" * 2000 + '"}'), "more than 1000 bytes"),
        (text("", 302, Location="/elsewhere"), "HTTP 302"),
        (text('{"e": 1}', 503), "HTTP 503: {'e': 1}"),
        (dripping, "none within 0.5 s"),
        (torn, "the connection broke off"),
    ],
)
async def test_no_usable_answer_leaves_the_outcome_unknown_after_one_try(answer: Answer, says: str) -> None:
    error, times = await tried(answer, seconds=0.5 if answer is dripping else 60.0)
    assert isinstance(error, UpstreamUnknown)
    assert says in error.message
    assert times == 1


@pytest.mark.parametrize("body", ["{}", "<html>", "x" * 5000])
async def test_a_refusal_is_one_whatever_its_body_is(body: str) -> None:
    error, _ = await tried(text(body, 400))
    assert type(error) is UpstreamRefused


async def test_deeply_nested_json_is_no_answer() -> None:
    error, _ = await tried(text("[" * 100_000), most_bytes=200_000)
    assert type(error) is UpstreamUnknown


async def test_without_a_connection_nothing_was_sent() -> None:
    http = PlainHttp("v", "http://127.0.0.1:9", "k", refusal)
    with pytest.raises(UpstreamUnreachable):
        await http.get("/x")
    await http.close()


async def test_a_stream_is_passed_on_as_it_comes_but_for_a_refusal_of_our_key() -> None:
    async def _stream(request: web.Request) -> web.StreamResponse:
        if request.path == "/401":
            return web.Response(status=401, text="the key k…")
        if request.path == "/503":
            return web.json_response({"code": 14, "message": "Unavailable"}, status=503)
        if request.path == "/302":
            return web.Response(status=302, headers={"Location": "/chat"})
        if request.path == "/page":
            return web.Response(text="<html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Retry-After": "3"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        return response

    async with answering(_stream) as (url, _):
        http = PlainHttp("v", url, "k", refusal)
        async with http.stream("/chat", {}) as passed:
            assert (passed.status, passed.content_type) == (200, "text/event-stream")
            assert passed.headers == {"retry-after": "3"}
            assert b"".join([chunk async for chunk in passed.chunks]) == b"data: 1\n\n"
        async with http.stream("/503", {}) as passed:
            error = json.loads(b"".join([chunk async for chunk in passed.chunks]))["error"]
            assert (passed.status, error["message"], sorted(error)) == (503, "Unavailable", ERROR)
        for path, kind in (("/401", UpstreamUnauthorized), ("/302", UpstreamUnknown), ("/page", UpstreamUnknown)):
            with pytest.raises(kind):
                async with http.stream(path, {}):
                    pass
        await http.close()


# ---- addresses that a vendor names


async def sent(url: str, path: Path, allow: AllowList, seconds: float = 60.0) -> None:
    async with file_source(Sent.of(path), ignored) as source:
        with nothing_blocks():
            await put_file("v", url, source, len(CONTENT), allow=allow, seconds=seconds)


async def test_a_file_follows_redirects_with_all_its_bytes_and_the_address_as_it_is_spelt(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def _answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if request.path == "/first":
            return web.Response(status=307, headers={"Location": "/second%2Fx?s=a%2Bb/c=="})
        return web.Response()

    async with answering(_answer) as (url, asked):
        await sent(f"{url}/first", file_at(tmp_path), HERE)
        assert bodies == [CONTENT, CONTENT]
        assert asked[1].raw_path == "/second%2Fx?s=a%2Bb/c=="
        assert all("authorization" not in request.headers for request in asked)
        assert all("transfer-encoding" not in request.headers for request in asked)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/again", "redirects in a circle"),
        ("https://10.1.2.3/", "is refused: 10.1.2.3 is in 10.0.0.0/8"),
        ("http://example.com/", "is refused: plain http"),
        ("http://[::1", "gave no answer"),
        ("", "answered HTTP 307"),
    ],
)
async def test_a_redirect_that_leads_nowhere_good_is_not_followed(tmp_path: Path, location: str, says: str) -> None:
    async with answering(text("", 307, Location=location)) as (url, _):
        with pytest.raises(UpstreamUnknown) as raised:
            await sent(f"{url}/x", file_at(tmp_path), HERE)
        assert says in raised.value.message


@pytest.mark.parametrize("url", ["https://127.0.0.1/x", "https://localhost/x", "https://[::ffff:10.0.0.1]/x"])
async def test_a_private_address_is_refused_unless_it_is_permitted(tmp_path: Path, url: str) -> None:
    with pytest.raises(UpstreamUnknown, match="is refused"):
        await sent(url, file_at(tmp_path), NOTHING)


async def test_a_place_that_takes_no_bytes_is_given_up(tmp_path: Path) -> None:
    async def _hang(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with answering(_hang) as (url, _):
        with pytest.raises(UpstreamUnknown, match="took no more bytes"):
            await sent(f"{url}/x", file_at(tmp_path), HERE, seconds=0.3)


@pytest.mark.parametrize(
    ("base_url", "holds"),
    [
        ("https://api.together.ai", False),
        ("http://127.0.0.1:8080", True),
        ("https://10.0.0.5/v1", True),
        ("http://[::1]:80", True),
        ("http://gateway:80", True),
    ],
)
def test_only_an_apis_own_private_host_is_added_to_what_may_be_sent_to(base_url: str, holds: bool) -> None:
    found = own_host(base_url)
    assert (found != NOTHING) is holds
    assert len(found.hosts) + len(found.networks) == holds


async def test_progress_tells_the_bytes_sent(tmp_path: Path) -> None:
    told: list[int] = []
    once = asyncio.Event()

    async def _progress(count: int) -> None:
        told.append(count)
        once.set()
        raise UpstreamUnknown(upstream="v", why="a report that fails")

    path = file_at(tmp_path, b"x" * 3_000_000)
    async with file_source(Sent.of(path), _progress) as source:
        sizes = [len(chunk) async for chunk in source.chunks(b"<", b">")]
        assert (sizes[0], sizes[-1], sum(sizes), source.sent) == (1, 1, 3_000_002, 3_000_000)
        await asyncio.wait_for(once.wait(), 60)
    assert told == [3_000_000]
