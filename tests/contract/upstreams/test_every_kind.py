"""What every kind of upstream is put through: the main job, and what may become of its one call that costs money."""

import asyncio
import re
from typing import Any, Literal
from urllib.parse import quote

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.contract.checker import Contract
from tests.contract.upstreams.conftest import NAME, Deployed
from tests.contract.upstreams.neighbours import NEIGHBOURS, Lost
from tunehook.dataset.rules import all_rules, rules_of
from tunehook.errors import UpstreamRefused
from tunehook.model.job import ENDS
from tunehook.model.member import deployment_member
from tunehook.settings import KIND_NAMES
from tunehook.upstreams.kinds import KINDS
from tunehook.upstreams.options import table_of


def test_every_kind_has_all_that_a_kind_needs() -> None:
    assert set(KINDS) == set(KIND_NAMES) == set(all_rules()) == set(NEIGHBOURS)
    for kind in KIND_NAMES:
        assert set(table_of(kind)) >= {"options", "refused"}


async def test_the_main_job_from_the_dataset_to_the_webhook(deployed: Deployed, contract: Contract) -> None:
    job = await deployed.create()
    record = await deployed.until(job.id, "tracked")
    assert record.job.upstream == NAME
    assert (deployed.kind, await deployed.neighbour.paid()) == (deployed.ctx.upstreams[NAME].kind, 1)
    await deployed.neighbour.say("running")
    await deployed.poll()
    await deployed.neighbour.say("succeeded")
    await deployed.poll()
    ended = await deployed.client.fine_tuning.jobs.retrieve(job.id)
    assert ended.status == "succeeded"
    [hook] = deployed.receiver.hooks
    contract.check_webhook(hook.body, hook.headers)
    event = deployed.client.webhooks.unwrap(hook.body, dict(hook.headers), secret=deployed.secret)
    assert event.type == "fine_tuning.job.succeeded"
    assert event.data.id == job.id
    needed = rules_of(deployed.kind).deployment
    told = hook.event["data"]["tunehook"]["model"]
    deploys = deployed.ctx.upstreams[NAME].deploys
    if deploys is not None and deploys.by_itself:
        assert told["state"] in ("deploying", "callable")
        assert ended.fine_tuned_model
    else:
        assert told == ({"state": "needs_deployment", "what_to_do": needed} if needed else None)
    events = await deployed.client.fine_tuning.jobs.list_events(job.id)
    assert len({event.id for event in events.data}) == len(events.data) > 2


async def succeeded(deployed: Deployed, **members: Any) -> FineTuningJob:
    job = await deployed.create(**members)
    await deployed.until(job.id, "tracked")
    await deployed.neighbour.say("succeeded")
    await deployed.poll()
    return await deployed.client.fine_tuning.jobs.retrieve(job.id)


async def deployment(deployed: Deployed, method: Literal["POST", "GET", "DELETE"], name: str) -> Any:
    path = f"/models/{quote(name, safe='')}/deploy"
    calls: Any = {"POST": deployed.client.post, "GET": deployed.client.get, "DELETE": deployed.client.delete}
    return await calls[method](path, cast_to=object)


async def until_state(deployed: Deployed, name: str, state: str) -> Any:
    async with asyncio.timeout(120):
        while (found := await deployment(deployed, "GET", name))["state"] != state:
            await deployed.ctx.store.plan(deployment_member(found["job_id"]), 0.0)
            await deployed.work()
    return found


async def test_a_model_is_callable_once_it_is_deployed_and_no_more_once_that_is_removed(deployed: Deployed) -> None:
    job = await succeeded(deployed)
    name = job.fine_tuned_model or job.id
    deploys = deployed.ctx.upstreams[NAME].deploys
    if deploys is None:
        with pytest.raises(openai.BadRequestError) as refused:
            await deployment(deployed, "POST", name)
        assert refused.value.code == "not_supported_by_upstream"
        if deployed.kind == "together":  # whose answer says that the model has no endpoint
            hello: Any = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
            with pytest.raises(openai.ConflictError, match="is not deployed at 'place'") as conflict:
                await deployed.client.chat.completions.create(**hello)
            assert conflict.value.code == "model_not_deployed"
            with pytest.raises(openai.BadRequestError, match="No messages"):
                await deployed.client.chat.completions.create(**{**hello, "messages": []})
        return
    hello = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
    if not deploys.by_itself:
        with pytest.raises(openai.ConflictError, match=r"POST /v1/models/.*/deploy") as conflict:
            await deployed.client.chat.completions.create(**hello)
        assert conflict.value.code == "model_not_deployed"
    await deployment(deployed, "POST", name)
    running = await until_state(deployed, name, "running")
    assert running["callable"]
    await deployed.work()
    assert (await deployed.client.chat.completions.create(**hello)).choices[0].message.content
    shown: Any = await deployed.client.fine_tuning.jobs.retrieve(job.id)
    assert shown.tunehook["model"] == {"state": "callable"}
    await deployment(deployed, "DELETE", name)
    await until_state(deployed, name, "gone")
    await deployed.work()
    with pytest.raises(openai.ConflictError):
        await deployed.client.chat.completions.create(**hello)
    shown = await deployed.client.fine_tuning.jobs.retrieve(job.id)
    assert shown.tunehook["model"]["state"] == "needs_deployment"


async def test_where_it_costs_nothing_a_model_is_deployed_unless_the_job_said_no(deployed: Deployed) -> None:
    deploys = deployed.ctx.upstreams[NAME].deploys
    if deploys is None or not deploys.by_itself:
        pytest.skip("it costs something, or cannot be done")
    job: Any = await succeeded(deployed, tunehook={"deploy": False})
    assert (job.status, job.fine_tuned_model) == ("succeeded", None)
    assert job.tunehook["model"]["state"] == "needs_deployment"
    await deployment(deployed, "POST", job.id)
    await until_state(deployed, job.id, "running")
    await deployed.work()
    assert (await deployed.client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model


async def test_a_model_is_deleted_where_that_can_be_done_and_else_the_words_say_so(deployed: Deployed) -> None:
    models, upstream = deployed.client.models, deployed.ctx.upstreams[NAME]
    job = await succeeded(deployed)
    name = job.fine_tuned_model
    assert name
    if not upstream.deletes_models:
        with pytest.raises(openai.BadRequestError, match="Delete it at the vendor") as refused:
            await models.delete(name)
        assert refused.value.code == "not_supported_by_upstream"
        return
    if upstream.deploys is not None:
        await deployment(deployed, "POST", name)
        await until_state(deployed, name, "running")
        with pytest.raises(openai.ConflictError, match="being removed first") as conflict:
            await models.delete(name)
        assert conflict.value.code == "model_in_use"
        await until_state(deployed, name, "gone")
    gone = await models.delete(name)
    assert gone.model_dump() == {"id": name, "object": "model", "deleted": True}
    hello: Any = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
    for call in (models.delete(name), models.retrieve(name), deployed.client.chat.completions.create(**hello)):
        with pytest.raises(openai.NotFoundError):
            await call
    assert name not in [model.id for model in (await models.list()).data]
    with pytest.raises(UpstreamRefused) as absent:
        await upstream.delete_model(name)
    assert absent.value.status == 404
    assert (await deployed.client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model == name


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_create_whose_answer_is_lost_makes_one_paid_job(deployed: Deployed, when: Lost) -> None:
    await deployed.neighbour.lose_create(when)
    job = await deployed.create()
    record = await deployed.until(job.id, "tracked")
    assert await deployed.neighbour.paid() == 1
    assert record.job.upstream_job_id
    found = await deployed.ctx.upstreams[NAME].retrieve(record.job.upstream_job_id)
    assert found.id == record.job.upstream_job_id


async def test_where_our_id_is_the_jobs_id_a_lost_create_is_decided_without_settle_time(deployed: Deployed) -> None:
    if deployed.ctx.upstreams[NAME].identity != "named":
        pytest.skip("another kind")
    await deployed.neighbour.lose_create("before")
    job = await deployed.create()
    for _ in range(3):
        await deployed.work()  # what is due now, and nothing of later
    record = await deployed.ctx.store.jobs.read(job.id)
    assert (record.job.stage, record.job.repeats) == ("tracked", 1)
    assert await deployed.neighbour.paid() == 1


async def test_a_refused_create_fails_the_job_with_the_upstreams_words(deployed: Deployed) -> None:
    await deployed.neighbour.refuse_create(400)
    job = await deployed.create()
    record = await deployed.until(job.id, "settled")
    assert record.job.status == "failed"
    assert record.job.error is not None
    assert record.job.error.message
    assert await deployed.neighbour.paid() == 0


@pytest.mark.parametrize(("status", "code"), [(402, "insufficient_quota"), (429, None)])
async def test_no_money_and_no_slot_make_a_job_wait(deployed: Deployed, status: int, code: str | None) -> None:
    await deployed.neighbour.refuse_create(status)
    job = await deployed.create()
    record = await deployed.until(job.id, "waiting")
    assert record.job.waiting is not None
    assert code in (None, record.job.waiting.code)
    assert await deployed.neighbour.paid() == 0


async def test_a_refused_key_holds_the_upstream_and_fails_no_job(deployed: Deployed) -> None:
    await deployed.neighbour.without_key()
    job = await deployed.create()
    await deployed.until(job.id, "waiting")
    assert await deployed.ctx.store.upstreams.held(NAME) is not None
    assert await deployed.neighbour.paid() == 0


async def test_a_status_that_is_not_known_ends_no_job(deployed: Deployed) -> None:
    job = await deployed.create()
    record = await deployed.until(job.id, "tracked")
    if not await deployed.neighbour.say("hibernating"):
        pytest.skip("the simulator knows its statuses alone")
    await deployed.poll()
    record = await deployed.ctx.store.jobs.read(job.id)
    assert record.job.stage == "tracked"
    assert record.job.seen is not None
    assert record.job.seen.status not in ENDS


@pytest.mark.parametrize("odd", ["../../users", "a/b", "x?y=1", ".."])
async def test_an_odd_id_is_no_path_at_the_upstream(deployed: Deployed, odd: str) -> None:
    with pytest.raises(openai.BadRequestError):
        await deployed.client.post(
            "/fine_tuning/jobs/import", cast_to=object, body={"upstream": NAME, "upstream_job_id": odd}
        )


async def test_a_cancel_reaches_the_upstream(deployed: Deployed) -> None:
    job = await deployed.create()
    record = await deployed.until(job.id, "tracked")
    assert record.job.upstream_job_id
    seen = await deployed.ctx.upstreams[NAME].cancel(record.job.upstream_job_id)
    assert seen.id == record.job.upstream_job_id
    assert seen.status in ("cancelled", "running")


async def test_an_option_that_does_not_exist_is_refused_before_anything_is_made(deployed: Deployed) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await deployed.create(tunehook={"options": {"nonsense": 1}})
    assert refused.value.param == "tunehook.options.nonsense"


async def test_a_multiplier_where_nothing_equals_it_is_refused_in_words(deployed: Deployed) -> None:
    instead = table_of(deployed.kind)["refused"].get("learning_rate_multiplier")
    if instead is None:
        pytest.skip("this kind has it")
    with pytest.raises(openai.BadRequestError, match=re.escape(instead)):
        await deployed.create(hyperparameters={"learning_rate_multiplier": 2})
    await deployed.create(hyperparameters={"learning_rate_multiplier": "auto"})
