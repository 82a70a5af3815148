"""Answers that break off after they have begun, and what an upstream says of our key before they do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.app import build_app
from tests.fakes.strange_upstream import StrangeUpstream, refusal, strange_upstream
from tests.integration.service.conftest import Api
from tunehook.model.job import Message, TunedModel
from tunehook.store.engine import keys

MODEL = "ft:gpt-4.1-mini-2025-04-14:acme::Abc"


@dataclass
class Line:
    """A connection to the API, spoken on byte by byte."""

    port: int
    key: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, method: str, path: str, body: object = None, accept: str = "*/*") -> None:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Accept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(60):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """All that comes until the connection is closed, which is waited for."""
        content = b""
        async with asyncio.timeout(60):
            try:
                while piece := await self.reader.read(65536):
                    content += piece
            except ConnectionResetError:
                pass
        return content


@dataclass
class Chat:
    """A deployment whose one upstream is a strange one, with a model that was tuned there."""

    upstream: StrangeUpstream
    api: Api
    port: int

    def answers(self, answer: object) -> None:
        self.upstream.answers["POST /chat/completions"] = answer

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Line(self.port, self.api.key, reader, writer)
        finally:
            writer.transport.abort()


@pytest.fixture
async def chat(api: Api) -> AsyncIterator[Chat]:
    made = TunedModel(name=MODEL, upstream="openai", base="gpt-4.1-mini-2025-04-14", job_id="ftjob-1", created_at=1)
    await api.ctx.store.redis.hset(keys.models("tests"), MODEL, made.model_dump_json())
    async with strange_upstream() as strange:
        ctx = replace(api.ctx, upstreams={"openai": strange.upstream})
        async with TestServer(build_app(ctx)) as server:
            assert server.port
            yield Chat(strange, replace(api, root=str(server.make_url("")).rstrip("/")), server.port)


def question(*, stream: bool) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Who?"}], "stream": stream}


async def test_an_answer_that_the_upstream_breaks_off_ends_the_connection_and_nothing_else(chat: Chat) -> None:
    """A second head would be read as the rest of the body, or as the answer to another's request."""

    async def _half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"half": 1}\n\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    chat.answers(_half)
    async with chat.line() as line:
        await line.ask("POST", "/v1/chat/completions", question(stream=True))
        told = await line.rest()
    assert told.startswith(b"HTTP/1.1 200 ")
    assert told.count(b"HTTP/1.") == 1
    assert b"error" not in told
    assert not told.endswith(b"0\r\n\r\n"), "it looks whole"


async def test_a_job_that_goes_while_its_events_are_followed_ends_the_stream(chat: Chat, furnished: Api) -> None:
    job_id = furnished.ids["fine_tuning_job_id"]
    redis = furnished.ctx.store.redis
    async with chat.line() as line:
        await line.ask("GET", f"/v1/fine_tuning/jobs/{job_id}/events", accept="text/event-stream")
        told = await line.until(b"data: {")
        await redis.delete(keys.job(job_id))
        await furnished.ctx.store.job_log.append(job_id, [Message(created_at=1, message="A line")])
        told += await line.until(b"\r\n0\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200 ")
    assert told.count(b"HTTP/1.") == 1
    assert b"fine_tune_not_found" not in told


async def test_an_error_before_the_answer_has_begun_is_answered_on_a_connection_that_lives_on(chat: Chat) -> None:
    async with chat.line() as line:
        for _ in range(2):
            await line.ask("POST", "/v1/chat/completions", {"model": "ft:unknown", "messages": []})
            told = await line.until(b'"model_not_found"}, "request_id": "req_')
            await line.reader.readexactly(len("0" * 24 + '"}'))
            assert told.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_upstream_says_of_our_key_in_a_chat_reaches_no_tenant(chat: Chat, *, stream: bool) -> None:
    """Their words quote a part of it; and a 401 would tell the client that its own key is wrong."""

    async def _refuse(_: web.Request) -> web.StreamResponse:
        return refusal(401, "Incorrect API key provided: sk-simul*****ated.", "invalid_api_key")

    chat.answers(_refuse)
    answer = await chat.api.call("POST", "/v1/chat/completions", json=question(stream=stream))
    assert (answer.status, answer.error["code"]) == (502, "upstream_unauthorized")
    assert b"sk-simul" not in answer.body


async def test_what_the_upstream_says_of_the_question_is_handed_on(chat: Chat) -> None:
    async def _refuse(_: web.Request) -> web.StreamResponse:
        return refusal(400, "Too many tokens.", "context_length_exceeded")

    chat.answers(_refuse)
    answer = await chat.api.call("POST", "/v1/chat/completions", json=question(stream=False))
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
