"""Files in parts, as `client.uploads` drives them."""

import asyncio
import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.surface.conftest import Visitor
from tests.e2e.surface.test_following import ended
from tests.fakes.datasets import dataset

MIB = 1024 * 1024


async def begun(visitor: Visitor, size: int, **more: Any) -> str:
    upload = await visitor.client.uploads.create(
        filename="train.jsonl", purpose="fine-tune", bytes=size, mime_type="text/jsonl", **more
    )
    assert upload.status == "pending"
    assert upload.expires_at == upload.created_at + 3600
    return upload.id


async def sent(visitor: Visitor, upload_id: str, content: bytes) -> str:
    part = await visitor.client.uploads.parts.create(upload_id, data=content)
    assert part.upload_id == upload_id
    return part.id


async def refused(call: Awaitable[Any], status: int, code: str) -> str:
    with pytest.raises(openai.APIStatusError) as caught:
        await call
    assert (caught.value.status_code, caught.value.code) == (status, code)
    return caught.value.message


async def test_upload_file_chunked_makes_a_file_that_can_be_trained_on(visitor: Visitor, tmp_path: Path) -> None:
    content = dataset(400)
    upload = await visitor.client.uploads.upload_file_chunked(
        file=content,
        filename="big.jsonl",
        bytes=len(content),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=len(content) // 5,
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )
    assert upload.status == "completed"
    assert upload.file is not None
    assert (upload.file.bytes, upload.file.filename) == (len(content), "big.jsonl")
    assert (await visitor.client.files.content(upload.file.id)).content == content
    job = await visitor.client.fine_tuning.jobs.create(training_file=upload.file.id, model="gpt-4.1-mini-2025-04-14")
    assert (await ended(visitor, job.id))["status"] == "succeeded"
    parts = visitor.place.town.data_dir / "uploads" / upload.id
    assert not await asyncio.to_thread(parts.exists), "the parts are still on the disk"


async def test_parts_may_come_side_by_side_and_are_joined_in_the_order_of_their_names(visitor: Visitor) -> None:
    pieces = [bytes([65 + n]) * (3 * MIB + n) for n in range(6)]
    content = b"".join(pieces)
    upload_id = await begun(visitor, len(content))
    ids = await asyncio.gather(*(sent(visitor, upload_id, piece) for piece in reversed(pieces)))
    upload = await visitor.client.uploads.complete(upload_id, part_ids=ids[::-1])
    assert upload.file is not None
    assert (await visitor.client.files.content(upload.file.id)).content == content
    again = await visitor.client.uploads.complete(upload_id, part_ids=ids[::-1])
    assert again.file is not None
    assert again.file.id == upload.file.id, "a repeated call made a second file"


async def test_what_does_not_fit_is_refused_and_can_be_put_right(visitor: Visitor) -> None:
    upload_id = await begun(visitor, 10)
    first = await sent(visitor, upload_id, b"12345")
    complete = visitor.client.uploads.complete
    message = await refused(complete(upload_id, part_ids=[first]), 400, "upload_incomplete")
    assert "5 bytes" in message
    assert "10" in message
    second = await sent(visitor, upload_id, b"67890")
    await refused(complete(upload_id, part_ids=[first, first]), 400, "invalid_value")
    await refused(complete(upload_id, part_ids=[first, "part_unknown"]), 400, "invalid_value")
    await refused(complete(upload_id, part_ids=[first, second], md5="0" * 32), 400, "upload_incomplete")
    await refused(complete(upload_id, part_ids=[]), 400, "invalid_value")
    assert (await complete(upload_id, part_ids=[first, second])).status == "completed"
    await refused(visitor.client.uploads.parts.create(upload_id, data=b"more"), 400, "upload_not_open")
    await refused(visitor.client.uploads.cancel(upload_id), 400, "upload_not_open")


async def test_cancelling_removes_the_parts(visitor: Visitor) -> None:
    upload_id = await begun(visitor, 10)
    part = await sent(visitor, upload_id, b"12345")
    directory = visitor.place.town.data_dir / "uploads" / upload_id
    assert await asyncio.to_thread((directory / part).is_file)
    assert (await visitor.client.uploads.cancel(upload_id)).status == "cancelled"
    assert (await visitor.client.uploads.cancel(upload_id)).status == "cancelled"
    assert not await asyncio.to_thread(directory.exists)
    await refused(visitor.client.uploads.complete(upload_id, part_ids=[part]), 400, "upload_not_open")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 8 * 1024**3 + 1}, "bytes"),
        ({"bytes": "10"}, "bytes"),
        ({"purpose": "assistants"}, "purpose"),
        ({"filename": None}, "filename"),
        ({"mime_type": None}, "mime_type"),
        ({"size": 1}, "size"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "last_used_at", "seconds": 3600}}, "expires_after.anchor"),
    ],
)
async def test_a_wrong_beginning_is_named(visitor: Visitor, body: dict[str, Any], param: str) -> None:
    right = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/jsonl"}
    async with visitor.http.post(f"{visitor.root}/v1/uploads", json=right | body) as answer:
        text = await answer.read()
        visitor.contract.check_response("POST", "/v1/uploads", answer.status, answer.headers, text)
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == param


async def test_a_part_above_64_mb_is_refused(visitor: Visitor) -> None:
    upload_id = await begun(visitor, 100 * MIB)
    await refused(visitor.client.uploads.parts.create(upload_id, data=bytes(64 * MIB + 1)), 413, "request_too_large")
    leftover = visitor.place.town.data_dir / "uploads" / upload_id
    assert await asyncio.to_thread(lambda: list(leftover.iterdir())) == []


async def test_an_upload_of_another_project_is_not_there(visitor: Visitor) -> None:
    other = await visitor.place.town.key("another project")
    upload_id = await begun(visitor, 10)
    stranger = visitor.client.with_options(api_key=other.key)
    await refused(stranger.uploads.parts.create(upload_id, data=b"12345"), 404, "upload_not_found")
    await refused(stranger.uploads.complete(upload_id, part_ids=["part_1"]), 404, "upload_not_found")
    await refused(stranger.uploads.cancel(upload_id), 404, "upload_not_found")
