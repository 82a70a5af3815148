"""What one project may have or do at a time, so that the others are served as well."""

import asyncio
import time
from typing import Any

import aiohttp

from tests.fakes.stored import data_dir
from tests.integration.service.conftest import Answer, Api
from tunehook import api_keys
from tunehook.files import uploads
from tunehook.model.file import Upload
from tunehook.model.record import new_id
from tunehook.store.engine import keys
from tunehook.store.uploads import MOST_OPEN, MOST_PARTS

UPLOAD = {"filename": "a.jsonl", "bytes": 10, "purpose": "fine-tune", "mime_type": "text/jsonl"}


async def begun(api: Api, **options: Any) -> Answer:
    return await api.call("POST", "/v1/uploads", json=UPLOAD, **options)


async def kept(api: Api, upload: Upload, content: bytes) -> str:
    incoming = api.ctx.files.storage.parts(upload.id).receive(new_id("part_"))
    await incoming.open()
    try:
        await incoming.write(content)
        return await uploads.keep_part(api.ctx.files, upload, incoming)
    finally:
        await incoming.close()


def part() -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("data", b"x", filename="part")
    return data


async def parts_on_the_shelf(api: Api, upload: Upload) -> int:
    folder = data_dir(api.ctx.files.storage) / "uploads" / upload.id
    return await asyncio.to_thread(lambda: len(list(folder.iterdir())))


async def test_a_project_has_twenty_uploads_open_and_another_its_own(api: Api) -> None:
    answers = await asyncio.gather(*(begun(api) for _ in range(MOST_OPEN + 5)))
    refused = [answer for answer in answers if answer.status != 200]
    assert [(answer.status, answer.error["code"]) for answer in refused] == [(400, "too_many_uploads")] * 5
    other, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project="another", name="n")
    assert (await begun(api, key=other)).status == 200
    mine = next(answer.json["id"] for answer in answers if answer.status == 200)
    assert (await api.call("POST", f"/v1/uploads/{mine}/cancel")).status == 200
    assert [(await begun(api)).status for _ in range(2)] == [200, 400]


async def test_an_upload_whose_hour_is_over_is_not_open(api: Api) -> None:
    old = Upload(
        id=new_id("upload_"),
        project="tests",
        filename="a.jsonl",
        purpose="fine-tune",
        bytes=10,
        created_at=int(time.time()) - 3700,
        expires_at=int(time.time()) - 100,
    )
    for _ in range(MOST_OPEN):
        await api.ctx.store.uploads.add(old.model_copy(update={"id": new_id("upload_")}))
    assert (await begun(api)).status == 200


async def test_an_upload_has_ten_thousand_parts_however_they_come(api: Api) -> None:
    upload_id = (await begun(api)).json["id"]
    upload = (await api.ctx.store.uploads.read(upload_id, "tests")).upload
    before = {f"part_{number}": 1 for number in range(MOST_PARTS - 1)}
    await api.ctx.store.redis.hset(keys.upload_parts(upload_id), mapping=before)
    answers = await asyncio.gather(*(kept(api, upload, b"x") for _ in range(3)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["TooManyParts", "TooManyParts", "str"]
    assert await parts_on_the_shelf(api, upload) == 1
    answer = await api.call("POST", f"/v1/uploads/{upload_id}/parts", data=part())
    assert (answer.status, answer.error["code"]) == (400, "too_many_parts")


async def test_parts_side_by_side_have_no_more_room_together_than_one_after_the_other(api: Api) -> None:
    upload = (await api.ctx.store.uploads.read((await begun(api)).json["id"], "tests")).upload
    half = bytes(uploads.most_bytes(upload) // 2 - 1)
    answers = await asyncio.gather(*(kept(api, upload, half) for _ in range(3)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["TooLarge", "str", "str"]
    assert await parts_on_the_shelf(api, upload) == 2
    left = uploads.most_bytes(upload) - 2 * len(half)
    record = await api.ctx.store.uploads.read(upload.id, "tests")
    assert await uploads.room(api.ctx.files, record) == left
    await kept(api, upload, bytes(left))
    answer = await api.call("POST", f"/v1/uploads/{upload.id}/parts", data=part())
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
