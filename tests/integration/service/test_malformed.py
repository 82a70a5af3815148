"""Garbage on the port: an error body and one line in the log, neither with a byte of the request."""

import asyncio
import json
import logging

import pytest
from aiohttp import web

from service.connections import listening
from tests.integration.service.conftest import Api

HEAD = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
UPGRADE = b"GET /livez HTTP/1.1\r\nhost: a\r\n"
POST = b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n"
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
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "no URL": (b"GET http://[::bad/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no path": (b"GET livez HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "another version": (b"GET /livez HTTP/9.9\r\nhost: a\r\n\r\n", 400),
    "a length that is none": (POST + b"content-length: 1x\r\n\r\na", 400),
    "a folded header": (HEAD + b"x: a\r\n b\r\n\r\n", 400),
    "garbage after an upgrade": (
        UPGRADE + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n\x00garbage\r\n\r\n",
        200,
    ),
}


KEY = "th_0123456789ab_" + "k3yk3y" * 7 + "k"
#: What a client may send by mistake: its key stands in each, whole or in part.
WITH_A_KEY = {
    "a carriage return": HEAD + f"authorization: Bearer {KEY}\r".encode() + b"\r\n\r\n",
    "a carriage return within": HEAD + f"authorization: Bearer {KEY}\rx".encode() + b"\r\n\r\n",
    "a bare line feed": HEAD + f"authorization: Bearer\n{KEY}".encode() + b"\r\n\r\n",
    "0x01": HEAD + f"authorization: Bearer {KEY}\x01".encode() + b"\r\n\r\n",
    "DEL": HEAD + f"authorization: Bearer {KEY}\x7f".encode() + b"\r\n\r\n",
    "NUL": HEAD + f"authorization: Bearer {KEY}\0".encode() + b"\r\n\r\n",
    "in the header's name": HEAD + f"{KEY} : x".encode() + b"\r\n\r\n",
    "without a colon": HEAD + f"Bearer {KEY}".encode() + b"\r\n\r\n",
    "too long": HEAD + f"authorization: Bearer {KEY}".encode() * 300 + b"\r\n\r\n",
    "too long a name": HEAD + KEY.encode() * 300 + b": x\r\n\r\n",
    "too long a URL": b"GET /livez?key=" + KEY.encode() * 300 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    "as the method": KEY.encode() + b" /livez HTTP/1.1\r\nhost: a\r\n\r\n",
    "as the URL": b"GET " + KEY.encode() + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    "as the host of the URL": b"GET http://[" + KEY.encode() + b"/ HTTP/1.1\r\nhost: a\r\n\r\n",
    "as the version": b"GET /livez " + KEY.encode() + b"\r\nhost: a\r\n\r\n",
    "as a length": POST + f"content-length: {KEY}".encode() + b"\r\n\r\n",
    "as a chunk": POST + b"transfer-encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\nabc\r\n0\r\n\r\n",
    "as a transfer encoding": POST + f"transfer-encoding: {KEY}".encode() + b"\r\n\r\n",
    "as an encoding": POST + f"content-encoding: {KEY}\r\ncontent-length: 2".encode() + b"\r\n\r\n{}",
    "as an expectation": POST + f"expect: {KEY}\r\ncontent-length: 2".encode() + b"\r\n\r\n{}",
    "alone": KEY.encode() + b"\r\n\r\n",
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
    with caplog.at_level(logging.DEBUG):
        answer = await answered(api.root, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(maxsplit=2)[1] == str(status).encode()
    if status == 400:
        assert b"application/json" in head
        assert json.loads(body)["error"]["code"] == "malformed_request"
    assert not any(record.exc_info or record.levelno > logging.WARNING for record in caplog.records)
    (record,) = [record for record in caplog.records if "sent a malformed request" in record.getMessage()]
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 200
    assert (await api.call("GET", "/livez")).status == 200


@pytest.mark.parametrize("kind", WITH_A_KEY)
async def test_no_part_of_a_key_is_in_the_log_or_the_answer(
    api: Api, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await answered(api.root, WITH_A_KEY[kind])
    assert answer.startswith(b"HTTP/1.")
    shown = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert not any(record.exc_info for record in shown)
    assert "k3y" not in " ".join(record.getMessage() for record in shown)
    assert b"k3y" not in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
async def test_an_encoded_body_is_415_whatever_is_in_it(api: Api, encoding: str) -> None:
    for path in ("/v1/fine_tuning/jobs", "/v1/files"):
        answer = await api.call("POST", path, data=b"abcde", headers={"content-encoding": encoding})
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/livez", "/v1/files", "/nothing"])
async def test_an_unknown_expectation_is_417_in_our_shape(api: Api, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nhost: a\r\nexpect: something-else\r\nconnection: close\r\n\r\n"
    answer = await answered(api.root, head.encode())
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "expectation_unknown"


async def test_our_own_mistakes_keep_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(request: web.Request) -> web.Response:
        raise RuntimeError("ours")

    app = web.Application()
    app.router.add_get("/", fails)
    async with listening(app, "127.0.0.1", 0, most=10) as [(host, port)]:
        answer = await answered(f"http://{host}:{port}", b"GET / HTTP/1.0\r\n\r\n")
    assert b" 500 " in answer
    (record,) = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert record.levelno == logging.ERROR
    assert record.exc_info


@pytest.mark.parametrize("boundary", ["", "; boundary=" + "a" * 400])
async def test_a_form_that_cannot_be_read_is_not_called_json(api: Api, boundary: str) -> None:
    headers = {"content-type": f"multipart/form-data{boundary}"}
    answer = await api.call("POST", "/v1/files", data=b"x", headers=headers)
    assert (answer.status, answer.error["code"]) == (400, "invalid_form")
    assert "Content-Type has no boundary" in answer.error["message"]
    assert "JSON" not in answer.error["message"]
