"""Forms that no SDK sends."""

import asyncio
import io
import re
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.fakes.stored import data_dir
from tests.integration.service.conftest import DATASET, Api, form

#: pytest makes errors of warnings; in the service they are off.
pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
BOUNDARY = "frontier"


def part(headers: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"


def field(name: str, content: bytes, headers: str = "") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"{headers}', content)


PURPOSE = field("purpose", b"fine-tune")
FILE = part('Content-Disposition: form-data; name="file"; filename="a.jsonl"', DATASET)
END = f"--{BOUNDARY}--\r\n".encode()
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
FORMS: dict[str, tuple[str, bytes]] = {
    "nothing": (MULTIPART, b""),
    "no boundary": ("multipart/form-data", PURPOSE + FILE + END),
    "another boundary": ("multipart/form-data; boundary=other", PURPOSE + FILE + END),
    "an empty boundary": ("multipart/form-data; boundary=", PURPOSE + FILE + END),
    "a boundary of 100 characters": ("multipart/form-data; boundary=" + "b" * 100, PURPOSE + FILE + END),
    "only the end": (MULTIPART, END),
    "a header of 1 MB": (
        MULTIPART,
        part('Content-Disposition: form-data; name="file"; filename="' + "a" * 1_000_000 + '"', DATASET) + END,
    ),
    "10,000 headers": (MULTIPART, field("file", b"x", "\r\nX-A: b" * 10_000) + END),
    "a header that is none": (MULTIPART, part("nonsense", DATASET) + END),
    "no name": (MULTIPART, part("Content-Disposition: form-data", DATASET) + END),
    "two files": (MULTIPART, PURPOSE + FILE + FILE + END),
    "purpose twice": (MULTIPART, PURPOSE + PURPOSE + FILE + END),
    "purpose 20,000 times": (MULTIPART, PURPOSE * 20_000 + END),
    "20,000 unnamed parts": (MULTIPART, part("X: y", b"x") * 20_000 + END),
    "20,000 empty parts": (MULTIPART, field("file", b"") * 20_000 + END),
    "a megabyte of blank lines before it": (MULTIPART, b"\n" * 1_000_000 + PURPOSE + FILE + END),
    "20,000 character sets": (MULTIPART, field("_charset_", b"utf-8") * 20_000 + END),
    "a disposition of semicolons": (
        MULTIPART,
        part("Content-Disposition: form-data" + ";" * 4000, b"x") * 50 + PURPOSE + FILE + END,
    ),
    "an unknown field": (MULTIPART, PURPOSE + FILE + field("surprise", b"1") + END),
    "a file within a file": (
        MULTIPART,
        PURPOSE + field("file", b"--x--", "\r\nContent-Type: multipart/mixed; boundary=x") + END,
    ),
    "cut off within the file": (MULTIPART, PURPOSE + FILE[:200]),
    "cut off within a header": (MULTIPART, PURPOSE + FILE[:20]),
    "no purpose": (MULTIPART, FILE + END),
    "no file": (MULTIPART, PURPOSE + END),
    "an empty file": (MULTIPART, PURPOSE + field("file", b"", '; filename="a"') + END),
    "another purpose": (MULTIPART, field("purpose", b"assistants") + FILE + END),
    "a purpose of 1 MB": (MULTIPART, field("purpose", b"a" * 1_000_000) + FILE + END),
    "a purpose that is not UTF-8": (MULTIPART, field("purpose", b"\xff") + FILE + END),
    "no form": ("application/json", b'{"purpose": "fine-tune"}'),
    "another form": ("application/x-www-form-urlencoded", b"purpose=fine-tune"),
    "no type": ("", PURPOSE + FILE + END),
}


async def nothing_is_left(api: Api) -> None:
    assert (await api.call("GET", "/v1/files")).json["data"] == []
    directory = data_dir(api.ctx.files.storage) / "files"
    assert await asyncio.to_thread(lambda: [path.name for path in directory.glob("*")]) == []


@pytest.mark.parametrize("kind", FORMS)
async def test_a_form_that_is_wrong_is_refused_and_leaves_nothing(api: Api, kind: str) -> None:
    content_type, body = FORMS[kind]
    answer = await api.call("POST", "/v1/files", data=io.BytesIO(body), headers={"content-type": content_type})
    assert 400 <= answer.status < 500, answer
    assert answer.error["message"]
    await nothing_is_left(api)


@pytest.mark.parametrize(
    "encoding", ["Content-Transfer-Encoding: base64", "Content-Encoding: gzip", "Content-Encoding: x"]
)
async def test_a_parts_own_encoding_is_not_undone(api: Api, encoding: str) -> None:
    """So a small body cannot fill the disk; what is no dataset then is said by the file's status."""
    sent = part(f'Content-Disposition: form-data; name="file"\r\n{encoding}', b"\x1f\x8bnonsense")
    answer = await api.call("POST", "/v1/files", data=PURPOSE + sent + END, headers={"content-type": MULTIPART})
    assert (answer.status, answer.json["bytes"], answer.json["status"]) == (200, 10, "error")
    assert answer.json["status_details"]


async def test_a_compressed_form_is_refused(api: Api) -> None:
    answer = await api.call(
        "POST", "/v1/files", data=PURPOSE + FILE + END, headers={"content-type": MULTIPART, "content-encoding": "gzip"}
    )
    assert answer.status in (400, 415)
    await nothing_is_left(api)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\train.jsonl", "train.jsonl"),
        ("a" * 500 + ".jsonl", "a" * 255),
        ("\u202etrain.jsonl", "train.jsonl"),
        ("день.jsonl", "день.jsonl"),
    ],
)
async def test_a_files_name_is_shown_and_never_a_path(api: Api, name: str, kept: str) -> None:
    sent = part(f'Content-Disposition: form-data; name="file"; filename="{name}"'.replace("\\", "\\\\"), DATASET)
    answer = await api.call("POST", "/v1/files", data=PURPOSE + sent + END, headers={"content-type": MULTIPART})
    assert answer.status == 200, answer.body
    assert answer.json["filename"] == kept
    folder = data_dir(api.ctx.files.storage) / "files"
    there = await asyncio.to_thread(lambda: {path.name for path in folder.iterdir()})
    assert answer.json["id"] in there


async def test_fields_may_come_after_the_file(api: Api) -> None:
    answer = await api.call("POST", "/v1/files", data=FILE + PURPOSE + END, headers={"content-type": MULTIPART})
    assert answer.status == 200, answer.body
    content = await api.call("GET", f"/v1/files/{answer.json['id']}/content")
    assert content.body == DATASET


async def test_a_sender_that_goes_away_leaves_nothing(api: Api) -> None:
    address = urlsplit(api.root)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\nContent-Type: {MULTIPART}\r\n"
        "Content-Length: 100000\r\n\r\n".encode()
        + PURPOSE
        + FILE[:300]
    )
    await writer.drain()
    await until(lambda: any((data_dir(api.ctx.files.storage) / "files").glob(".incoming*")))
    writer.close()
    await until(lambda: not any((data_dir(api.ctx.files.storage) / "files").glob("*")))
    assert await reader.read() == b""
    await nothing_is_left(api)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(reached):  # noqa: ASYNC110  nobody tells of files
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_refused_before_it_reaches_anybody(api: Api, sent: bytes) -> None:
    address = urlsplit(api.root)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    writer.write_eof()
    answer = b""
    async with asyncio.timeout(60):
        with suppress(ConnectionResetError):  # it need not be read to its end
            answer = await reader.read()
    writer.close()
    status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    assert status is None or 400 <= int(status[1]) < 500, answer[:300]
    assert b"Traceback" not in answer
    assert (await api.call("GET", "/livez")).status == 200


async def test_a_good_form_is_taken(api: Api) -> None:
    """So that the refusals above are not of everything."""
    answer = await api.call("POST", "/v1/files", data=form(DATASET))
    assert (answer.status, answer.json["bytes"]) == (200, len(DATASET))


@pytest.mark.parametrize("kind", [kind for kind in FORMS if "," in kind or "megabyte" in kind or "semicolons" in kind])
async def test_no_form_takes_the_event_loop(api: Api, kind: str) -> None:
    """The clock is the process' own CPU time between two turns of the loop, so a busy machine does not matter."""
    content_type, body = FORMS[kind]
    longest, ended = 0.0, False

    async def _watch() -> None:
        nonlocal longest
        while not ended:
            begun = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - begun)

    watching = asyncio.create_task(_watch())
    paths, headers = ("/v1/files", "/v1/datasets"), {"content-type": content_type}
    await asyncio.gather(*(api.call("POST", path, data=io.BytesIO(body), headers=headers) for path in paths))
    ended = True
    await watching
    assert longest < 0.1


async def test_a_short_preamble_is_passed_over(api: Api) -> None:
    body = b"A form.\r\n\r\n" + PURPOSE + FILE + END
    answer = await api.call("POST", "/v1/files", data=body, headers={"content-type": MULTIPART})
    assert answer.status == 200
