"""What is refused, by us or by the upstream, and what is asked twice."""

from typing import Any

import httpx2
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, UnprocessableEntityError

from service.app import ROUTES
from tests.contract.checker import CheckedTransport, Contract
from tests.e2e.story.conftest import MODEL, Story, client_of, stage
from tests.fakes.deployment import Deployment


@pytest.mark.parametrize("code", ["training_not_available", "model_not_available"])
async def test_a_create_that_is_refused_fails_the_job_and_tells(story: Story, code: str) -> None:
    job = await story.submit(simulate=code)
    ended = await story.until_end(job.id)
    assert (ended.status, stage(ended), ended.fine_tuned_model) == ("failed", "settled", None)
    assert ended.error
    assert ended.error.message
    assert ended.error.code == code
    [hook] = await story.hooks()
    assert hook.event["type"] == "fine_tuning.job.failed"
    assert hook.event["data"]["error"] == ended.error.model_dump()
    assert await story.created(job.id) == []


async def test_a_job_that_fails_there_fails_here_with_its_reason(story: Story) -> None:
    job = await story.submit(simulate="invalid_training_file")
    ended = await story.until_end(job.id)
    assert ended.status == "failed"
    assert ended.finished_at is not None  # upstreams leave it null
    [theirs] = await story.created(job.id)
    assert ended.error
    assert ended.error.code == theirs["error"]["code"]
    [hook] = await story.hooks()
    assert hook.event["data"]["error"]["message"] == ended.error.message


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/hook", "https://[::1]/", "ftp://example.com/", "https://169.254.169.254/latest", "nonsense"],
)
async def test_a_webhook_to_where_none_may_go_is_refused_before_anything_is_stored(story: Story, url: str) -> None:
    file_id = await story.upload()
    with pytest.raises(BadRequestError) as refused:
        await story.client.fine_tuning.jobs.create(model=MODEL, training_file=file_id, extra_body={"callback_url": url})
    assert refused.value.param == "callback_url"
    assert (await story.client.fine_tuning.jobs.list()).data == []


async def test_an_unknown_upstream_or_file_is_refused(story: Story) -> None:
    with pytest.raises(BadRequestError, match="there is no upstream 'mars'") as refused:
        await story.submit(upstream="mars")
    assert refused.value.code == "unknown_upstream"
    with pytest.raises(BadRequestError) as refused:
        await story.submit(training_file="file-unknown")
    assert refused.value.param == "training_file"


async def test_with_an_idempotency_key_a_job_is_made_once(story: Story) -> None:
    create = story.client.fine_tuning.jobs.create
    body: dict[str, Any] = {"model": MODEL, "training_file": await story.upload()}
    once = {"Idempotency-Key": "the order of 5 May"}
    first = await create(**body, extra_headers=once)
    assert (await create(**body, extra_headers=once)).id == first.id
    assert (await create(**body)).id != first.id
    with pytest.raises(UnprocessableEntityError) as refused:
        await create(**body, suffix="other", extra_headers=once)
    assert refused.value.code == "idempotency_key_reused"
    assert len([job async for job in story.client.fine_tuning.jobs.list()]) == 2


class LosesAnswers(httpx2.AsyncBaseTransport):
    """Lets a request through and loses its answer, as often as told."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, times: int) -> None:
        self._inner, self._left = inner, times

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if self._left and request.method == "POST":
            self._left -= 1
            await response.aclose()
            raise httpx2.ReadError("the answer is lost", request=request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_the_sdks_own_retry_gets_the_job_that_its_first_call_made(story: Story, contract: Contract) -> None:
    file_id = await story.upload()
    transport = LosesAnswers(CheckedTransport(contract), times=1)
    async with AsyncOpenAI(
        base_url=story.town.url,
        api_key=story.caller.key,
        max_retries=2,
        http_client=httpx2.AsyncClient(transport=transport),
    ) as client:
        retried = await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        another = await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert retried.id != another.id  # the same body again, but not as a retry: a second job is wanted
    assert [job.id async for job in story.client.fine_tuning.jobs.list()] == [another.id, retried.id]


async def test_another_projects_ids_do_not_exist(story: Story, town: Deployment, contract: Contract) -> None:
    file_id = await story.upload()
    job = await story.submit(training_file=file_id, simulate="stall", callback=False)
    values = {"file_id": file_id, "fine_tuning_job_id": job.id}
    tried = 0
    async with client_of(town, await town.key("somebody else"), contract) as stranger:
        for method, path, *_ in ROUTES:
            names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
            if not names or not set(names) <= set(values) or path.startswith("/v1/admin/"):
                continue  # ids of other things, and the operator's own routes, have tests of their own
            url = path.removeprefix("/v1").format(**values)
            with pytest.raises(NotFoundError):
                await _call(stranger, method, url)
            tried += 1
        with pytest.raises(APIStatusError) as refused:
            await stranger.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        assert refused.value.status_code == 400
        assert [found.id async for found in stranger.fine_tuning.jobs.list()] == []
        assert [found.id async for found in stranger.files.list()] == []
    assert tried >= 7
    assert (await story.cancel(job.id)).status == "cancelled"


async def _call(client: AsyncOpenAI, method: str, url: str) -> httpx2.Response:
    if method == "GET":
        return await client.get(url, cast_to=httpx2.Response)
    if method == "DELETE":
        return await client.delete(url, cast_to=httpx2.Response)
    body = {"model": MODEL, "upstream": "openai"} if url.endswith("/retrain") else {}
    return await client.post(url, cast_to=httpx2.Response, body=body)
