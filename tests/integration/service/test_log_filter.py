"""Garbage on the port: aiohttp's 400, one line in the log, and the service goes on."""

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.log_filter import ONE_LINE
from tests.integration.service.conftest import Api

HEAD = b"GET /livez HTTP/1.1\r\nhost: a\r\n"
POST = b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
MALFORMED = {
    "no method": (b"\x00\x01garbage\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 40, 400),
    "bad method": (b"GE\x01T / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "header without a colon": (HEAD + b"bad header\r\n\r\n", 400),
    "control characters": (HEAD + b"x: \x00\x1b[2J\r\n\r\n", 400),
    "long header": (HEAD + b"x: " + b"a" * 9000 + b"\r\n\r\n", 400),
    "long line": (b"GET /livez?" + b"a" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "many headers": (HEAD + b"".join(b"x%d: 1\r\n" % n for n in range(200)) + b"\r\n", 400),
    "two lengths": (POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
    "length and chunks": (POST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "no chunk": (POST + b"transfer-encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n", 400),
    "no gzip": (POST + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nabcde", 401),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "no URL": (b"GET http://[::bad/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "garbage after an upgrade": (HEAD + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n\x00garbage\r\n\r\n", 200),
}


async def answered(root: str, sent: bytes) -> bytes:
    """All that comes until the service hangs up."""
    host, _, port = root.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("kind", MALFORMED)
async def test_malformed_http_is_a_line_and_no_traceback(api: Api, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    sent, status = MALFORMED[kind]
    with caplog.at_level(logging.DEBUG, "aiohttp.server"):
        answer = await answered(api.root, sent)
    assert answer.split(maxsplit=2)[1] == str(status).encode()
    records = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert not any(record.exc_info or record.levelno > logging.WARNING for record in records)
    (record,) = [record for record in records if "sent a malformed request" in record.getMessage()]
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 500
    assert (await api.call("GET", "/livez")).status == 200


async def test_our_own_mistakes_keep_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(request: web.Request) -> web.Response:
        raise RuntimeError("ours")

    app = web.Application()
    app.router.add_get("/", fails)
    logging.getLogger("aiohttp.server").addFilter(ONE_LINE)  # as build_app does
    async with TestServer(app) as server:
        answer = await answered(str(server.make_url("")).rstrip("/"), b"GET / HTTP/1.0\r\n\r\n")
    assert b" 500 " in answer
    (record,) = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert record.levelno == logging.ERROR
    assert record.exc_info
