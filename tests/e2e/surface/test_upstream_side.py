"""What is passed to upstreams and what they tell us: models, graders, pause and resume, their webhooks, imports."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from cli.valkey_process import connect
from tests.e2e.surface.conftest import Place, Visitor
from tests.e2e.surface.test_following import MODEL, cancelled, ended, submitted
from tests.fakes.datasets import dataset
from tests.fakes.patience import eventually
from tests.fakes.receiver import running_receiver
from tunehook.security.signature import new_secret, sign
from tunehook.store.engine.keys import due

GRADER: dict[str, Any] = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}


async def at_the_upstream(visitor: Visitor, job_id: str) -> dict[str, Any]:
    """Our job as the upstream has it, once it has it."""

    async def made() -> list[dict[str, Any]]:
        return [job for job in await visitor.simulators["openai"].jobs() if job_id in str(job["metadata"])]

    (found,) = await eventually(made, bool)
    return found


# ---- models


async def test_models_are_what_can_be_tuned_and_what_was_tuned_here(visitor: Visitor) -> None:
    before = {model.id: model for model in (await visitor.client.models.list()).data}
    assert before[MODEL].shutdown_date == "2027-01-14"
    assert before["gpt-4.1-nano"].shutdown_date is None
    assert "gpt-5" not in before, "it cannot be tuned"
    assert not [name for name in before if name.startswith("ft:")], "another project's"
    job_id = await submitted(visitor)
    job = await ended(visitor, job_id)
    name = job["fine_tuned_model"]
    after = {model.id: model for model in (await visitor.client.models.list()).data}
    assert set(after) - set(before) == {name}
    assert after[name].owned_by == visitor.caller.project
    assert after[name].created == job["finished_at"]
    assert after[name].shutdown_date == "2027-01-14", "a tuned model goes with its base"
    assert await visitor.client.models.retrieve(name) == after[name]
    assert (await visitor.client.models.retrieve(f"{name}:ckpt-step-10")).id == f"{name}:ckpt-step-10"
    assert (await visitor.client.models.retrieve(MODEL)).id == MODEL


@pytest.mark.parametrize("name", ["gpt-5", "ft:gpt-4.1-mini-2025-04-14:somebody::else", "nothing"])
async def test_other_models_are_not_here(visitor: Visitor, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await visitor.client.models.retrieve(name)
    assert caught.value.code == "model_not_found"


async def test_a_tuned_model_is_its_projects_own_to_train_on(visitor: Visitor) -> None:
    job_id = await submitted(visitor)
    job = await ended(visitor, job_id)
    name = job["fine_tuned_model"]
    assert (await visitor.client.fine_tuning.jobs.retrieve(await submitted(visitor, model=name))).model == name
    stranger = await visitor.place.town.key(f"stranger-{job_id[-6:]}")
    async with AsyncOpenAI(base_url=visitor.place.town.url, api_key=stranger.key) as client:
        file = await client.files.create(file=("x.jsonl", dataset()), purpose="fine-tune")
        for theirs in (name, f"{name}:ckpt-step-10"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.fine_tuning.jobs.create(training_file=file.id, model=theirs)
            assert caught.value.code == "model_not_found"


# ---- graders


async def test_graders_are_passed_through(visitor: Visitor) -> None:
    graders = visitor.client.fine_tuning.alpha.graders
    assert (await graders.validate(grader=GRADER)).grader is not None  # type: ignore[arg-type]
    right = await graders.run(grader=GRADER, model_sample="Paris", item={"answer": "Paris"})  # type: ignore[arg-type]
    assert right.reward == 1
    wrong = await graders.run(grader=GRADER, model_sample="Rome", item={"answer": "Paris"})  # type: ignore[arg-type]
    assert wrong.reward == 0
    with pytest.raises(openai.BadRequestError) as caught:
        await graders.validate(grader=GRADER | {"operation": "guess"})  # type: ignore[arg-type]
    assert "operation" in str(caught.value.body)


async def test_a_grader_may_go_to_a_named_upstream(visitor: Visitor) -> None:
    second = visitor.simulators["second"]
    before = len(await second.requests())
    await visitor.client.fine_tuning.alpha.graders.validate(
        grader=GRADER,  # type: ignore[arg-type]
        extra_body={"tunehook": {"upstream": "second"}},
    )
    sent = (await second.requests())[before:]
    bodies = [json.loads(str(request["body"])) for request in sent if "graders" in str(request["path"])]
    assert bodies == [{"grader": GRADER}]
    with pytest.raises(openai.BadRequestError) as caught:
        await visitor.client.fine_tuning.alpha.graders.validate(
            grader=GRADER,  # type: ignore[arg-type]
            extra_body={"tunehook": {"upstream": "third"}},
        )
    assert caught.value.code == "unknown_upstream"


# ---- pause and resume


async def test_pause_and_resume_are_passed_to_the_upstream(visitor: Visitor) -> None:
    job_id = await submitted(visitor, "stall")
    jobs = visitor.client.fine_tuning.jobs
    await at_the_upstream(visitor, job_id)

    async def after_a_look() -> str:
        await looked(visitor)
        return (await jobs.retrieve(job_id)).status

    await eventually(after_a_look, lambda status: status == "running")
    assert (await jobs.pause(job_id)).status in ("pausing", "paused")
    with pytest.raises(openai.BadRequestError) as caught:
        await jobs.pause(job_id)
    assert caught.value.code == "job_not_steered"
    assert job_id in caught.value.message
    assert (await jobs.resume(job_id)).status in ("resuming", "queued", "running")
    await cancelled(visitor, job_id)
    with pytest.raises(openai.BadRequestError) as over:
        await jobs.resume(job_id)
    assert "already ended (cancelled)" in over.value.message


async def test_what_the_upstream_does_not_have_cannot_be_paused(visitor: Visitor) -> None:
    await visitor.simulators["openai"].fault("http_503", path="/fine_tuning/jobs", method="POST", times=None)
    job_id = await submitted(visitor)
    with pytest.raises(openai.BadRequestError) as caught:
        await visitor.client.fine_tuning.jobs.pause(job_id)
    assert "does not have it yet" in caught.value.message
    await visitor.client.fine_tuning.jobs.cancel(job_id)


async def looked(visitor: Visitor) -> None:
    """Makes a look happen, as the upstream's webhook would."""
    assert await post_event(visitor.place, {"id": "evt"}) == 204
    await asyncio.sleep(0.1)


# ---- the upstream's own webhooks


async def post_event(
    place: Place, event: dict[str, Any], *, name: str = "openai", secret: str = "", message_id: str = "", at: int = 0
) -> int:
    body = json.dumps(event).encode()
    message_id = message_id or f"evt_{time.time_ns()}"
    headers = sign([secret or place.upstream_secret], message_id, at or int(time.time()), body)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{place.root}/v1/upstreams/{name}/events", data=body, headers=headers) as answer,
    ):
        return answer.status


async def test_a_job_that_ends_is_seen_because_the_upstream_says_so(visitor: Visitor) -> None:
    """Looks come once in five minutes in this deployment; without the webhook the job would end no sooner."""
    async with running_receiver() as receiver:
        file = await visitor.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        job = await visitor.client.fine_tuning.jobs.create(
            training_file=file.id, model=MODEL, extra_body={"callback_url": receiver.url}
        )
        (hook,) = await receiver.wait(1)
        told = hook.event["data"]
    assert told["id"] == job.id
    found = await visitor.client.fine_tuning.jobs.retrieve(job.id)
    assert found.finished_at is not None
    assert hook.at - found.finished_at < 120, "the next look was due in five minutes"


async def test_what_the_upstream_did_not_sign_is_refused(place: Place, visitor: Visitor) -> None:
    event = {"type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-1"}}
    assert await post_event(place, event) == 204
    assert await post_event(place, event, secret=new_secret()) == 401
    assert await post_event(place, event, at=int(time.time()) - 1000) == 401
    assert await post_event(place, event, name="second") == 404, "it has no secret set"
    assert await post_event(place, event, name="nobody") == 404
    path = f"{place.root}/v1/upstreams/openai/events"
    async with visitor.http.post(path, json=event) as answer:
        visitor.contract.check_response(
            "POST", "/v1/upstreams/openai/events", answer.status, answer.headers, await answer.read()
        )
        assert answer.status == 401, "a project's key is no signature"


async def test_an_event_that_came_before_causes_nothing(place: Place) -> None:
    """A look that is woken is due at once; after it, the next is due in five minutes here."""

    async def next_look() -> float:
        return await asyncio.to_thread(_next_look, place)

    assert await post_event(place, {}, message_id="evt_once") == 204
    planned = 0.0
    while (again := await next_look()) != planned or again < time.time() + 200:
        planned = again  # another look, of the start or of a job that was tracked, had not ended yet
        await asyncio.sleep(0.5)
    for _ in range(3):
        assert await post_event(place, {}, message_id="evt_once") == 204
        assert await next_look() == planned
    assert await post_event(place, {}, message_id="evt_another") == 204
    assert await next_look() != planned


def _next_look(place: Place) -> float:
    """When it is due, unix seconds."""
    with connect(place.town.valkey.url) as client:
        return float(client.zscore(due("polls"), "look:openai") or 0) / 1000


# ---- jobs that were started elsewhere


async def elsewhere(
    visitor: Visitor, name: str = "openai", simulate: str | None = None, **labels: str
) -> tuple[str, str]:
    """A file and a job that somebody made at the upstream without us."""
    root = visitor.place.town.simulators[name]
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere", max_retries=0) as other:
        file = await other.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        job = await other.fine_tuning.jobs.create(
            training_file=file.id,
            model=MODEL,
            suffix="elsewhere",
            metadata={"team": "search"} | ({"simulate": simulate} if simulate else {}) | labels,
        )
    return file.id, job.id


async def imported(visitor: Visitor, **body: Any) -> tuple[int, Any]:
    path = "/v1/fine_tuning/jobs/import"
    async with visitor.http.post(f"{visitor.root}{path}", json=body) as answer:
        content = await answer.read()
        visitor.contract.check_response("POST", path, answer.status, answer.headers, content)
        return answer.status, json.loads(content)


async def test_an_imported_job_ends_in_a_webhook(visitor: Visitor) -> None:
    file_id, upstream_job_id = await elsewhere(visitor, simulate="stall")
    async with running_receiver() as receiver:
        body = {"upstream": "openai", "upstream_job_id": upstream_job_id, "callback_url": receiver.url}
        status, job = await imported(visitor, **body)
        assert status == 200
        assert job["tunehook"]["stage"] == "tracked"
        assert job["tunehook"]["upstream_job_id"] == upstream_job_id
        assert job["training_file"] == f"upstream:{file_id}"
        assert job["metadata"] == {"team": "search", "simulate": "stall"}
        status, again = await imported(visitor, **body)
        assert (status, again["id"]) == (200, job["id"]), "the second import made another job"
        await visitor.client.fine_tuning.jobs.cancel(job["id"])
        (hook,) = await receiver.wait(1)
        visitor.contract.check_webhook(hook.body, hook.headers)
        assert hook.event["data"]["id"] == job["id"]
    listed = [found.id async for found in visitor.client.fine_tuning.jobs.list(metadata={"team": "search"})]
    assert listed == [job["id"]]


async def test_a_job_that_has_ended_already_is_imported_with_its_model(visitor: Visitor) -> None:
    _, upstream_job_id = await elsewhere(visitor, "second")
    root = visitor.place.town.simulators["second"]
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere") as other:
        await eventually(
            lambda: other.fine_tuning.jobs.retrieve(upstream_job_id), lambda job: job.status == "succeeded"
        )
    status, job = await imported(visitor, upstream="second", upstream_job_id=upstream_job_id)
    assert status == 200
    assert job["status"] == "succeeded"
    cost = job["tunehook"]["cost"]
    assert cost["usd"] == round(cost["price"]["usd_per_million_tokens"] * job["trained_tokens"] / 1e6, 4) > 0
    chat = await visitor.client.chat.completions.create(
        model=job["fine_tuned_model"], messages=[{"role": "user", "content": "Who?"}]
    )
    assert chat.choices[0].message.content


async def test_what_cannot_be_imported_is_refused(visitor: Visitor) -> None:
    status, error = await imported(visitor, upstream="openai", upstream_job_id="ftjob-unknown")
    assert (status, error["error"]["param"]) == (400, "upstream_job_id")
    status, error = await imported(visitor, upstream="third", upstream_job_id="ftjob-unknown")
    assert (status, error["error"]["code"]) == (400, "unknown_upstream")
    status, error = await imported(visitor, upstream="openai", upstream_job_id="../files")
    assert (status, error["error"]["param"]) == (400, "upstream_job_id")
    status, error = await imported(visitor, upstream="openai")
    assert (status, error["error"]["param"]) == (400, "upstream_job_id")
    _, upstream_job_id = await elsewhere(visitor, simulate="stall")
    other = await visitor.place.town.key("the first to come")
    async with visitor.http.post(
        f"{visitor.root}/v1/fine_tuning/jobs/import",
        json={"upstream": "openai", "upstream_job_id": upstream_job_id},
        headers={"authorization": f"Bearer {other.key}"},
    ) as answer:
        assert answer.status == 200
    status, error = await imported(visitor, upstream="openai", upstream_job_id=upstream_job_id)
    assert (status, error["error"]["param"]) == (400, "upstream_job_id")
    own = await submitted(visitor, "stall")
    mine = await at_the_upstream(visitor, own)
    status, found = await imported(visitor, upstream="openai", upstream_job_id=mine["id"])
    assert status == 409 or found["id"] == own


async def test_a_job_that_bears_a_mark_is_imported_only_if_nobody_has_it(visitor: Visitor) -> None:
    _, others = await elsewhere(visitor, simulate="stall", tunehook="another-deployment/ftjob-1")
    status, error = await imported(visitor, upstream="openai", upstream_job_id=others)
    assert (status, error["error"]["code"]) == (409, "job_taken")
    assert "another deployment" in error["error"]["message"]
    _, lost = await elsewhere(visitor, simulate="stall", tunehook="tunehook/ftjob-whose-record-was-lost")
    status, job = await imported(visitor, upstream="openai", upstream_job_id=lost)
    assert status == 200
    assert job["metadata"] == {"team": "search", "simulate": "stall"}, "the mark is no label of theirs"
    await visitor.client.fine_tuning.jobs.cancel(job["id"])


async def test_training_may_use_a_file_that_lies_at_the_upstream(visitor: Visitor) -> None:
    root = visitor.place.town.simulators["openai"]
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="sk-elsewhere") as other:
        file = await other.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    own = await visitor.client.files.create(file=("valid.jsonl", dataset()), purpose="fine-tune")
    job = await visitor.client.fine_tuning.jobs.create(
        training_file=f"upstream:{file.id}", validation_file=own.id, model=MODEL
    )
    over = await ended(visitor, job.id)
    assert over["status"] == "succeeded", over["error"]
    assert (over["training_file"], over["validation_file"]) == (f"upstream:{file.id}", own.id)
    made = await at_the_upstream(visitor, job.id)
    assert made["training_file"] == file.id
    with pytest.raises(openai.BadRequestError):
        await visitor.client.fine_tuning.jobs.create(training_file="upstream:../jobs", model=MODEL)
