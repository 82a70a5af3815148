"""A data directory or a Redis in trouble: 503 with words for what would need it, and `/readyz` says why."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes import stored
from tests.integration.service.conftest import Api
from tests.integration.service.test_nearly_full import MODEL, makers
from tunehook.store import redis_health


@asynccontextmanager
async def away(api: Api, how: str) -> AsyncIterator[Path]:
    data_dir = stored.data_dir(api.ctx.files.storage)
    elsewhere = data_dir.with_name("elsewhere")
    data_dir.rename(elsewhere)
    if how == "empty":
        data_dir.mkdir()
    try:
        yield data_dir
    finally:
        if data_dir.exists():
            data_dir.rmdir()  # nothing was made in it
        elsewhere.rename(data_dir)


@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_a_data_directory_that_is_away_is_503(furnished: Api, how: str, caplog: pytest.LogCaptureFixture) -> None:
    api = furnished
    file = f"/v1/files/{api.ids['file_id']}"
    assert (await api.call("GET", "/readyz", key=None)).status == 200
    async with away(api, how) as data_dir:
        ready = await api.call("GET", "/readyz", key=None)
        assert ready.status == 503
        assert str(data_dir) in ready.json["checks"]["data_dir"]["message"]
        for path, options in makers(api)[:5]:
            answer = await api.call("POST", api.path(path), **options)
            assert (answer.status, answer.error["code"]) == (503, "data_dir_unavailable"), path
            assert str(data_dir) not in answer.error["message"]
        for method, path in (("GET", f"{file}/content"), ("GET", f"{file}/report"), ("DELETE", file)):
            answer = await api.call(method, path)
            assert (answer.status, answer.error["code"]) == (503, "data_dir_unavailable"), path
            assert str(data_dir) not in answer.error["message"]
        assert (await api.call("GET", file)).status == 200
        assert str(data_dir) in caplog.text  # for the operator
    assert (await api.call("GET", "/readyz", key=None)).status == 200
    assert (await api.call("GET", f"{file}/content")).status == 200


async def test_what_does_not_fit_on_the_disk_is_refused_before_its_body(furnished: Api) -> None:
    """The body is announced and never sent: the answer comes all the same."""
    api = furnished
    huge = 1 << 50
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\nContent-Length: {huge}\r\n"
    head += "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    host, _, port = api.root.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
    assert b" 503 " in answer
    writer.close()


async def test_no_job_is_accepted_while_redis_does_not_keep_what_it_acknowledges(
    furnished: Api,
) -> None:
    api = furnished
    redis = api.ctx.store.redis
    job = {"model": MODEL, "training_file": api.ids["file_id"]}
    try:
        await redis.config_set("appendfsync", "everysec")
        await asyncio.sleep(redis_health.ASK_SECONDS + 0.1)
        answer = await api.call("POST", "/v1/fine_tuning/jobs", json=job)
        assert (answer.status, answer.error["code"]) == (503, "store_not_durable")
        assert "set appendfsync always (it is everysec)" in answer.error["message"]
        ready = await api.call("GET", "/readyz", key=None)
        assert ready.status == 503
        assert "set appendfsync always" in ready.json["checks"]["redis"]["message"]
        assert (await api.call("GET", f"/v1/files/{api.ids['file_id']}")).status == 200
    finally:
        await redis.config_set("appendfsync", "always")
    await asyncio.sleep(redis_health.ASK_SECONDS + 0.1)
    assert (await api.call("POST", "/v1/fine_tuning/jobs", json=job)).status == 200
    assert (await api.call("GET", "/readyz", key=None)).status == 200


async def test_a_full_redis_is_not_ready(furnished: Api) -> None:
    redis = furnished.ctx.store.redis
    try:
        await redis.config_set("maxmemory", "1mb")
        ready = await furnished.call("GET", "/readyz", key=None)
        assert ready.status == 503
        assert "it is full" in ready.json["checks"]["redis"]["message"]
    finally:
        await redis.config_set("maxmemory", 0)
