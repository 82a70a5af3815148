"""The list of models has pages, however many were tuned and by which version they were recorded."""

import time
from typing import Any

from openai import AsyncOpenAI

from service.models import PAGE
from tests.integration.service.conftest import Api
from tunehook.model.job import TunedModel
from tunehook.store.engine import keys

BASE = "gpt-4.1-mini-2025-04-14"


def tuned(number: int) -> TunedModel:
    return TunedModel(
        name=f"ft:{BASE}:acme::{number:06}", upstream="openai", base=BASE, job_id="ftjob-1", created_at=1000 + number
    )


async def recorded(api: Api, numbers: range) -> None:
    """As versions before this one do, which keep no order."""
    for start in range(numbers.start, numbers.stop, 5000):
        some = [tuned(number) for number in range(start, min(start + 5000, numbers.stop))]
        await api.ctx.store.redis.hset(
            keys.models("tests"), mapping={made.name: made.model_dump_json() for made in some}
        )


async def listed(api: Api, query: str = "") -> Any:
    answer = await api.call("GET", f"/v1/models{query}")
    assert answer.status == 200, answer.body
    return answer.json


def ids(page: Any) -> list[str]:
    return [str(model["id"]) for model in page["data"]]


async def test_pages_hold_each_model_once_bases_first_then_the_newest(api: Api) -> None:
    bases = ids(await listed(api))
    assert len(bases) > 3
    await recorded(api, range(30))
    whole = [*bases, *(tuned(number).name for number in reversed(range(30)))]
    assert ids(await listed(api)) == whole
    for size in (1, 3, len(bases), 20):
        found, query = list[str](), f"?limit={size}"
        while True:
            page = await listed(api, query)
            found += ids(page)
            assert (page["first_id"], page["last_id"]) == (ids(page)[0], ids(page)[-1])
            if not page["has_more"]:
                break
            assert len(page["data"]) == size
            query = f"?limit={size}&after={page['last_id']}"
        assert found == whole
    assert (await listed(api, f"?after={whole[-1]}"))["data"] == []
    await recorded(api, range(30, 31))  # by an older program that still runs
    assert ids(await listed(api, f"?after={bases[-1]}&limit=2")) == [tuned(30).name, tuned(29).name]


async def test_wrong_parameters_are_refused(api: Api) -> None:
    for query in ("?limit=0", "?limit=1001", "?after=unknown", "?after=", "?order=asc"):
        answer = await api.call("GET", f"/v1/models{query}")
        assert answer.status == 400, (query, answer)


async def test_a_client_that_asks_for_no_page_gets_the_newest_of_forty_thousand(api: Api) -> None:
    await recorded(api, range(40_000))
    async with AsyncOpenAI(base_url=f"{api.root}/v1", api_key=api.key, max_retries=0) as client:
        names = [model.id for model in (await client.models.list()).data]
    assert len(names) == PAGE
    assert names[-(PAGE - 100) :] == sorted(names[-(PAGE - 100) :], reverse=True)
    assert tuned(39_999).name in names
    begun = time.thread_time()
    assert len(ids(await listed(api))) == PAGE
    assert time.thread_time() - begun < 1.0  # with the check of the answer; 40,000 took longer
    assert len(await api.ctx.store.models.of_project("tests")) == 40_000


async def test_a_model_that_cannot_be_read_hides_no_others(api: Api) -> None:
    await recorded(api, range(3))
    await api.ctx.store.redis.hset(keys.models("tests"), "ft:broken", "{")
    for _ in range(2):
        assert [name for name in ids(await listed(api)) if name.startswith("ft:")] == [
            tuned(number).name for number in (2, 1, 0)
        ]
    assert await api.ctx.store.redis.zcard(keys.models_by_age("tests")) == 4
