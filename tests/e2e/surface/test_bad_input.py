"""Whatever is sent to the surface, the answer is in the contract, and never a 5xx."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.surface.conftest import Visitor

NASTY: list[Any] = [
    None, True, 0, -1, 2**63, 1.5, 1e308, "", " ", "x" * 20_000, "\x00", "\ud800", "../../etc/passwd",
    "{id}", "%2e%2e%2f", [], [None], [[]], {}, {"": ""}, {"a": {"b": []}}, ["part_1"] * 3,
]  # fmt: skip
RIGHT: dict[str, dict[str, Any]] = {
    "/v1/uploads": {
        "filename": "a",
        "purpose": "fine-tune",
        "bytes": 10,
        "mime_type": "text/jsonl",
        "expires_after": {"anchor": "created_at", "seconds": 3600},
    },
    "/v1/uploads/upload_1/complete": {"part_ids": ["part_1"], "md5": "0" * 32},
    "/v1/fine_tuning/jobs/import": {"upstream": "openai", "upstream_job_id": "ftjob-1", "callback_url": "https://a.example"},
    "/v1/fine_tuning/jobs/ftjob-1/retrain": {
        "model": "m", "upstream": "second", "options": {"lora": True}, "hyperparameters": {"n_epochs": 2},
        "callback_url": "https://a.example", "dry_run": True, "again": False, "max_cost_usd": 1.5,
    },
    "/v1/fine_tuning/alpha/graders/validate": {
        "grader": {"type": "string_check", "name": "n", "operation": "eq", "input": "a", "reference": "b"},
        "tunehook": {"upstream": "second"},
    },
    "/v1/fine_tuning/alpha/graders/run": {
        "grader": {"type": "string_check", "name": "n", "operation": "eq", "input": "a", "reference": "b"},
        "model_sample": "x",
        "item": {},
    },
}  # fmt: skip


def wrong(right: Any) -> Iterator[Any]:
    """The body with each of its members in turn replaced by each nasty thing; and with one more member."""
    for name, value in right.items():
        for nasty in NASTY:
            yield {**right, name: nasty}
        if isinstance(value, dict):
            for inner in wrong(value):
                yield {**right, name: inner}
    yield {**copy.deepcopy(right), "unheard_of": 1}


async def answered(visitor: Visitor, method: str, path: str, **request: Any) -> int:
    async with visitor.http.request(method, visitor.root + path, **request) as answer:
        body = await answer.read()
        visitor.contract.check_response(method, path, answer.status, answer.headers, body)
        return answer.status


@pytest.mark.parametrize("path", RIGHT)
async def test_wrong_members(visitor: Visitor, path: str) -> None:
    for body in wrong(RIGHT[path]):
        sent = json.dumps(body).encode()
        status = await answered(visitor, "POST", path, data=sent, headers={"content-type": "application/json"})
        assert status < 500, body


@pytest.mark.parametrize("path", [*RIGHT, "/v1/upstreams/openai/events"])
async def test_what_is_no_json_object(visitor: Visitor, path: str) -> None:
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 5000, b'{"bytes":NaN}'):
        status = await answered(visitor, "POST", path, data=body, headers={"content-type": "application/json"})
        assert 400 <= status < 500, body


async def test_parts_that_are_no_form(visitor: Visitor) -> None:
    upload = await visitor.client.uploads.create(filename="a", purpose="fine-tune", bytes=10, mime_type="t")
    path = f"/v1/uploads/{upload.id}/parts"
    assert await answered(visitor, "POST", path, json={"data": "x"}) == 415
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x--\r\n",
        b"--y\r\n\r\n",
        b"--x\r\n\r\nx\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data",
    ):
        assert 400 <= await answered(visitor, "POST", path, data=body, headers=headers) < 500, body
    for name in ("file", "date"):
        form = aiohttp.FormData()
        form.add_field(name, b"abc", filename="a")
        assert await answered(visitor, "POST", path, data=form) == 400
    empty = aiohttp.FormData()
    empty.add_field("data", b"", filename="a")
    assert await answered(visitor, "POST", path, data=empty) == 400


async def test_queries(visitor: Visitor) -> None:
    for path in ("/v1/models?limit=0", "/v1/fine_tuning/jobs/ftjob-1?expand=1", "/v1/fine_tuning/jobs/ftjob-1?wait="):
        assert 400 <= await answered(visitor, "GET", path) < 500
    for path in ("/v1/models/%00", "/v1/models/%ff", "/v1/models/" + "m" * 3000, "/v1/uploads/x/y/z"):
        assert await answered(visitor, "GET", path) == 404
    for path in ("/v1/uploads/%2e%2e/cancel", "/v1/uploads/%00/cancel", "/v1/fine_tuning/jobs/%00/pause"):
        assert await answered(visitor, "POST", path) == 404
