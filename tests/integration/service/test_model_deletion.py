"""DELETE /v1/models/{model}: whose models, which ones not, and what is left of one that is deleted."""

from typing import Any

import pytest

from tests.integration.service.conftest import DATASET, Answer, Api, form
from tunehook.maintenance import model_retirement
from tunehook.model.job import Job, UpstreamJob

BASE = "gpt-4.1-mini-2025-04-14"
OURS, THEIRS = f"ft:{BASE}:acme::Ours", f"ft:{BASE}:acme::Theirs"


async def made(api: Api, project: str, model: str, **members: Any) -> None:
    """Records the model of a job that the simulator does not know."""
    training = {"id": "file-1", "sha256": "", "bytes": 0}
    seen = UpstreamJob(id="u", status="succeeded", model=BASE, fine_tuned_model=model)
    spec = {"model": BASE, "training_file": "file-1", "seed": 1}
    about = {"id": f"ftjob-{project}", "project": project, "key_id": "k", "created_at": 1, "upstream": "openai"}
    job = Job.model_validate({**about, "spec": spec, "training": training, "seen": seen, **members})
    change = api.ctx.store.jobs.submission(job)
    change.needs.clear()
    await api.ctx.store.commit(api.ctx.store.models.name(change, job, model))


async def delete(api: Api, model: str) -> Answer:
    return await api.call("DELETE", f"/v1/models/{model}")


async def test_unknown_models_and_those_of_others_are_the_same(api: Api) -> None:
    await made(api, "others", THEIRS)
    for model in (THEIRS, f"ft:{BASE}:acme::None", "gpt-9", "ftjob-others"):
        answer = await delete(api, model)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert (
            answer.error["message"].replace(model, "…")
            == "The model '…' does not exist or was not tuned here by this project."
        )
    assert await api.ctx.store.models.find(THEIRS, "others")
    assert [call for call in await api.simulator.requests() if call["method"] == "DELETE"] == []


async def test_base_models_and_checkpoints_are_refused_in_words(api: Api) -> None:
    await made(api, "tests", OURS)
    for model, why in ((BASE, "it is a base model"), (f"{OURS}:ckpt-step-3", f"it is a checkpoint of '{OURS}'")):
        answer = await delete(api, model)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "model_not_deletable", "model")
        assert why in answer.error["message"]
    assert [call for call in await api.simulator.requests() if call["method"] == "DELETE"] == []


@pytest.mark.parametrize("named", [OURS, f"{OURS}:ckpt-step-3"])
async def test_a_model_that_a_live_job_trains_is_in_use(api: Api, named: str) -> None:
    await made(api, "tests", OURS)
    file = (await api.call("POST", "/v1/files", data=form(content=DATASET))).json["id"]
    job = (await api.post("/v1/fine_tuning/jobs", {"model": named, "training_file": file}))["id"]
    answer = await delete(api, OURS)
    assert (answer.status, answer.error["code"]) == (409, "model_in_use")
    assert job in answer.error["message"]


async def test_one_that_is_gone_at_the_upstream_is_forgotten_with_what_was_kept_for_it(api: Api) -> None:
    await made(api, "tests", OURS, stage="settled", settled_at=1, status="succeeded")
    assert await model_retirement.datasets_in_use(api.ctx, ["file-1", "file-2"]) == {"file-1"}
    assert (await delete(api, OURS)).json == {"id": OURS, "object": "model", "deleted": True}
    assert await model_retirement.datasets_in_use(api.ctx, ["file-1"]) == set()
    assert await api.ctx.store.models.owner(OURS) is None
    assert (await delete(api, OURS)).status == 404


async def test_after_a_lost_answer_the_model_stays_and_a_repeat_deletes_it(api: Api) -> None:
    await made(api, "tests", OURS, stage="settled", settled_at=1, status="succeeded")
    await api.simulator.fault("reset", path="/models/", method="DELETE")
    answer = await delete(api, OURS)
    assert answer.status == 502
    assert (await api.call("GET", f"/v1/models/{OURS}")).status == 200
    assert (await delete(api, OURS)).status == 200
